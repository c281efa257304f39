"""How others looked at the tasks and what they reported, so that a result can be read beside theirs.

Figures are quoted from the papers, their authors' code or data, or secondary sources that quote them; `source` says
which. None was measured here, and none is an upper bound: re-implementations of RAM beat its paper easily. Of a paper
with several versions the one with the better figures comes first, and of re-implementations the best.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One paper's way of looking at a task.

    Attributes:
        source: what to cite, and how the figures reached us.
        look: the camera: window side, scales and glimpses.
        figures: what was reported, a result a line.
    """

    source: str
    look: str
    figures: tuple[str, ...] = ()

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
        ),
        Published(
            _ARXIV,
            "8×8 windows, 1 scale, 2 to 6 glimpses",
            ("error, 2 / 4 / 6 glimpses: 6.27 / 1.73 / 1.29 %",),
        ),
        Published(
            _REPRODUCTIONS.format("bentrevett and kevinzakka"),
            "8×8 windows, 1 scale, 6 glimpses",
            ("test error: 1.08 % (bentrevett), 1.21 % (kevinzakka)",),
        ),
        Published(
            "GDFS, Covert et al. 2023: the authors' notebooks (iancovert/dynamic-selection)",
            "single pixels, each chosen from those seen before",
            (
                "accuracy, 5 / 10 / 20 / 50 / 100 pixels: 68.98 / 87.08 / 94.43 / 97.36 / 96.73 %",
                "accuracy, 1 / 3 / 5 / 8 / 10 cells of 2×2 pixels: 37.07 / 73.20 / 87.93 / 93.81 / 95.32 %",
            ),
        ),
        Published(
            "REAL-X, Jethani et al. 2021: the authors' notebook (rajesh-lab/realx)",
            "a mask of 4.04 % of the pixels (on training images), chosen from the whole image",
            ("accuracy of an independent random-mask evaluator (EVAL-X): 94.04 %",),
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
        ),
        Published(_ARXIV, _RETINA.format(3, "4 to 8"), ("error, 4 / 6 / 8 glimpses: 2.29 / 1.86 / 1.84 %",)),
        Published(
            _REPRODUCTIONS.format("slundqui, bentrevett and PrincipalComponent"),
            _RETINA.format(3, "4 to 8"),
            (
                "error, 8 glimpses: 0.94 % (slundqui), 1.87 % (bentrevett), 2.12 % (PrincipalComponent)",
                "error, 4 / 6 / 8 glimpses: 1.54 / 1.08 / 0.94 % (slundqui)",
            ),
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
        ),
        Published(
            _ARXIV,
            _RETINA.format(3, 8),
            ("error, 8 glimpses: 5.23 %; whole image, convolutional: 7.83 %",),
        ),
        Published(
            _REPRODUCTIONS.format("bentrevett, slundqui and PrincipalComponent"),
            _RETINA.format(3, "4 to 8"),
            (
                "error, 8 glimpses: 2.13 % (bentrevett), 2.63 % (slundqui), 4.82 % (PrincipalComponent)",
                "error, 4 / 6 / 8 glimpses: 5.15 / 3.33 / 2.63 % (slundqui)",
            ),
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
