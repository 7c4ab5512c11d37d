"""A curve as lines of text.

Invariant: every point is in the picture: a column shows the mean of the points that fall into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log10

EIGHTHS = " ▁▂▃▄▅▆▇█"
WIDTH, HEIGHT = 64, 8


def curve_lines(
    points: Sequence[tuple[float, float]], width: int = WIDTH, height: int = HEIGHT
) -> list[str]:
    """Bars of positive values, on a logarithmic scale where they span more than a decade."""
    if not points:
        return []
    width = min(width, len(points))
    columns: list[list[float]] = [[] for _ in range(width)]
    for place, (_, value) in enumerate(points):
        columns[place * width // len(points)].append(value)
    means = [sum(column) / len(column) for column in columns]
    low, high = min(means), max(means)
    logarithmic = low > 0 and high / low > 10
    scale = [log10(mean) if logarithmic else mean for mean in means]
    bottom, span = min(scale), max(scale) - min(scale)
    filled = [round(((one - bottom) / span if span else 0.5) * height * 8) for one in scale]
    lines = []
    for row in range(height - 1, -1, -1):
        label = f"{high:9.4f}" if row == height - 1 else f"{low:9.4f}" if row == 0 else " " * 9
        bars = "".join(EIGHTHS[max(0, min(8, level - 8 * row))] for level in filled)
        lines.append(f"{label} │{bars}".rstrip())
    first, last = points[0][0], points[-1][0]
    lines.append(f"{'':9} └{'─' * width}")
    kind = "loss, logarithmic" if logarithmic else "loss"
    lines.append(f"{'':10} update {first:g} to {last:g} ({kind})")
    return lines
