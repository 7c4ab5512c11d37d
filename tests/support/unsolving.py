"""A scripted model that no problem is known to: it writes a whole solution, and it is wrong.

`kind: scripted`, `model: tests.support.unsolving:policy`.
"""

from __future__ import annotations

from actors.engines.contract import Chat


def policy(chat: Chat, seed: int) -> str:
    """Two steps and an answer that no published problem has."""
    return f" We try {seed % 97}.\n\nStep 2: The answer is $\\boxed{{-123456789}}$."
