"""Is the network at test the one that was trained? Each network's accuracy in eval mode and in training mode.

In training mode batch norm uses the statistics of the batch at hand and dropout drops; in eval mode batch norm uses
the averages that it kept, and nothing drops. A network with dropout is another one in each pass, so that its
probabilities are averaged over several. Where the two differ by more than noise, what is measured at test is not
what was trained. Every agent is trained for a short while (`SHORT`), and its networks are compared on the same
validation images:

* predictor: reads what the agent has revealed, as far as a random moment of its episode; the same canvases in both.
* classifier: where the selector is a classifier, reads whole images.
* selector: where it learns scores or actions, not a class, it chooses in either mode, and the predictor, in eval mode,
  reads what was chosen. One that chooses the same in both has no such layers, and no row.

Besides, how often each agent's own predictor is right once the whole image is revealed, where all see the same: what
separates agents there is not where they look.

python benchmarks/eval_mode.py [AGENT ...]      writes docs/eval-mode.md and docs/whole-image.md
"""

from __future__ import annotations

import copy
import dataclasses
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from scipy.special import softmax
from torch import nn

from glimpsebench import agents
from glimpsebench.agents.common.attentive import AttentionDropout, AttentiveAgent
from glimpsebench.agents.common.attribution import AttributionAgent
from glimpsebench.agents.common.bagnet import BagNetAgent
from glimpsebench.agents.common.base import Agent
from glimpsebench.agents.common.nets import WHOLE_SHARE, PredictorAgent, to_float
from glimpsebench.bench.records import settings_of
from glimpsebench.envs import datasets, tasks
from glimpsebench.envs.glimpse import GlimpseVectorEnv, Observation
from glimpsebench.envs.tasks import Split

Array = NDArray[Any]

BATCH = 250
PLACEMENTS = 10
PASSES = 8
SHORT = 250
"""Steps of every stage of an agent's training but that of its predictor, which is as long as it is by default."""
ENV_STEPS = {"ppo": {"policy_steps": 10_000}, "ppo_open": {"policy_steps": 10_000}, "sac": {"policy_steps": 4_000}}
"""Where `policy_steps` counts env steps."""
TOLERANCE = 1.0
"""Per cent. A difference that is larger, and by more than its noise, needs an explanation."""
BEGIN, END = "<!-- page: written by `python benchmarks/eval_mode.py`; do not edit -->", "<!-- /page -->"
DOCS = Path(__file__).parents[1] / "docs"


class Row(NamedTuple):
    """One network: which images it gets right in eval mode and in training mode, boolean (N,)."""

    agent: str
    network: str
    eval_N: Array
    train_N: Array

    @property
    def difference(self) -> float:
        """Accuracy in eval mode less that in training mode, in per cent."""
        return 100 * float(self.eval_N.mean() - self.train_N.mean())

    @property
    def noise(self) -> float:
        """Two standard errors of the difference, in per cent."""
        difference_N = self.eval_N.astype(float) - self.train_N
        return 200 * float(difference_N.std() / np.sqrt(len(difference_N)))


@contextmanager
def training_mode(net: nn.Module | None) -> Iterator[None]:
    """Within, the network is in training mode; afterwards in eval mode, its moving statistics as before."""
    if net is None:
        yield
        return
    before = copy.deepcopy(net.state_dict())
    net.train()
    try:
        yield
    finally:
        net.load_state_dict(before)
        net.eval()


def in_training(net: nn.Module | None, classify: Callable[[Any], Array], seen: Any) -> Array:
    """What classifies in training mode, (B, K): logits, or with dropout the mean probabilities of `PASSES` passes."""
    dropout = net is not None and any(isinstance(module, nn.Dropout | AttentionDropout) for module in net.modules())
    with training_mode(net), torch.no_grad():
        if not dropout:
            return classify(seen)
        mean: Array = np.mean([softmax(classify(seen), 1) for _ in range(PASSES)], 0)
        return mean


def classifier_of(agent: Agent) -> Callable[[Array], Array] | None:
    """What classifies whole images inside a selector, if anything: images (B, C, H, W), uint8 → logits (B, K)."""
    if isinstance(agent, AttentiveAgent):
        return lambda images: agent.attentive.logits(to_float(images)).detach().numpy()
    if isinstance(agent, AttributionAgent):
        return lambda images: agent.classifier(to_float(images)).detach().numpy()
    if isinstance(agent, BagNetAgent):  # its windows have no statistics of their own: it learns from whole images
        return lambda images: agent.bagnet(agent.crop_to_grid(to_float(images)))[2].mean((2, 3)).detach().numpy()
    return None


