"""The scripted verifier with an engine that crashes once, where a file asks for it.

`kind: scripted`, `model: tests.support.crashing_verifier:verifier`; the file is `$STEPMILL_CRASH`.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from actors.engines.contract import Chat
from storage.errors import EngineFailed
from tests import scripted_verifier

FILE = "STEPMILL_CRASH"


def verifier(chat: Chat, seed: int) -> str:
    """As `tests.scripted_verifier.verifier`; the process that finds the file takes it away."""
    with contextlib.suppress(FileNotFoundError, KeyError):
        Path(os.environ[FILE]).unlink()
        raise EngineFailed("crashed, as it was told to")
    return scripted_verifier.verifier(chat, seed)
