"""A verifier behind Ray Serve, asked by many at once while things die: right or typed refusals.

One server with two replicas and real code for all tests; the last one tells it to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from actors.engines.scripted import ScriptedEngine
from stepmill.rewards import Client, ServerError
from storage.errors import SandboxUnavailable
from storage.rows.kinds import RESPONSES
from tests.scripted_verifier import verifier, world_responses
from tests.support.boxes import boxes_of, kill_boxes
from tests.support.crashing_verifier import FILE
from tests.support.engine_proxy import EngineProxy, engine_proxy
from tests.support.kits import kit_of
from tests.support.scripted_world import InProcessSandbox
from tests.support.served_process import CRASHING, TOKEN, Served, served
from tests.support.serving_load import GONE, INSIDE, Became, ask_at_once, asked_while, until
from workflows.formats.verification import VerifySettings
from workflows.stages.score import SCORE, Verifier

pytestmark = [pytest.mark.container, pytest.mark.fault]
GIVEN = world_responses()
MANY = 72
BODIES = [
    {"id": each.response_id, "problem": each.problem, "steps": each.steps, "details": False}
    for each in GIVEN
] * (MANY // len(GIVEN))


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProxy | None]:
    """What stands before the container engine; None: there is none."""
    with contextlib.ExitStack() as held:
        try:
            proxy = held.enter_context(engine_proxy())
        except SandboxUnavailable:
            proxy = None
        yield proxy


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, engine: EngineProxy | None
) -> Iterator[Served]:
    where = ("--set", f"sandbox.docker_host={engine.address}") if engine else ()
    folder = tmp_path_factory.mktemp("served")
    crash = {FILE: str(folder / "crash")}
    with served(folder, *CRASHING, "--replicas", "2", *where, **crash) as server:
        yield server


@pytest.fixture(scope="module")
def expected() -> dict[int, list[float]]:
    """The rewards that a score run gives."""
    kit = kit_of(SCORE, ScriptedEngine(verifier), InProcessSandbox(), settings=VerifySettings())
    rows = asyncio.run(Verifier(kit).run({RESPONSES: tuple(GIVEN)})).rows
    return {at: rows[at % len(GIVEN)].rewards for at in range(MANY)}


def while_asked(server: Served, act: Any) -> Became:
    """Ask all at once, and act once some are in."""
    return asyncio.run(asked_while(server.url, TOKEN, BODIES, act))


def all_right(became: Became, expected: dict[int, list[float]]) -> bool:
    assert became.wrong == [] and became.other_than(expected) == {}
    return len(became.answers) == MANY and not became.refused


def test_all_who_ask_at_once_get_the_rewards_of_a_score_run(
    server: Served, expected: dict[int, list[float]]
) -> None:
    assert all_right(asyncio.run(ask_at_once(server.url, TOKEN, BODIES)), expected)


def test_a_killed_replica_costs_nobody_an_answer(
    server: Served, expected: dict[int, list[float]]
) -> None:
    before = server.pids(":Replica")
    assert len(before) == 2
    assert all_right(while_asked(server, lambda: os.kill(before[0], signal.SIGKILL)), expected)
    assert not psutil.pid_exists(before[0])
    while "is gone; Ray Serve opens another one" not in server.log.read_text():
        time.sleep(0.05)


def test_a_failed_engine_ends_its_replica_and_costs_nobody_an_answer(
    server: Served, expected: dict[int, list[float]]
) -> None:
    before, crash = set(server.pids(":Replica")), server.log.with_name("crash")
    assert all_right(while_asked(server, crash.touch), expected)
    assert not crash.exists()
    assert len([pid for pid in before if not psutil.pid_exists(pid)]) == 1


def test_killed_boxes_cost_nobody_an_answer(
    server: Served, expected: dict[int, list[float]]
) -> None:
    (executor,) = server.pids("CodeExecutor")
    killed: list[int] = []
    became = while_asked(server, lambda: killed.append(kill_boxes(executor)))
    assert all_right(became, expected) and killed[0] > 0


def test_without_the_container_engine_what_needs_code_is_refused_until_it_is_back(
    server: Served, engine: EngineProxy | None, expected: dict[int, list[float]]
) -> None:
    if engine is None:
        pytest.skip("no container engine is here")
    became = while_asked(server, engine.cut)
    assert became.wrong == [] and became.other_than(expected) == {}
    assert set(became.refused) <= {"sandbox_unavailable", "sandbox_lost"}
    assert len(became.answers) + sum(became.refused.values()) == MANY
    refused = asyncio.run(ask_at_once(server.url, TOKEN, BODIES[:1]))
    assert sum(refused.refused.values()) == 1
    without = asyncio.run(ask_at_once(server.url, TOKEN, [{**BODIES[0], "mode": "cot"}]))
    assert len(without.answers) == 1
    engine.join()
    assert all_right(asyncio.run(ask_at_once(server.url, TOKEN, BODIES)), expected)


def test_a_killed_door_costs_what_it_had_in_hand_and_is_opened_again(
    server: Served, expected: dict[int, list[float]]
) -> None:
    (door,) = server.pids(":Door")
    became = while_asked(server, lambda: os.kill(door, signal.SIGKILL))
    assert became.other_than(expected) == {} and not became.refused
    assert len(became.answers) + len(became.wrong) == MANY
    assert {line.split()[0] for line in became.wrong} <= {"500", "503"}
    assert all_right(asyncio.run(ask_at_once(server.url, TOKEN, BODIES)), expected)


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


def test_no_log_holds_the_token(server: Served) -> None:
    """Neither its own nor those of Ray, which has carried the header of every request."""
    with pytest.raises(ServerError, match="token_wrong"):
        Client(server.url, "another-token-altogether").score("p", ["a"])
    words = [word for each in server.family() for word in each.cmdline()]
    (logs,) = {word.partition("=")[2] for word in words if word.startswith("--log_dir=")}
    files = [file for file in Path(logs).rglob("*") if file.is_file()]
    assert len(files) > 5
    for file in (*files, server.log):
        said = file.read_bytes()
        assert TOKEN.encode() not in said and b"another-token" not in said, file


def test_told_to_stop_it_answers_what_is_in_and_leaves_nothing(
    server: Served, expected: dict[int, list[float]]
) -> None:
    (executor,) = server.pids("CodeExecutor")
    family = server.family()
    became = while_asked(server, lambda: server.process.send_signal(signal.SIGTERM))
    assert server.process.wait(90) == 0
    assert became.wrong == [] and became.other_than(expected) == {}
    assert became.answers and set(became.refused) <= {"stopping"}
    assert len(became.answers) + sum(became.refused.values()) == MANY
    psutil.wait_procs(family, timeout=30)
    assert [each for each in family if each.is_running()] == []
    assert asyncio.run(boxes_of(executor)) == []
