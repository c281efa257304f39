"""PPO in one loop, as CleanRL writes it, over the native batch: python examples/ppo_loop.py [UPDATES]

The env is as Gymnasium makes it: the reward of a glimpse is what it tells a network about the class.
"""

import sys

import gymnasium
import numpy as np
import torch
from torch import nn

import glimpsebench.envs  # noqa: F401 - makes the ids known to Gymnasium

updates, envs, steps, gamma, lam, clip = int(sys.argv[1]) if len(sys.argv) > 1 else 40, 64, 16, 0.9, 0.95, 0.2
env = gymnasium.make_vec(
    "GlimpseBench/digits-clutter-v1", envs, sensor={"kind": "window", "size": 8, "border": "inside"}, glimpses=4,
    autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP,
)  # fmt: skip
inputs, outputs = gymnasium.spaces.flatdim(env.single_observation_space), env.single_action_space.shape[0]
torch.manual_seed(0)
trunk = nn.Sequential(nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU())
actor, critic, log_std = nn.Linear(128, outputs), nn.Linear(128, 1), nn.Parameter(torch.full((outputs,), -1.0))
optimizer = torch.optim.Adam([*trunk.parameters(), *actor.parameters(), *critic.parameters(), log_std], lr=1e-3)


def flat(observation):
    return torch.from_numpy(np.concatenate([observation[key].reshape(envs, -1) for key in sorted(observation)], 1))


def agent(x):
    hidden = trunk(x)
    return torch.distributions.Normal(actor(hidden), log_std.exp()), critic(hidden)[..., 0]


obs = flat(env.reset(seed=0)[0])
for update in range(updates):
    rollout = []
    with torch.no_grad():
        for _ in range(steps):
            normal, value = agent(obs)
            action = normal.sample()
            observation, reward, terminated, _, _ = env.step(action.numpy())  # no episode is truncated
            done = torch.from_numpy(terminated).float()
            rollout.append((obs, action, normal.log_prob(action).sum(1), value, torch.from_numpy(reward).float(), done))
            obs = flat(observation)
        b_obs, b_action, b_logprob, b_value, b_reward, b_done = map(torch.stack, zip(*rollout, strict=True))
        advantage, last, following = torch.zeros_like(b_reward), torch.zeros(envs), agent(obs)[1]
        for t in reversed(range(steps)):
            last = b_reward[t] - b_value[t] + gamma * (1 - b_done[t]) * (following + lam * last)
            advantage[t], following = last, b_value[t]
    for batch in (part for _ in range(4) for part in torch.randperm(steps * envs).split(256)):
        normal, value = agent(b_obs.flatten(0, 1)[batch])
        ratio = (normal.log_prob(b_action.flatten(0, 1)[batch]).sum(1) - b_logprob.flatten()[batch]).exp()
        gain = advantage.flatten()[batch]
        policy_loss = -torch.min(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain).mean()
        optimizer.zero_grad()
        (policy_loss + 0.5 * (value - (advantage + b_value).flatten()[batch]).square().mean()).backward()
        optimizer.step()
    print(f"update {update}: return {b_reward.sum() / b_done.sum():.2f} nats an episode")
