"""The versions that locks/ pins."""

from __future__ import annotations

from pathlib import Path

from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def pinned(file: str) -> dict[str, str]:
    """Package -> version."""
    lines = (ROOT / "locks" / file).read_text().splitlines()
    pins = [line.partition("#")[0].partition(";")[0].strip() for line in lines]
    return {
        canonicalize_name(name): v for name, _, v in (pin.partition("==") for pin in pins if pin)
    }
