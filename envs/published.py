"""How others looked at the tasks and what they reported, so that a result can be read beside theirs.

Figures are quoted from the papers, their authors' code or data, or secondary sources that quote them; `source` says
which. None was measured here, and none is an upper bound: re-implementations of RAM beat its paper easily. Of a paper
with several versions the one with the better figures comes first, and of re-implementations the best.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple


class Point(NamedTuple):
    """A reported accuracy that a chart can show.

    Attributes:
        accuracy: in [0, 1].
        touched: the largest share of the image that can have been touched.
        delivered: values returned by values in the image.
        saw: what chose was allowed to see before: single `windows`; a `retina`, windows with coarse ones around them;
            or the `whole` image.
        at: which of the source's results this is.
    """

    accuracy: float
    touched: float
    delivered: float
    saw: Literal["windows", "retina", "whole"]
    at: str


def _points(side: int, window: int, scales: int, errors: dict[int, float], whose: str = "") -> tuple[Point, ...]:
    """Errors in per cent by glimpses, of square windows in an image of so many pixels a side."""
    largest = min(window * 2 ** (scales - 1), side)
    return tuple(
        Point(
            accuracy=round(1 - error / 100, 6),
            touched=min(glimpses * largest**2 / side**2, 1.0),
            delivered=glimpses * scales * window**2 / side**2,
            saw="retina" if scales > 1 else "windows",
            at=f"{glimpses} glimpses{', ' * bool(whose)}{whose}",
        )
        for glimpses, error in errors.items()
    )


def _pixels(side: int, cell: int, accuracies: dict[int, float], what: str) -> tuple[Point, ...]:
    """Accuracies in per cent by the number of square cells of an image, each chosen from those seen before."""
    shares = {count: count * cell**2 / side**2 for count in accuracies}
    return tuple(
        Point(round(value / 100, 6), shares[count], shares[count], "windows", f"{count} {what}")
        for count, value in accuracies.items()
    )


@dataclass(frozen=True)
class Published:
    """One paper's way of looking at a task.

    Attributes:
        source: what to cite, and how the figures reached us.
        look: the camera: window side, scales and glimpses.
        figures: what was reported, a result a line.
        points: those of them that are test accuracies at a known look.
    """

    source: str
    look: str
    figures: tuple[str, ...] = ()
    points: tuple[Point, ...] = ()

    def lines(self) -> list[str]:
        """For a task's card."""
        return [f"published: {self.source}", f"  look: {self.look}", *(f"  {text}" for text in self.figures)]


_RAM = "RAM, Mnih et al. 2014 (arXiv:1406.6247), {}, quoted from secondary sources"
_NIPS, _ARXIV = _RAM.format("NIPS proceedings"), _RAM.format("arXiv v1")
_REPRODUCTIONS = "re-implementations of RAM: READMEs of {}"
_RETINA = "12×12 windows, {} scales, {} glimpses"
_APPLE = "APPLE, ICLR 2026: CSVs in the authors' repository (TimSchneider42/apple)"

