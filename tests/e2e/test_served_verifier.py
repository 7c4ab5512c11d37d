"""A verifier behind Ray Serve, asked by many at once while things die: right or typed refusals.

One server with two replicas and real code for all tests; the last one tells it to stop.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any

import aiohttp
import psutil
import pytest

from actors.engines.scripted import ScriptedEngine
from stepmill.rewards import Client, ServerError
from storage.rows.kinds import RESPONSES
from tests.scripted_verifier import verifier, world_responses
from tests.support.boxes import boxes_of, kill_boxes
from tests.support.kits import kit_of
from tests.support.scripted_world import InProcessSandbox
from tests.support.served_process import SCRIPTED, TOKEN, Served, served
from tests.support.serving_load import Became, ask_at_once, until
from workflows.formats.verification import VerifySettings
from workflows.stages.score import SCORE, Verifier
from workflows.votes.rewards import averaged

pytestmark = [pytest.mark.container, pytest.mark.fault]
INSIDE, GONE = "stepmill_serve_solutions", "stepmill_serve_gone_total"
GIVEN = world_responses()
MANY = 72
BODIES = [
    {"id": each.response_id, "problem": each.problem, "steps": each.steps, "details": False}
    for each in GIVEN
] * (MANY // len(GIVEN))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served"), *SCRIPTED, "--replicas", "2") as server:
        yield server


@pytest.fixture(scope="module")
def expected() -> list[list[float]]:
    """The rewards that a score run gives."""
    engine = ScriptedEngine(verifier)
    kit = kit_of(SCORE, engine, InProcessSandbox(), settings=VerifySettings())
    rows = asyncio.run(Verifier(kit).run({RESPONSES: tuple(GIVEN)})).rows
    return [averaged([row.rewards]) for row in rows] * (MANY // len(GIVEN))


def asked_while(server: Served, expected: Any, act: Any) -> Became:
    """Ask all at once, and act once some are in."""

    async def both() -> Became:
        asking = asyncio.create_task(ask_at_once(server.url, TOKEN, BODIES, expected))
        await until(server.url, TOKEN, INSIDE, 1)
        await asyncio.to_thread(act)
        return await asking

    return asyncio.run(both())


def test_all_who_ask_at_once_get_the_rewards_of_a_score_run(
    server: Served, expected: list[list[float]]
) -> None:
    became = asyncio.run(ask_at_once(server.url, TOKEN, BODIES, expected))
    assert (became.right, became.refused, became.wrong) == (MANY, {}, [])


def test_a_killed_replica_costs_nobody_an_answer(
    server: Served, expected: list[list[float]]
) -> None:
    before = server.pids(":Replica")
    assert len(before) == 2
    became = asked_while(server, expected, lambda: os.kill(before[0], signal.SIGKILL))
    assert (became.right, became.refused, became.wrong) == (MANY, {}, [])
    assert not psutil.pid_exists(before[0])


def test_killed_boxes_cost_nobody_an_answer(server: Served, expected: list[list[float]]) -> None:
    (executor,) = server.pids("CodeExecutor")
    killed: list[int] = []
    became = asked_while(server, expected, lambda: killed.append(kill_boxes(executor)))
    assert (became.right, became.refused, became.wrong) == (MANY, {}, [])
    assert killed[0] > 0


def test_whoever_goes_away_leaves_nothing_at_work(server: Served) -> None:
    async def go_away() -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            body = {**BODIES[1], "n": 64, "stream": True}
            async with session.post(f"{server.url}/v1/score", json=body) as answer:
                await answer.content.readline()
        await until(server.url, TOKEN, GONE, 1)
        await until(server.url, TOKEN, INSIDE, 0, 0)

    asyncio.run(go_away())


def test_the_log_never_holds_the_token(server: Served) -> None:
    with pytest.raises(ServerError, match="token_wrong"):
        Client(server.url, "another-token-altogether").score("p", ["a"])
    assert TOKEN not in server.log.read_text()


def test_told_to_stop_it_answers_what_is_in_and_leaves_nothing(
    server: Served, expected: list[list[float]]
) -> None:
    (executor,) = server.pids("CodeExecutor")
    family = server.family()
    became = asked_while(server, expected, lambda: server.process.send_signal(signal.SIGTERM))
    assert server.process.wait(90) == 0
    assert became.wrong == [] and set(became.refused) <= {"stopping"} and became.right > 0
    assert became.right + sum(became.refused.values()) == MANY
    psutil.wait_procs(family, timeout=30)
    assert [each for each in family if each.is_running()] == []
    assert asyncio.run(boxes_of(executor)) == []
