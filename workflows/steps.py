"""Cut a solution into its steps, and put steps back together.

Invariant: ``split(join(steps)) == steps`` for any steps that hold no step header of their own, and
only a header whose number continues the count starts a step: "Step up by 3" or a reference to
"Step 2" in the middle of step 5 stays inside the step in which it stands.
"""

import re
from collections.abc import Sequence

# A header opens a line: optional markdown heading, optional bold, the number, a colon that may
# stand inside or outside of the bold. "**Step 3**" alone on its line needs no colon.
_HEADER = re.compile(
    r"^[ \t]*(?:\#{1,6}[ \t]*)?"
    r"(?:"
    r"\*\*[ \t]*Step[ \t]+(?P<bold>\d{1,3})[ \t]*(?::[ \t]*\*\*|\*\*[ \t]*(?::|(?=\n|$)))"
    r"|Step[ \t]+(?P<plain>\d{1,3})[ \t]*(?::|\.(?=\s)|(?=\n|$))"
    r")[ \t]*",
    re.MULTILINE,
)

SEPARATOR = "\n\n"


def header(number: int) -> str:
    """The header that step ``number`` (counted from 1) starts with, trailing space included."""
    return f"Step {number}: "


def split(text: str) -> tuple[str, ...]:
    """The steps of a solution, headers stripped; a text without headers is one step.

    Text before the first header belongs to no step: a solution whose turn was opened with
    "Step 1: " has none. A header counts only when it bears the next number (the first may bear
    any), so that a repeated or distant number does not cut a step in two.
    """
    starts: list[tuple[int, int]] = []
    expected: int | None = None
    for match in _HEADER.finditer(text):
        number = int(match["bold"] or match["plain"])
        if expected is not None and number != expected:
            continue
        starts.append((match.start(), match.end()))
        expected = number + 1
    if not starts:
        whole = text.strip()
        return (whole,) if whole else ()
    ends = [start for start, _ in starts[1:]] + [len(text)]
    return tuple(text[begin:end].strip() for (_, begin), end in zip(starts, ends, strict=True))


def join(steps: Sequence[str]) -> str:
    """The solution whose steps these are: "Step k: text", blank lines between."""
    return SEPARATOR.join(header(number) + step for number, step in enumerate(steps, start=1))