PUBLISHED: dict[str, tuple[Published, ...]] = {
    "mnist": (
        Published(
            _NIPS,
            "8×8 windows, 1 scale, 2 to 7 glimpses",
            (
                "error, 2 / 3 / 4 / 5 / 6 / 7 glimpses: 3.79 / 1.51 / 1.54 / 1.34 / 1.12 / 1.07 %",
                "error, whole image: 1.69 % (2 × 256 fully connected), 1.21 % (2-layer convolutional)",
            ),
            _points(28, 8, 1, {2: 3.79, 3: 1.51, 4: 1.54, 5: 1.34, 6: 1.12, 7: 1.07}),
        ),
        Published(
            _ARXIV,
            "8×8 windows, 1 scale, 2 to 6 glimpses",
            ("error, 2 / 4 / 6 glimpses: 6.27 / 1.73 / 1.29 %",),
            _points(28, 8, 1, {2: 6.27, 4: 1.73, 6: 1.29}),
        ),
        Published(
            _REPRODUCTIONS.format("bentrevett and kevinzakka"),
            "8×8 windows, 1 scale, 6 glimpses",
            ("test error: 1.08 % (bentrevett), 1.21 % (kevinzakka)",),
            _points(28, 8, 1, {6: 1.08}, "bentrevett") + _points(28, 8, 1, {6: 1.21}, "kevinzakka"),
        ),
        Published(
            "GDFS, Covert et al. 2023: the authors' notebooks (iancovert/dynamic-selection)",
            "single pixels, each chosen from those seen before",
            (
                "accuracy, 5 / 10 / 20 / 50 / 100 pixels: 68.98 / 87.08 / 94.43 / 97.36 / 96.73 %",
                "accuracy, 1 / 3 / 5 / 8 / 10 cells of 2×2 pixels: 37.07 / 73.20 / 87.93 / 93.81 / 95.32 %",
            ),
            _pixels(28, 1, {5: 68.98, 10: 87.08, 20: 94.43, 50: 97.36, 100: 96.73}, "pixels")
            + _pixels(28, 2, {1: 37.07, 3: 73.20, 5: 87.93, 8: 93.81, 10: 95.32}, "cells"),
        ),
        Published(
            "REAL-X, Jethani et al. 2021: the authors' notebook (rajesh-lab/realx)",
            "a mask of 4.04 % of the pixels (on training images), chosen from the whole image",
            ("accuracy of an independent random-mask evaluator (EVAL-X): 94.04 %",),
            (Point(0.9404, 0.0404, 0.0404, "whole", "EVAL-X"),),
        ),
    ),
    "translated-mnist-60": (
        Published(
            _NIPS,
            _RETINA.format(3, "4 to 8"),
            (
                "error, 4 / 6 / 8 glimpses: 1.54 / 1.22 / 1.20 %",
                "error, whole image: 6.42 / 2.63 % (64 / 256 fully connected), 1.62 % (convolutional)",
            ),
            _points(60, 12, 3, {4: 1.54, 6: 1.22, 8: 1.20}),
        ),
        Published(
            _ARXIV,
            _RETINA.format(3, "4 to 8"),
            ("error, 4 / 6 / 8 glimpses: 2.29 / 1.86 / 1.84 %",),
            _points(60, 12, 3, {4: 2.29, 6: 1.86, 8: 1.84}),
        ),
        Published(
            _REPRODUCTIONS.format("slundqui, bentrevett and PrincipalComponent"),
            _RETINA.format(3, "4 to 8"),
            (
                "error, 8 glimpses: 0.94 % (slundqui), 1.87 % (bentrevett), 2.12 % (PrincipalComponent)",
                "error, 4 / 6 / 8 glimpses: 1.54 / 1.08 / 0.94 % (slundqui)",
            ),
            _points(60, 12, 3, {4: 1.54, 6: 1.08, 8: 0.94}, "slundqui"),
        ),
    ),
    "cluttered-mnist-60": (
        Published(
            _NIPS,
            _RETINA.format(3, "4 to 8"),
            (
                "error, 4 / 6 / 8 glimpses: 4.96 / 4.08 / 4.04 %; 8 random glimpses: 14.4 %",
                "error, whole image: 28.58 / 11.96 % (64 / 256 fully connected), 8.09 % (convolutional)",
            ),
            _points(60, 12, 3, {4: 4.96, 6: 4.08, 8: 4.04}),
        ),
        Published(
            _ARXIV,
            _RETINA.format(3, 8),
            ("error, 8 glimpses: 5.23 %; whole image, convolutional: 7.83 %",),
            _points(60, 12, 3, {8: 5.23}),
        ),
        Published(
            _REPRODUCTIONS.format("bentrevett, slundqui and PrincipalComponent"),
            _RETINA.format(3, "4 to 8"),
            (
                "error, 8 glimpses: 2.13 % (bentrevett), 2.63 % (slundqui), 4.82 % (PrincipalComponent)",
                "error, 4 / 6 / 8 glimpses: 5.15 / 3.33 / 2.63 % (slundqui)",
            ),
            _points(60, 12, 3, {4: 5.15, 6: 3.33, 8: 2.63}, "slundqui") + _points(60, 12, 3, {8: 2.13}, "bentrevett"),
        ),
        Published(
            "IRRL, Li et al. 2023 (arXiv:2302.00270): checkpoints in the authors' repository, one seed each",
            "4×4 windows, 1 scale, 18 glimpses",
            ("best validation accuracy, reward linear / logarithmic in p(true class): 90.07 / 69.75 %",),
        ),
    ),
    "cluttered-mnist-100": (
        Published(
            _ARXIV,
            _RETINA.format(4, "4 to 8"),
            (
                "error, 4 / 6 / 8 glimpses: 14.95 / 11.58 / 10.83 %",
                "error, whole image, convolutional: 16.51 %",
            ),
            _points(100, 12, 4, {4: 14.95, 6: 11.58, 8: 10.83}),
        ),
        Published(
            _REPRODUCTIONS.format("PrincipalComponent, slundqui and bentrevett (4 pieces of clutter, not 8)"),
            "8 glimpses (slundqui: 3 scales)",
            (
                "error: 2.68 % (PrincipalComponent), 5.9 % (slundqui), 6.74 % (bentrevett)",
                "error of DRAM, which begins with a view of the whole: 1.71 % (PrincipalComponent)",
            ),
        ),
    ),
    "dham-120-noisy": (
        Published(
            "DHAM, Ok 2023 (DOI 10.5281/zenodo.7684823)",
            "one 28×28 bilinear crop of free place and scale, chosen from the whole image",
            ("pictures only; no accuracy was reported",),
        ),
    ),
    "cifar10": (
        Published(
            _APPLE,
            "5×5 windows, 1 scale, 16 glimpses",
            ("logged: p(true class) > 1/10, which is not top-1: .764 (SAC), .728 (CrossQ), .668 (random)",),
        ),
    ),
    "circle-square": (
        Published(
            _APPLE,
            "5×5 windows, 1 scale, 16 glimpses; without noise, 1,568 images, the same in training and test",
            (
                "accuracy, labels teach the prediction: .991 (CrossQ), .982 (SAC), 1 M; .786 (PPO), 10 M",
                "accuracy, prediction as an action, reward only: .489 (CrossQ), .597 (SAC), 1 M steps",
                "accuracy, random actions and a learned predictor: .696; grid policy: .733; HAM: .518",
            ),
        ),
    ),
}
PUBLISHED["dham-120"] = PUBLISHED["dham-120-noisy"]
"""Task name → what was published on it. Tasks that are ours alone are not in it."""

ELSEWHERE: dict[str, tuple[Published, ...]] = {
    "ImageNet": (
        Published(
            "Saccader, Elsayed et al. 2019 (arXiv:1908.07644), quoted from secondary sources",
            "77×77 windows of a 224×224 image, 6 glimpses; chosen from the whole image",
            (
                "accuracy: 70.31 %; DRAM, re-implemented by the authors, 8 glimpses: 67.5 %",
                "accuracy with NASNet, 113×113 windows of 331×331, 29.47 % of the image: 75.03 %",
            ),
        ),
    ),
}
"""What was published on image sets that are no tasks here."""
