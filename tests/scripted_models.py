"""The scripted world as three module-level scripts, for configurations that name them.

`kind: scripted`, `model: tests.scripted_models:policy`: a worker anywhere can open them.
The path of a script is the model's identity, and golden runs hold it: this module does not move.
"""

from __future__ import annotations

import os
from functools import cache

from actors.engines.contract import Chat
from tests.support.scripted_world import ScriptedWorld, world_problems

PROBLEMS = int(os.environ.get("STEPMILL_SCRIPTED_PROBLEMS", "14"))


@cache
def _world() -> ScriptedWorld:
    return ScriptedWorld(world_problems(PROBLEMS))


def policy(chat: Chat, seed: int) -> str:
    """A solution."""
    return _world().policy(chat, seed)


def completer(chat: Chat, seed: int) -> str:
    """A rollout."""
    return _world().completer(chat, seed)


def rationale(chat: Chat, seed: int) -> str:
    """A verification."""
    return _world().rationale(chat, seed)


def judge(chat: Chat, seed: int) -> str:
    """A judgement."""
    return _world().judge(chat, seed)
