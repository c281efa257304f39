"""Collect glimpses with TorchRL's collector and a policy of its own.

    pip install torchrl
    python examples/torchrl_collect.py [FRAMES]

Whatever TorchRL trains (PPO, SAC, …) starts from batches like these.
"""

import sys

import gymnasium
import torch
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.collectors import Collector
from torchrl.envs import GymWrapper, RewardSum, TransformedEnv
from torchrl.modules import ProbabilisticActor, TanhNormal

import glimpsebench.envs  # noqa: F401 - makes the ids known to Gymnasium


class Policy(nn.Module):
    """All glimpses and fixations so far → mean and standard deviation of the next fixation."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.LazyLinear(64), nn.ReLU(), nn.Linear(64, 4))

    def forward(self, glimpses: torch.Tensor, actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.net(torch.cat([glimpses.flatten(-4), actions.flatten(-2)], -1))
        loc, scale = hidden.chunk(2, -1)
        return loc, nn.functional.softplus(scale) + 1e-3


def main() -> None:
    frames = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    torch.manual_seed(0)
    single = gymnasium.make("GlimpseBench/digits-clutter-v1", sensor="window:8", glimpses=4)
    env = TransformedEnv(GymWrapper(single), RewardSum())
    module = TensorDictModule(Policy(), in_keys=["glimpses", "actions"], out_keys=["loc", "scale"])
    actor = ProbabilisticActor(
        module, in_keys=["loc", "scale"], spec=env.action_spec, distribution_class=TanhNormal, return_log_prob=True
    )
    sizes = {"frames_per_batch": min(frames, 1000), "total_frames": frames}
    collector = Collector(env, actor, auto_register_policy_transforms=False, **sizes)
    for number, batch in enumerate(collector):
        ended = batch["next", "done"].squeeze(-1)
        returns = batch["next", "episode_reward"][ended]
        print(f"batch {number}: {batch.numel()} glimpses, {len(returns)} episodes, mean return {returns.mean():.2f}")
    collector.shutdown()


if __name__ == "__main__":
    main()
