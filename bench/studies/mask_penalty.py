"""Which loss on a soft mask gives a small binary mask, and which leaves nothing: the study of `mask_penalty`.

The question: stats.stackexchange.com/q/384355. Every number is one that `fit` measured on the validation images once
the selector was trained (`findings`), or an accuracy on the test images, and stands in the records; the masks are
drawn from the weights beside them. Shapes: S seeds, B batch, C H W image.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from glimpsebench.agents.common.nets import to_float
from glimpsebench.agents.mask_penalty import MaskPenalty
from glimpsebench.bench import terminal
from glimpsebench.bench.compare import pipe
from glimpsebench.bench.figures.paper import STYLE
from glimpsebench.bench.records import Record, rebuilt
from glimpsebench.bench.stats import Interval, crossed, over_seeds
from glimpsebench.envs.errors import UsageError

Array = NDArray[Any]

BUDGETS = (0.05, 0.1, 0.2)
_COLOURS = {"selects": "#029e73", "same mask": "#0173b2", "blind": "#de8f05", "empty": "#949494"}
_FORMS = ("mse_zero", "entropy", "tilted", "target_budget", "target_entropy", "feature_l1")

_NOTE = """
Mean over seeds ± 95 % t interval, in per cent, except the counts of runs. The mask is that of the validation images at
the end of the selector's training. *size*: its mean. *binary*: values within 0.05 of 0 or 1. *largest*: the largest
value of an image's mask. *full*: of the values above 0.05, those of 0.95 or more. *overlap*: of the masks of two
images, sum of the smaller values by sum of the larger. *empty*: runs in which at least half of the images have no
value above 0.05. *blind*: of the others, runs whose classifier gets less than twice chance right: the mask shows where
the object is not. *same mask*: of the rest, runs whose masks are the same for every image (an overlap of 90 % or more).
*classified*: validation images that the classifier gets right under the soft mask. *evaluator*, *own*: test accuracy
on the best 5, 10 and 20 % of the pixels.
"""


@dataclass(frozen=True)
class Setting:
    """The runs that differ in the seed alone. The floor has no mask: its settings are left out."""

    settings: dict[str, Any]
    records: tuple[Record, ...]

    @property
    def runs(self) -> tuple[Record, ...]:
        """Those that ended well."""
        return tuple(record for record in self.records if record.done)

    @property
    def form(self) -> str:
        """The form of the mask's loss; `feature_l1` where the answer's term stands alone; nothing for the floor."""
        alone = self.settings.get("feature_l1", 0) > 0 and self.settings["beta"] == 0
        return "feature_l1" if alone else str(self.settings.get("loss", ""))

    @property
    def size_weight(self) -> float:
        """The weight of (mean I − target)²; 0 for a form that has no target."""
        factor = {"target_budget": 1.0, "target_entropy": self.settings.get("alpha", 0.0)}.get(self.form, 0.0)
        return float(factor * self.settings.get("beta", 0.0))

    @property
    def label(self) -> str:
        if not self.form:
            return self.records[0].name
        return " ".join(part for part in (self.form, self.sizes) if part)

    @property
    def sizes(self) -> str:
        """The settings that this form reads."""
        of = self.settings
        if self.form == "feature_l1":
            return f"γ {of['feature_l1']:g}"
        parts = [f"β {of['beta']:g}"]
        parts += [f"α {of['alpha']:g}"] * (self.form in ("entropy", "tilted", "target_entropy"))
        parts += [f"target {100 * of['target']:g} %"] * (self.form in ("target_budget", "target_entropy"))
        parts += [f"γ {of['feature_l1']:g}"] * (of["feature_l1"] > 0)
        return ", ".join(parts)

    def finding(self, name: str) -> Array:
        """A number (S,) or a curve (S, points) that every run measured; empty for the floor."""
        return np.array([record.about["findings"][name] for record in self.runs] if self.form else [])

    def fates(self) -> dict[str, int]:
        """How many runs ended with a mask that selects, is the same for all images, is blind, or is empty."""
        twice = 2 / self.records[0].about["task"]["classes"]
        names = list(_COLOURS)
        signs = [self.finding("same_mask") > 0, self.finding("soft_accuracy") < twice, self.finding("collapsed") > 0]
        fate_S = np.max([number * sign for number, sign in enumerate(signs, 1)], axis=0)
        return {name: int((fate_S == number).sum()) for number, name in enumerate(names)}


def settings_of(records: Sequence[Record]) -> list[Setting]:
    """The records grouped into settings, in the order of the forms; the floor comes last.

    Raises:
        UsageError: there is none of this agent, or one that lacks what this version measures.
    """
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if {*BUDGETS} <= {*record.budgets}:  # the ceiling has one of its own
            groups[f"{record.task} {record.about['agent']['name']} {record.about['agent']['settings']}"].append(record)
    found = []
    for group in groups.values():
        about = group[0].about["agent"]
        mine = about["name"] == "mask_penalty"
        found.append(Setting(about["settings"] if mine else {}, tuple(sorted(group, key=lambda one: one.seed))))
    if not any(one.form for one in found):
        raise UsageError("no records of mask_penalty here; `glimpse sweep mask-penalty` makes some")
    old = [r for one in found if one.form for r in one.runs if "same_mask" not in r.about["findings"]]
    if old:
        raise UsageError(f"{old[0].folder}: a record of an earlier version; delete it and run it again")

    def place(one: Setting) -> tuple[Any, ...]:
        of = one.settings
        if not one.form:
            return (len(_FORMS), one.label)
        return (_FORMS.index(one.form), of["beta"], of["alpha"], of["target"], of["feature_l1"])

    return sorted(found, key=place)


_NUMBERS: dict[str, Callable[[Setting], Array]] = {
    "size": lambda one: one.finding("mask_mean"),
    "binary": lambda one: one.finding("mask_binary"),
    "largest": lambda one: one.finding("mask_peak"),
    "full": lambda one: _share(one.finding("mask_full"), one.finding("mask_shown")),
    "overlap": lambda one: one.finding("mask_overlap"),
    "classified": lambda one: one.finding("soft_accuracy"),
}


def _share(part_S: Array, whole_S: Array) -> Array:
    """part / whole, without the runs that have nothing to divide by."""
    some = whole_S > 0
    return np.asarray(part_S[some] / whole_S[some])


def _accuracies(one: Setting, by: str) -> dict[str, Array]:
    return {
        f"{by} {100 * budget:g} %": np.array([r.accuracy(by)[r.budgets.index(budget)] for r in one.runs])
        for budget in BUDGETS
    }


def table(settings: Sequence[Setting]) -> pd.DataFrame:
    """One line per setting: means with the ends of their intervals, and the counts of runs."""
    nothing = Interval(float("nan"), float("nan"), float("nan"))
    lines = []
    for one in settings:
        values = {name: number(one) for name, number in _NUMBERS.items()}
        values |= _accuracies(one, "evaluator") | _accuracies(one, "own")
        line: dict[str, Any] = {"setting": one.label, "runs": len(one.runs), "failed": len(one.records) - len(one.runs)}
        line |= {
            name: one.settings[name] if one.form else float("nan") for name in ("beta", "alpha", "target", "feature_l1")
        }
        line |= one.fates() if one.form else {}
        for name, values_S in values.items():
            interval = over_seeds(values_S) if len(values_S) else nothing
            line |= {name: interval.mean, f"{name} low": interval.low, f"{name} high": interval.high}
        lines.append(line)
    return pd.DataFrame(lines)


def markdown(settings: Sequence[Setting]) -> str:
    """The table for people."""
    data = table(settings)
    scores = [f"{by} {100 * budget:g} %" for by in ("evaluator", "own") for budget in BUDGETS]
    head = ["loss", *_NUMBERS, *_COLOURS, *scores]
    lines = []
    for _, line in data.iterrows():
        fates = [f"{line[fate]:.0f} of {line['runs']}" if line["size"] == line["size"] else "·" for fate in _COLOURS]
        failed = f" ({line['failed']} failed)" if line["failed"] else ""
        lines.append(
            [line["setting"] + failed, *(_cell(line, name) for name in _NUMBERS), *fates]
            + [_cell(line, name) for name in scores]
        )
    return f"# Losses on a soft mask\n{_NOTE}\n{pipe(head, lines)}{_differences(settings)}"


def pairs(settings: Sequence[Setting]) -> dict[str, list[tuple[Setting, Setting]]]:
    """Settings that differ in one thing: title → (first, second)."""
    with_target = [(one, other) for one in settings for other in settings if _differ_in_the_entropy_alone(one, other)]
    with_l1 = [(one, other) for one in settings for other in settings if _differ_in_the_l1_term_alone(one, other)]
    return {
        "`target_budget` less `target_entropy`, at equal weight of the size term": with_target,
        "With the L1 term of the features less without it": with_l1,
    }


def _differ_in_the_entropy_alone(one: Setting, other: Setting) -> bool:
    if (one.form, other.form) != ("target_budget", "target_entropy"):
        return False
    same = all(one.settings[name] == other.settings[name] for name in ("target", "feature_l1"))
    return same and bool(np.isclose(one.size_weight, other.size_weight))


def _differ_in_the_l1_term_alone(one: Setting, other: Setting) -> bool:
    if not one.form or one.form != other.form or one.settings["feature_l1"] == 0 or other.settings["feature_l1"] > 0:
        return False
    names = one.settings.keys() - {"feature_l1"}
    return all(one.settings[name] == other.settings[name] for name in names)


def _differences(settings: Sequence[Setting]) -> str:
    """The differences of each pair of settings in accuracy, and in words where each loss loses."""
    text = ""
    for title, members in pairs(settings).items():
        columns = [(by, budget) for by in ("evaluator", "own") for budget in BUDGETS]
        lines, losses = [], []
        for one, other in members:
            cells = []
            for by, budget in columns:
                found = crossed(_correct(one, by, budget)[:, None], _correct(other, by, budget)[:, None])
                points = f"{100 * found.mean:+.1f} ± {50 * (found.high - found.low):.1f}"
                clear = found.low > 0 or found.high < 0
                cells.append(f"**{points}**" if clear else points)
                if clear:
                    loser, winner = (other, one) if found.mean > 0 else (one, other)
                    by_whom = f"{by}, {100 * budget:g} % touched"
                    losses.append(
                        f"- {loser.label} loses to {winner.label} ({by_whom}): {points.lstrip('+-')} points\n"
                    )
            lines.append([f"{one.label} − ({other.label})", *cells])
        if lines:
            head = ["difference", *(f"{by} {100 * budget:g} %" for by, budget in columns)]
            note = "Points ± 95 % interval over test images and seeds; bold where it leaves out 0."
            found_ones = "".join(losses) or "Nowhere does one of them clearly lose.\n"
            text += f"\n## {title}\n\n{note}\n\n{pipe(head, lines)}\n{found_ones}"
    return text


def _correct(one: Setting, by: str, budget: float) -> Array:
    """Whether each run got each test image right: (S, N)."""
    right = [run.correct_FN(by)[run.budgets.index(budget)] for run in one.runs]
    return np.array(right)


def _cell(line: Any, name: str) -> str:
    if np.isnan(line[name]):
        return "·"
    half = 50 * (line[f"{name} high"] - line[f"{name} low"])
    digits = 2 if name == "size" else 1
    return f"{100 * line[name]:.{digits}f}" + ("" if np.isnan(half) else f" ± {half:.{digits}f}")


def training(settings: Sequence[Setting], stem: Path) -> list[Path]:
    """The mask over the selector's training, a column per form and weight, every seed a thin line."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns

    columns: dict[str, list[Setting]] = defaultdict(list)
    for one in settings:
        if one.form and one.runs:
            columns[f"{one.form} β {one.settings['beta']:g}" if one.form == "entropy" else one.form].append(one)
    rows = {
        "mask_mean_curve": "size (mean)",
        "mask_peak_curve": "largest value",
        "mask_binary_curve": "binary share",
        "soft_accuracy_curve": "classified",
    }
    with mpl.rc_context(STYLE | {"font.size": 8}):
        figure, axes = plt.subplots(
            len(rows), len(columns), figsize=(1.7 * len(columns) + 0.6, 7.5), sharex=True, sharey="row", squeeze=False
        )
        for column, (title, members) in enumerate(columns.items()):
            colours = sns.color_palette("colorblind", len(members))
            for one, colour in zip(members, colours, strict=True):
                label = one.sizes.removeprefix(f"β {one.settings['beta']:g}, ") if "β" in title else one.sizes
                for row, name in enumerate(rows):
                    curves = one.finding(name)
                    steps = np.linspace(0, one.settings["selector_steps"], curves.shape[1])
                    lines = axes[row, column].plot(steps, curves.T.clip(1e-4), color=colour, lw=0.7, alpha=0.8)
                    lines[0].set_label(label if row == 0 else None)
            axes[0, column].set_title(title, fontsize=8)
            axes[-1, column].set_xlabel("step of the selector")
            axes[0, column].legend(
                loc="lower center", bbox_to_anchor=(0.5, 1.15), frameon=False, fontsize=6.5, handlelength=1
            )
        for row, label in enumerate(rows.values()):
            axes[row, 0].set_ylabel(label)
        axes[0, 0].set(yscale="log", ylim=(0.8e-4, 1.2))
        figure.tight_layout()
        return _saved(figure, stem)


