"""What every runner does: `--rows` prompts to the chat or completions route at `--url`.

Repeating a runner with the same `--out` continues what was interrupted, as far as the tool can.
Nothing but the standard library is imported here: each tool has an environment of its own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

FLIGHT = 64
MODEL = "m"


def prompt_of(row: int) -> str:
    """The text of one row; no two are equal."""
    return f"Row {row}: what is {row} + {row % 97}? Reason step by step and box the answer."


def arguments() -> argparse.Namespace:
    """`--rows N --url http://host:port/v1 --out FOLDER`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()