def env_over(agent: Agent, images: Array, budget: float) -> GlimpseVectorEnv:
    """The env that an agent meets at test, over these images."""
    return GlimpseVectorEnv(
        Split(images),
        len(images),
        sensor=agent.sensor(),
        observation=agent.observation,
        glimpses=agent.horizon(),
        budget=budget,
        currency=agent.currency,
        autoreset_mode=AutoresetMode.DISABLED,
    )


def views(agent: Agent, images: Array, seed: int, train: bool) -> Observation:
    """What has been revealed of each image at a random moment of its episode, or at a random budget.

    Args:
        train: whether the agent chooses in training mode.
    """
    rng, count = np.random.default_rng(seed), len(images)
    seen: list[Observation] = []
    for budget in agent.budgets if agent.horizon() == 1 else agent.budgets[-1:]:
        env = env_over(agent, images, budget)
        observation, _ = env.reset(options={"index": np.arange(count)})
        for _ in range(agent.horizon()):
            with training_mode(agent.net) if train else nullcontext():
                action = agent.act(observation, rng)
            observation, *_ = env.step(action)
            seen.append({name: value.copy() for name, value in env.observe(agent.view).items()})
    moment_B = np.random.default_rng(seed).integers(0, len(seen), count)
    return {name: np.stack([one[name] for one in seen])[moment_B, np.arange(count)] for name in seen[0]}


def with_whole_images_beside(view: Observation, images: Array) -> Observation:
    """A view with as many whole images after it as a shared predictor's training has among its canvases.

    They belong to the batch whose statistics batch norm takes in training mode.
    """
    if "canvas" not in view:
        return view
    count = round(len(images) * WHOLE_SHARE / (1 - WHOLE_SHARE))
    whole = {"canvas": images[:count] / np.float32(255), "mask": np.ones((count, 1, *images.shape[2:]), np.float32)}
    return {name: np.concatenate([view[name], whole[name]]) for name in whole}


def compared(name: str, agent: Agent, split: Split) -> list[Row]:
    """The rows of a trained agent."""
    assert split.labels_N is not None
    torch.manual_seed(0)
    right: dict[str, tuple[list[Array], list[Array]]] = {}

    def add(network: str, logits_BK: Array, other_BK: Array, labels_B: Array) -> None:
        for rows, logits in zip(right.setdefault(network, ([], [])), (logits_BK, other_BK), strict=True):
            rows.append(logits.argmax(1) == labels_B)

    def predict(view: Observation) -> Array:
        logits_BK = agent.predict(view)
        assert logits_BK is not None
        return logits_BK

    batch = min(BATCH, len(split))
    for start in range(0, len(split) - batch + 1, batch):
        images, labels_B = split.images_NCHW[start : start + batch], np.asarray(split.labels_N[start : start + batch])
        view = views(agent, images, start, train=False)
        logits_BK = predict(view)
        if not isinstance(agent, BagNetAgent):
            train_view = with_whole_images_beside(view, images) if isinstance(agent, PredictorAgent) else view
            add("predictor", logits_BK, in_training(agent.net, predict, train_view)[: len(labels_B)], labels_B)
        if not isinstance(agent, AttentiveAgent | AttributionAgent):
            other_BK = predict(views(agent, images, start, train=True))
            if "selector" in right or not np.array_equal(logits_BK, other_BK):
                add("selector", logits_BK, other_BK, labels_B)
        classify = classifier_of(agent)
        if classify is not None:
            add("classifier", classify(images), in_training(agent.net, classify, images), labels_B)
    return [Row(name, network, *(np.concatenate(rows) for rows in pair)) for network, pair in right.items()]


def whole_image_accuracy(agent: Agent, split: Split) -> float | None:
    """Own accuracy once everything is revealed, in per cent; None for an agent that does not get so far."""
    right: list[Array] = []
    rng, batch = np.random.default_rng(0), min(BATCH, len(split))
    for start in range(0, len(split) - batch + 1, batch):
        images = split.images_NCHW[start : start + batch]
        env = env_over(agent, images, 1.0)
        observation, _ = env.reset(options={"index": np.arange(batch)})
        for _ in range(agent.horizon()):
            observation, *_ = env.step(agent.act(observation, rng))
        logits_BK = agent.predict(env.observe(agent.view))
        if logits_BK is None or not env.masks().all():
            return None
        right.append(logits_BK.argmax(1) == np.asarray(split.labels_N)[start : start + batch])
    return 100 * float(np.concatenate(right).mean())