def fates(settings: Sequence[Setting], stem: Path) -> list[Path]:
    """What became of the runs of `entropy`, against α: a panel for each β, without the L1 term and with it."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    panels: dict[str, list[Setting]] = defaultdict(list)
    for one in settings:
        if one.form == "entropy" and one.runs:
            weight = one.settings["feature_l1"]
            panels[f"β {one.settings['beta']:g}" + (f", γ {weight:g}" if weight else "")].append(one)
    if not panels:
        return []
    with mpl.rc_context(STYLE):
        widths = [len(members) for members in panels.values()]
        figure, axes = plt.subplots(
            1,
            len(panels),
            figsize=(0.6 * sum(widths) + 2.4, 2.6),
            sharey=True,
            squeeze=False,
            gridspec_kw={"width_ratios": widths},
            layout="constrained",
        )
        for axis, (title, members) in zip(axes[0], panels.items(), strict=True):
            base = np.zeros(len(members))
            for fate, colour in reversed(_COLOURS.items()):
                share = np.array([one.fates()[fate] / len(one.runs) for one in members])
                axis.bar(range(len(members)), share, bottom=base, color=colour, width=0.8, label=fate)
                base += share
            axis.set_xticks(range(len(members)), [f"{one.settings['alpha']:g}" for one in members])
            axis.set(xlabel="α", title=title, ylim=(0, 1))
        axes[0, 0].set_ylabel("share of the runs")
        handles, labels = axes[0, -1].get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside right upper", frameon=False)
        return _saved(figure, stem)


def _saved(figure: Any, stem: Path) -> list[Path]:
    import matplotlib.pyplot as plt

    paths = [stem.with_suffix(".pdf"), stem.with_suffix(".png")]
    figure.savefig(paths[0], metadata={"CreationDate": None})  # no dates: same records, same bytes
    figure.savefig(paths[1], dpi=160)
    plt.close(figure)
    return paths


def masks(settings: Sequence[Setting], path: Path, images: int = 5) -> Path | None:
    """The soft masks of each setting's first run on the first validation images; None if no weights lie here."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    drawn = [(one, soft) for one in settings if one.form and one.runs and len(soft := _soft(one.runs[0], images))]
    if not drawn:
        return None
    half = -(-len(drawn) // 2)
    shown = rebuilt(drawn[0][0].runs[0])[0].val().images_NCHW[:images]
    with mpl.rc_context(STYLE):
        figure = plt.figure(figsize=(2 * (0.78 * images + 1.2), 0.78 * (half + 1)), layout="constrained")
        grid = figure.add_gridspec(half + 1, 2 * images + 2, width_ratios=2 * [1.5, *[1] * images])
        colours = mpl.colors.PowerNorm(0.5, 0, 1)  # small values must be seen beside large ones
        blocks: list[list[Any]] = [drawn[:half], drawn[half:]]
        for block, members in enumerate(blocks):
            first = block * (images + 1)
            for row, (one, soft_BHW) in enumerate([(None, None), *members] if members else []):
                name = figure.add_subplot(grid[row, first])
                name.axis("off")
                text = "image" if one is None else f"{one.form}\n{one.sizes}\n{_fate(one)}"
                name.text(1, 0.5, text, ha="right", va="center", fontsize=7.5)
                for column in range(images):
                    axis = figure.add_subplot(grid[row, first + 1 + column])
                    axis.axis("off")
                    if one is None:
                        rgb = shown[column].transpose(1, 2, 0)
                        axis.imshow(rgb if rgb.shape[2] == 3 else rgb.mean(2), cmap="gray")
                    else:
                        axis.imshow(soft_BHW[column], cmap="inferno", norm=colours)
        scale = mpl.cm.ScalarMappable(colours, "inferno")
        bar = figure.colorbar(scale, ax=figure.axes, location="bottom", shrink=0.4, aspect=50, pad=0.01)
        bar.set_label("value of the mask")
        bar.set_ticks([0, 0.05, 0.2, 0.5, 0.95], labels=["0", "0.05", "0.2", "0.5", "0.95"])
        figure.savefig(path, dpi=130)
        plt.close(figure)
    return path


def _fate(one: Setting) -> str:
    """What became of the first run, and of how many in all."""
    run = Setting(one.settings, one.runs[:1]).fates()
    name = next(fate for fate, count in run.items() if count)
    return f"{name} ({one.fates()[name]} of {len(one.runs)})"


def _soft(record: Record, images: int) -> Array:
    """The soft masks (B, H, W) of the first validation images; empty without weights."""
    weights = record.folder / "weights.safetensors"
    task, agent = rebuilt(record)
    assert isinstance(agent, MaskPenalty)
    if not weights.exists():
        print(terminal.folded(f"no masks of {record.name}: {weights} is not here"), file=sys.stderr)
        return np.zeros((0, *task.shape[1:]))
    agent.load(weights, task)
    with torch.no_grad():
        soft: Array = agent.soft_mask(to_float(task.val().images_NCHW[:images]))[:, 0].numpy()
    return soft


def write(records: Sequence[Record], root: Path) -> list[Path]:
    """study.md, study.csv, training.pdf and .png, fates.pdf and .png, masks.png; return their paths."""
    settings = settings_of(records)
    paths = [root / "study.md", root / "study.csv"]
    paths[0].write_text(markdown(settings))
    paths[1].write_text(table(settings).to_csv(index=False, float_format="%.6f", lineterminator="\n"))
    paths += training(settings, root / "training") + fates(settings, root / "fates")
    seen = masks(settings, root / "masks.png")
    return paths if seen is None else [*paths, seen]
