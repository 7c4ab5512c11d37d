"""One model in all roles, as a chat server has it: scripts of the demo's world behind one name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from actors.engines.contract import Chat
from demo.problem import Problem
from tests.support.chat_server import script as numbers
from tests.support.scripted_world import ScriptedWorld


def one_model(problems: Sequence[Problem]) -> Callable[[Chat, int], str]:
    """A script: verifications where one is asked for, else solutions; numbers where it is tried."""
    world, texts = ScriptedWorld(problems), {problem.text for problem in problems}

    def script(chat: Chat, seed: int) -> str:
        asked = chat.messages[-1].content
        if "[Math Problem]" in asked:
            return world.rationale(chat, seed)
        if asked not in texts:
            return numbers(chat, seed)
        begins = chat.prefill.strip() in ("Step 1:", "Step 1", "")
        return (world.policy if begins else world.completer)(chat, seed)

    return script
