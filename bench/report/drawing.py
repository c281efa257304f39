"""What the page draws without a script: the curves and the gallery as SVG, from the block."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glimpsebench.bench import escape
from glimpsebench.bench.report.sentences import budget, per_cent

Block = dict[str, Any]
Array = NDArray[Any]

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 440, 40, 250, 14, 36
GALLERY_BUDGET, GALLERY_IMAGES = 0.2, 4


def curves(section: Block) -> str:
    """Accuracy by the judge over the mean share touched, on a logarithmic axis."""
    lines = [row for row in section["rows"] if _points(row)]
    least = min((x for row in lines for x, _ in _points(row)), default=0.01)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log(x) - math.log(least)) / -math.log(least) if least < 1 else 0.5
        return (
            round(LEFT + across * (WIDTH - LEFT - RIGHT), 1),
            round(TOP + (1 - y) * (HEIGHT - TOP - BOTTOM), 1),
        )

    parts = [
        f'<svg class="static" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape.html(section["task"])}: accuracy over the share touched; the tables have the numbers">'
    ]
    for n in range(6):
        x, y = place(1, n / 5)
        parts.append(f'<path class="rule" d="M{LEFT} {y}H{x}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{20 * n}</text>')
    last = -99.0
    for share in section["budgets"]:
        x, y = place(share, 0)
        if share >= least and x > last + 40:
            last = x
            parts.append(f'<text x="{x}" y="{y + 18}" text-anchor="middle">{escape.html(budget(share))}</text>')
    floor = 0.0  # of the names beside the lines' ends, which must not overlap
    for row in sorted(lines, key=lambda row: -_points(row)[-1][1]):
        points = [place(*point) for point in _points(row)]
        path = " ".join(f"{x},{y}" for x, y in points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{row["colour"]}" stroke-width="2" '
            f'stroke-dasharray="{row["dash"]}"/>'
        )
        parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{row["colour"]}"/>' for x, y in points]
        y = floor = max(points[-1][1], floor + 14)
        label = f"{row['name']} {per_cent(_points(row)[-1][1])}"
        parts.append(f'<text x="{WIDTH - RIGHT + 10}" y="{y + 4}" fill="{row["colour"]}">{escape.html(label)}</text>')
        parts.append(f'<path class="lead" d="M{points[-1][0] + 4} {points[-1][1]}L{WIDTH - RIGHT + 8} {y}"/>')
    return "".join([*parts, "</svg>"])


def _points(row: Block) -> list[tuple[float, float]]:
    at = row["at"]
    both = zip(at.get("touched", []), at.get("judge", []), strict=False)
    return [(x, y) for x, y in both if x and y is not None]


def gallery(section: Block) -> str:
    """What each row looked at in the first images, what it said, and whether that is right."""
    looks = section["looks"]
    if not looks["rows"]:
        return ""
    height, width = looks["size"]
    count = min(GALLERY_IMAGES, len(looks["images"]))
    parts = ['<svg width="0" height="0" aria-hidden="true"><defs>']
    name = f"i{section['suite']}-{section['task']}"
    for n, image in enumerate(looks["images"][:count]):
        parts.append(f'<image id="{escape.html(name)}-{n}" width="{width}" height="{height}" href="{image}"/>')
    parts.append('</defs></svg><div class="wide"><table class="looks">')
    parts.append(f"<caption>At most {budget(GALLERY_BUDGET)}; ✓ and ✗: what the own predictor said</caption><tbody>")
    for number, shown in looks["rows"].items():
        row = section["rows"][int(number)]
        parts.append(f'<tr><th scope="row">{escape.html(row["name"])}</th>')
        for n in range(count):
            frames = within(shown["images"][n], GALLERY_BUDGET)
            seen = seen_HW(frames[-1:] if shown["single"] else frames, height, width)
            said = frames[-1].get("own") if frames else None
            right = said is not None and looks["classes"][said] == looks["labels"][n]
            text = "·" if said is None else f"{'✓' if right else '✗'} {looks['classes'][said]}"
            parts.append(
                f'<td><svg viewBox="0 0 {width} {height}" width="72" height="72" aria-hidden="true">'
                f'<use href="#{escape.html(name)}-{n}"/><path class="dim" d="{"".join(runs(~seen))}"/></svg>'
                f"<br>{escape.html(text)}</td>"
            )
        parts.append("</tr>")
    return "".join([*parts, "</tbody></table></div>"])


def within(frames: Sequence[Block], share: float) -> list[Block]:
    """The frames up to the largest budget within a share; without any such, the first."""
    return [frame for frame in frames if min(frame["b"], default=frame["f"]) <= share + 1e-9] or list(frames[:1])


def seen_HW(frames: Sequence[Block], height: int, width: int) -> Array:
    """What the last of these frames shows: its mask, or all windows so far."""
    seen = np.zeros((height, width), bool)
    for frame in frames:
        if "m" in frame:
            bits = np.frombuffer(base64.b64decode(frame["m"]), np.uint8)
            seen = np.unpackbits(bits, count=height * width).astype(bool).reshape(height, width)
        else:
            top, left, bottom, right = frame["x"]
            seen[top:bottom, left:right] = True
    return seen


def runs(mask_HW: Array) -> Iterator[str]:
    """The pixels of a mask as a path, row by row.

    >>> list(runs(np.array([[True, True, False], [False, False, True]])))
    ['M0 0h2v1h-2z', 'M2 1h1v1h-1z']
    """
    for y, row_W in enumerate(mask_HW):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row_W.astype(np.int8), [0]])))
        for begin, end in edges.reshape(-1, 2).tolist():
            yield f"M{begin} {y}h{end - begin}v1h{begin - end}z"
