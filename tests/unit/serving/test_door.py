"""The door of a server, without Ray: what is answered, what is refused, what is let go."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from actors.engines.reading import ScriptedReader
from actors.engines.scripted import Latency, ScriptedEngine
from storage.errors import EngineFailed, ItemError, SandboxUnavailable, WorkerLost
from storage.rows.kinds import RESPONSES
from tests.scripted_verifier import verifier
from tests.support.asked_door import GIVEN, TOKEN, asked_door, item, until
from tests.support.kits import kit_of
from tests.support.scripted_world import InProcessSandbox
from workflows.formats.verification import VerifySettings
from workflows.stages.score import SCORE, Verifier

SLOW = Latency(request_s=3600.0)


async def test_rewards_are_those_of_a_score_run() -> None:
    kit = kit_of(
        SCORE, ScriptedEngine(verifier), InProcessSandbox(), settings=VerifySettings(histories=2)
    )
    rows = (await Verifier(kit).run({RESPONSES: tuple(GIVEN)})).rows
    async with asked_door() as asked:
        answer = await asked.score(items=[item(number) for number in range(len(GIVEN))])
    histories = [
        (score["id"], history["history"], history["rewards"], history["analyses"], history["seed"])
        for score in answer.json()["scores"]
        for history in score["histories"]
    ]
    assert histories == [
        (row.response_id, row.history, row.rewards, row.analyses, row.seed) for row in rows
    ]


async def test_one_solution_has_rewards_analyses_and_what_its_code_printed() -> None:
    async with asked_door() as asked:
        score = (await asked.one(0, n=3)).json()
    steps = len(GIVEN[0].steps)
    assert (score["n"], len(score["rewards"]), len(score["histories"])) == (3, steps, 3)
    assert score["score"] == min(score["rewards"])
    history = score["histories"][0]
    assert all(history["analyses"]) and len(history["executions"]) >= steps
    assert "[Code Output]" in history["verifications"][0]
    assert history["executions"][0]["output"] in history["verifications"][0]


@pytest.mark.parametrize(
    ("aggregate", "made"),
    [("min", min), ("mean", lambda r: sum(r) / len(r)), ("last", lambda r: r[-1])],
)
async def test_the_score_is_the_aggregate_that_was_asked_for(aggregate: str, made: Any) -> None:
    async with asked_door() as asked:
        score = (await asked.one(1, aggregate=aggregate, details=False)).json()
    assert score["score"] == pytest.approx(made(score["rewards"]))
    assert "histories" not in score


async def test_a_seed_changes_the_answer_and_the_same_one_does_not() -> None:
    async with asked_door() as asked:
        answers = [(await asked.one(2, n=8, seed=seed)).json()["rewards"] for seed in (1, 1, 2)]
    assert answers[0] == answers[1] != answers[2]


async def test_a_text_is_cut_into_steps() -> None:
    text = "\n\n".join(f"Step {at}: {step}" for at, step in enumerate(GIVEN[0].steps, 1))
    async with asked_door() as asked:
        whole = (await asked.score(problem=GIVEN[0].problem, solution=text)).json()
        cut = (await asked.score(problem=GIVEN[0].problem, steps=GIVEN[0].steps)).json()
    assert whole == cut


@pytest.mark.parametrize(
    ("body", "status", "error", "says"),
    [
        ({"problem": "p"}, 422, "invalid", "steps"),
        ({"problem": "p", "steps": []}, 422, "invalid", "empty"),
        ({"problem": "p", "steps": ["a", " "]}, 422, "invalid", "step 2"),
        ({"problem": " ", "steps": ["a"]}, 422, "invalid", "problem"),
        ({"problem": "p", "steps": "a"}, 422, "invalid", "list"),
        ({"problem": "p", "steps": ["\ud800"]}, 422, "invalid", "steps"),
        ({"problem": "p", "steps": ["a"], "n": 0}, 422, "invalid", "`n`"),
        ({"problem": "p", "steps": ["a"], "n": True}, 422, "invalid", "`n`"),
        ({"problem": "p", "steps": ["a"], "n": 65}, 422, "too_many", "65"),
        ({"problem": "p", "steps": ["a"], "mode": "loud"}, 422, "invalid", "mode"),
        ({"problem": "p", "steps": ["a"], "tepm": 1}, 422, "invalid", "tepm"),
        ({"items": []}, 422, "invalid", "items"),
        ({"items": [{"problem": "p", "steps": ["a"]}] * 4}, 422, "too_many", "4"),
        ([], 400, "not_json", "object"),
    ],
)
async def test_a_wrong_request_is_refused_with_its_place(
    body: Any, status: int, error: str, says: str
) -> None:
    async with asked_door(most_items=3) as asked:
        answer = await asked.client.post("/v1/score", content=json.dumps(body))
    assert answer.status_code == status
    refusal = answer.json()
    assert refusal.keys() == {"error", "reason", "change", "retry"}
    assert refusal["error"] == error and says in refusal["reason"] and refusal["change"]
    assert refusal["retry"] is False


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/score", 405), ("POST", "/v2/score", 404)]
)
async def test_an_unknown_route_is_refused_in_the_same_form(
    method: str, path: str, status: int
) -> None:
    async with asked_door() as asked:
        answer = await asked.client.request(method, path)
    assert (answer.status_code, answer.json()["error"]) == (status, "no_such_route")


async def test_a_body_that_is_no_json_is_refused() -> None:
    async with asked_door() as asked:
        for content in (b"", b"{", b"\xff", b"[" * 100_000):
            answer = await asked.client.post("/v1/score", content=content)
            assert (answer.status_code, answer.json()["error"]) == (400, "not_json")


async def test_without_the_token_nothing_is_computed_and_health_is_told() -> None:
    basic = base64.b64encode(f"any:{TOKEN}".encode()).decode()
    headers: list[tuple[dict[str, str], int]] = [
        ({}, 401),
        ({"Authorization": f"Bearer {TOKEN}x"}, 401),
        ({"Authorization": "Basic !"}, 401),
        ({"Authorization": f"Bearer {TOKEN}"}, 200),
        ({"Authorization": f"Basic {basic}"}, 200),
    ]
    async with asked_door(TOKEN) as asked:
        for header, status in headers:
            before = asked.engine.requests
            answer = await asked.score(header, **item(0))
            assert answer.status_code == status
            assert (asked.engine.requests > before) == (status == 200)
            if status == 401:
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert TOKEN not in answer.text
        assert (await asked.client.get("/metrics")).status_code == 401
        assert (await asked.client.get("/health")).json()["status"] == "ok"


async def test_a_large_body_is_refused_before_it_is_read() -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 100
            yield b" " * 100

    async with asked_door(most_body_bytes=1000) as asked:
        said = await asked.client.post("/v1/score", content=b" " * 1001)
        came = await asked.client.post("/v1/score", content=endless())
        fits = await asked.client.post("/v1/score", content=b" " * 1000)
    assert [said.status_code, came.status_code, fits.status_code] == [413, 413, 400]
    assert read <= 1200 and said.json()["error"] == "too_large"


async def test_beyond_the_queue_a_request_is_refused_for_now_and_others_go_on() -> None:
    async with asked_door(queue=3) as asked:
        gate = asyncio.Event()
        asked.replica.before = lambda question: _passed(gate)
        first = asyncio.create_task(asked.score(items=[item(0), item(1)]))
        second = asyncio.create_task(asked.one(2))
        await until(lambda: asked.door._room.taken == 3)
        refused = await asked.one(3)
        never = await asked.score(items=[item(0)] * 4)
        gate.set()
        assert [(await task).status_code for task in (first, second)] == [200, 200]
        after = await asked.one(3)
    assert refused.status_code == 429 and int(refused.headers["Retry-After"]) >= 1
    assert refused.json()["error"] == "busy" and refused.json()["retry"] is True
    assert (never.status_code, never.json()["retry"]) == (422, False)
    assert after.status_code == 200


async def _passed(gate: asyncio.Event) -> None:
    await gate.wait()


async def test_a_door_that_drains_answers_what_is_in_and_refuses_what_comes() -> None:
    async with asked_door() as asked:
        gate = asyncio.Event()
        asked.replica.before = lambda question: _passed(gate)
        inside = asyncio.create_task(asked.one(0))
        await until(lambda: asked.door._room.taken == 1)
        drained = asyncio.create_task(asked.door.drained())
        await until(lambda: asked.door._room.closing)
        refused = await asked.one(1)
        health = await asked.client.get("/health")
        assert not drained.done()
        gate.set()
        await drained
        assert (await inside).status_code == 200
    assert (refused.status_code, refused.json()["error"]) == (503, "stopping")
    assert (health.status_code, health.json()["status"]) == (503, "stopping")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_goes_away_is_withdrawn_from_the_engine(stream: bool) -> None:
    async with asked_door(latency=SLOW) as asked:
        asking = asyncio.create_task(asked.one(0, stream=stream))
        await until(lambda: asked.engine._admission.in_flight == 2)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await until(lambda: asked.engine._admission.in_flight == 0)
        assert asked.door._room.taken == 0
        assert b"stepmill_serve_gone_total 1.0" in (await asked.client.get("/metrics")).content


async def test_an_answer_that_takes_too_long_is_given_up() -> None:
    async with asked_door(latency=SLOW, answer_s=0.05) as asked:
        answer = await asked.one(0)
        assert (answer.status_code, answer.json()["error"]) == (504, "too_slow")
        assert asked.engine._admission.in_flight == 0


@pytest.mark.parametrize(
    ("raised", "status", "error", "retry"),
    [
        (ItemError("too_long", "9 tokens in a context of 8"), 422, "too_long", False),
        (ItemError("sandbox_lost", "three times"), 503, "sandbox_lost", True),
        (SandboxUnavailable("no engine"), 503, "sandbox_unavailable", True),
        (EngineFailed("crashed"), 503, "engine_failed", True),
        (WorkerLost("its replica died"), 503, "replica_lost", True),
        (ZeroDivisionError("a bug"), 500, "exception", False),
    ],
)
async def test_a_solution_that_gets_no_score_says_why_and_its_neighbours_are_scored(
    raised: Exception, status: int, error: str, retry: bool
) -> None:
    async def failing(question: Any) -> None:
        if question.name == "r1":
            raise raised

    async with asked_door() as asked:
        asked.replica.before = failing
        alone = await asked.one(1)
        among = (await asked.score(items=[item(0), item(1), item(2)])).json()["scores"]
        streamed = _events((await asked.one(1, stream=True)).text)
        counted = (await asked.client.get("/metrics")).text
    assert alone.status_code == status
    assert (alone.json()["error"], alone.json()["retry"]) == (error, retry)
    assert ("Retry-After" in alone.headers) == retry
    assert [score.get("error") for score in among] == [None, error, None]
    assert [event.get("error") for event in streamed] == [error, None]
    assert f'stepmill_serve_failed_total{{error="{error}"}} 3.0' in counted


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"solution": "Step 1: a\n\nStep 3: b"}, "header"),
        ({"solution": " "}, "solution"),
        ({"steps": ["a", ""]}, "step 2"),
        ({"steps": []}, "empty"),
        ({}, "steps"),
        ({"problem": " ", "steps": ["a"]}, "problem"),
        ({"id": "\ud800", "steps": ["a"]}, "Unicode"),
    ],
)
async def test_a_solution_of_many_that_is_none_says_why_and_its_neighbours_are_scored(
    wrong: dict[str, Any], says: str
) -> None:
    items = [item(0), {"id": "wrong", "problem": "p", **wrong}, item(1)]
    async with asked_door() as asked:
        body = json.dumps({"items": items, "details": False})
        among = (await asked.client.post("/v1/score", content=body)).json()["scores"]
        alone = [(await asked.one(number, details=False)).json() for number in (0, 1)]
        streamed = json.dumps({"items": items, "stream": True})
        events = _events((await asked.client.post("/v1/score", content=streamed)).text)
        counted = (await asked.client.get("/metrics")).text
    assert [among[0], among[2]] == alone
    assert among[1].keys() == {"id", "error", "reason", "change", "retry"}
    assert (among[1]["error"], among[1]["retry"]) == ("invalid", False)
    assert "items.1" in among[1]["reason"] and says in among[1]["reason"]
    assert among[1]["id"] == ("?" if "Unicode" in says else "wrong")
    ended = {event["id"]: event["event"] for event in events if event["event"] != "end"}
    assert ended == {"r0": "score", among[1]["id"]: "error", "r1": "score"}
    assert 'stepmill_serve_failed_total{error="invalid"} 2.0' in counted


async def test_steps_come_one_by_one_each_once_and_then_the_score() -> None:
    async with asked_door() as asked:
        whole = (await asked.one(0)).json()
        answer = await asked.one(0, stream=True)
    events = _events(answer.text)
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    steps = [event for event in events if event["event"] == "step"]
    places = [(event["history"], event["step"]) for event in steps]
    assert sorted(places) == [(h, s) for h in (0, 1) for s in range(len(GIVEN[0].steps))]
    for event in steps:
        history = whole["histories"][event["history"]]
        assert event["reward"] == history["rewards"][event["step"]]
        assert event["analysis"] == history["analyses"][event["step"]]
        assert event["executions"] and {run["step"] for run in event["executions"]} == {
            event["step"]
        }
    assert [event["event"] for event in events[len(steps) :]] == ["score", "end"]
    assert events[-2] == {"event": "score", **whole}


async def test_a_step_is_told_before_the_next_one_is_judged() -> None:
    async with asked_door() as asked:
        parts = asked.replica.answerer.stream(_question())
        first = await anext(parts)
        judged = asked.engine.requests
        [part async for part in parts]
        assert first.step == 0 and judged < asked.engine.requests


def _question() -> Any:
    from workflows.serving.questions import Question

    given = GIVEN[1]
    return Question(given.response_id, given.problem, tuple(given.steps), "full", 1, 0)


async def test_a_model_that_reads_is_asked_once_and_says_rewards_alone() -> None:
    passages: list[Any] = []

    def odds(passage: Any) -> list[float]:
        passages.append(passage)
        return [2.0, 0.0, -2.0, *[0.0] * len(passage.steps)][: len(passage.steps)]

    async with asked_door(reader=ScriptedReader(odds)) as asked:
        score = (await asked.one(0, n=8)).json()
        read = len(passages)
        events = _events((await asked.one(0, stream=True)).text)
        refused = await asked.one(0, mode="full")
    assert (score["mode"], score["n"], read) == ("read", 1, 1)
    assert score["rewards"] == pytest.approx([0.8808, 0.5, 0.1192], abs=1e-4)
    assert [event["reward"] for event in events[:3]] == score["rewards"]
    assert refused.status_code == 422 and "read" in refused.json()["change"]


async def test_a_client_that_accepts_server_sent_events_gets_them() -> None:
    async with asked_door() as asked:
        answer = await asked.score({"Accept": "text/event-stream"}, **item(0), stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = answer.text.strip().split("\n\n")
    named = [block.split("\n")[0].removeprefix("event: ") for block in blocks]
    told = [json.loads(block.split("\n")[1].removeprefix("data: "))["event"] for block in blocks]
    assert named == told and named[-2:] == ["score", "end"]


def _events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line]


async def test_metrics_count_requests_steps_tokens_and_code() -> None:
    async with asked_door() as asked:
        score = (await asked.one(0)).json()
        await asked.one(0, n=0)
        lines = (await asked.client.get("/metrics")).text.splitlines()
    steps = 2 * len(GIVEN[0].steps)
    runs = sum(len(history["executions"]) for history in score["histories"])
    for line in (
        'stepmill_serve_requests_total{route="/v1/score",status="200"} 1.0',
        'stepmill_serve_requests_total{route="/v1/score",status="422"} 1.0',
        f"stepmill_serve_steps_total {steps}.0",
        f"stepmill_serve_tokens_total {score['tokens']}.0",
        f'stepmill_serve_code_runs_total{{verdict="ok"}} {runs}.0',
        "stepmill_serve_replicas 1.0",
    ):
        assert line in lines