def whole_image_table(accuracies: dict[str, float], about: str) -> str:
    """The page of own accuracies on whole images."""
    spread = max(accuracies.values()) - min(accuracies.values())
    lines = [
        "# Own accuracy on the whole image",
        "",
        "Written by `python benchmarks/eval_mode.py`: every agent that can reveal the whole image, its predictor",
        f"trained as it is by default. {about}",
        f"There all predictors see the same, so the spread of {spread:.1f} points is not due to where agents look.",
        "`full` trains on nothing but whole images, the others on canvases of all budgets beside them.",
        "",
        "| agent | own accuracy, per cent |",
        "|---|---:|",
        *(f"| `{name}` | {accuracy:.1f} |" for name, accuracy in sorted(accuracies.items(), key=lambda item: -item[1])),
    ]
    return "\n".join(lines) + "\n"


def line_of(row: Row) -> str:
    """A row of the table."""
    beyond = abs(row.difference) - row.noise > TOLERANCE
    note = "**not explained**" if beyond else ""
    means = " | ".join(f"{100 * float(right_N.mean()):.1f}" for right_N in (row.eval_N, row.train_N))
    return f"| `{row.agent}` | {row.network} | {means} | {row.difference:+.1f} ± {row.noise:.1f} | {note} |"


def kept(page: Path, named: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The label and the line of the rows of a page that are of other agents than these."""
    for line in page.read_text().splitlines() if page.exists() else ():
        match = re.match(r"\| `(([^` ]+)[^`]*)`", line)
        if match and match[2] not in named:
            yield match[1], line


def table(lines: dict[str, list[str]], about: str) -> str:
    """The page of eval mode against training mode, given each agent's lines."""
    head = [
        "# Eval mode against training mode",
        "",
        "Is the network at test the one that was trained? Written by `python benchmarks/eval_mode.py`, which says what",
        f"the networks are. {about}",
        "Accuracy in per cent; ± two standard errors of the difference. A difference of more than a point, beyond its",
        "noise, is explained. A predictor that begins from the reader keeps the reader's averages in training too: its",
        "two modes are one.",
        "",
        "| agent | network | eval mode | training mode | difference | |",
        "|---|---|---:|---:|---:|---|",
    ]
    return "\n".join([*head, *(line for _, some in sorted(lines.items()) for line in some)]) + "\n"


def main() -> None:
    """Train and compare the named agents, by default all, and write the pages; other agents keep their rows."""
    torch.set_num_threads(1)
    task: Any = tasks.make("digits-clutter")
    seed = 0
    # The validation digits are few; another version of the task places them anew among other clutter.
    placed = [dataclasses.replace(task, version=number).val() for number in range(101, 101 + PLACEMENTS)]
    images_NCHW = np.concatenate([split.images_NCHW for split in placed])
    validation = Split(images_NCHW, np.concatenate([np.asarray(split.labels_N) for split in placed]))
    pages = DOCS / "eval-mode.md", DOCS / "whole-image.md"
    names = sys.argv[1:] or agents.names()
    lines: dict[str, list[str]] = {}
    for agent_name, line in kept(pages[0], names):
        lines.setdefault(agent_name, []).append(line)
    accuracies = {label: float(line.split("|")[2]) for label, line in kept(pages[1], names)}
    about = f"{len(validation):,} validation images of {task.id}, seed {seed}."
    for name in names:
        for variant in agents.find(name).variants or ({},):
            defaults = settings_of(agents.make(name))
            stages = [stage for stage in defaults if stage.endswith("_steps") and stage != "predictor_steps"]
            short = {stage: min(SHORT, defaults[stage]) for stage in stages} | ENV_STEPS.get(name, {})
            agent = agents.make(name, {**short, **variant})
            torch.manual_seed(seed)
            with datasets.test_split_closed():
                agent.prepare(task)
                agent.fit(task, seed, iter)
                found = [] if variant else compared(name, agent, validation)
                accuracy = whole_image_accuracy(agent, validation)
            lines.setdefault(name, []).extend(line_of(row) for row in found)
            for row in found:
                print(f"{name:18} {row.network:11} {row.difference:+6.2f} ± {row.noise:.2f}", flush=True)
            if accuracy is not None:
                settings = ", ".join(f"{key}={value}" for key, value in variant.items())
                accuracies[f"{name} ({settings})" if variant else name] = accuracy
                print(f"{name:18} whole image {accuracy:6.2f}", flush=True)
        pages[0].write_text(f"{BEGIN}\n{table(lines, about)}{END}\n")
        if accuracies:
            pages[1].write_text(f"{BEGIN}\n{whole_image_table(accuracies, about)}{END}\n")


if __name__ == "__main__":
    main()
