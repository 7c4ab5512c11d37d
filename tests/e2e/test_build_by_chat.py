"""A build through chat servers, with scripted models behind them.

What a server lacks changes how it is asked, and not what comes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from actors.engines.contract import Chat
from actors.engines.opening import open_engine
from actors.workers.contract import Processor
from storage.audit import audit
from storage.objects.opening import open_store
from storage.rows.kinds import LABELS, PATHS
from storage.runs.run import Run
from tests.support.chat_server import FULL, LLAMA, MISTRAL, OPENAI, WORDS, ChatServer, Manner
from tests.support.local_cluster import LocalCluster
from tests.support.scripted_build import CONFIG, GIVEN, Build, configure, rows
from tests.support.scripted_world import ScriptedWorld
from workflows.runs.driving import continue_run
from workflows.runs.starting import start_run
from workflows.runs.workers import StageMaker

STAGES = CONFIG["stages"] | {"road": ["sample", "estimate", "label"]}
KNOWN = {problem.text for problem in GIVEN}


def world_script(role: str, chat: Chat, seed: int) -> str:
    """What the world's model writes; a turn that asks for the rest is a begun answer to it."""
    if chat.messages[-1].content in KNOWN:
        asked = chat
    elif len(chat.messages) == 4:
        asked = Chat(chat.messages[:2], chat.messages[2].content)
    else:
        return WORDS.removeprefix(chat.prefill)
    world = ScriptedWorld(GIVEN)
    return world.policy(asked, seed) if role == "policy" else world.completer(asked, seed)


@pytest.mark.parametrize("manner", [FULL, LLAMA, MISTRAL, OPENAI])
async def test_the_rows_are_those_of_an_engine_of_our_own(manner: Manner, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        models = {}
        for role in ("policy", "completer"):
            server = ChatServer(
                manner, lambda chat, seed, role=role: world_script(role, chat, seed)
            )
            url = await stack.enter_async_context(server.serving())
            models[role] = {"kind": "chat", "model": "m", "url": url}
        config = configure(tmp_path, models=models, stages=STAGES)
        run = start_run(config, open_store(config.store), None)
        maker = StageMaker(config, run.name)
        engines = {role: await open_engine(config.engine(role), config.heal) for role in models}
        for engine in engines.values():
            stack.push_async_callback(engine.close)

        def made(role: str) -> Mapping[str, Processor]:
            return maker.pure() if role == "cpu" else maker.around(role, engines[role], None)

        await continue_run(run, config, LocalCluster(run, made), 2, lambda event: None)
    assert audit(run).findings == ()
    ours = Build(configure(tmp_path / "ours", stages=STAGES))
    await ours.work()
    assert written(run) == written(ours.run)
    assert rows(run, LABELS) == rows(ours.run, LABELS)
    assert len(rows(run, LABELS)) > 10


def written(run: Run) -> list[tuple[str, str, int, bool]]:
    return [(row.path_id, row.text, row.seed, row.selected) for row in rows(run, PATHS)]
