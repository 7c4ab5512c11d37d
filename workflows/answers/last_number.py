"""The last number of a text: what the authors' release takes for an answer where no box is closed.

Invariant: digits alone are read. `1,234` is one number, and so is `-0.5`; of `3/4` it is 4.
"""

from __future__ import annotations

import re

_NUMBER = re.compile(r"-?\d*\.?\d+")


def last_number(text: str) -> str | None:
    """The last number, as it is written but for commas; None if there is no digit."""
    found = _NUMBER.findall(text.replace(",", ""))
    return found[-1] if found else None
