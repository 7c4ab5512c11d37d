"""A server is asked before anything starts: is it there, what can it do, what do stages lack."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from actors.engines.contract import EngineSettings
from actors.engines.served.capabilities import Need
from actors.machines import looking
from actors.machines.looking import Look, Wanted, look_at
from storage.errors import EngineFailed
from tests.support.chat_server import BARE, FULL, serving
from workflows.runs.checks import check_models, server_notes


def look(engines: Mapping[str, EngineSettings], **needs: tuple[Need, ...]) -> Look:
    wanted = {role: {"rationalize": need} for role, need in needs.items()}
    return look_at(Wanted(engines, needs=wanted))


def settings(there: str, **more: Any) -> EngineSettings:
    return EngineSettings(**({"kind": "chat", "model": "m", "url": there, "retries": 0} | more))


def test_what_it_can_do_is_said_once_for_all_roles_that_it_serves() -> None:
    with serving(FULL) as server:
        model = settings(server.url)
        found = look({"policy": model, "completer": model})
    assert found.misfits == {"policy": (), "completer": ()}
    (line,) = [said for said in server_notes(found) if "has n, seeds" in said]
    assert line.startswith("models.policy, completer: has n, seeds, top_k, stop strings (named)")
    assert len(server.bodies) < 30, "one server is tried once"


def test_one_that_does_not_answer_is_asked_once_for_all_roles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    async def silent(engine: EngineSettings) -> None:
        asked.append(engine.model)
        raise EngineFailed("no answer")

    monkeypatch.setattr(looking, "capabilities", silent)
    model = settings("http://127.0.0.1:9/v1")
    found = look({"policy": model, "completer": model, "judge": replace(model, model="other")})
    assert asked == ["m", "other"]
    assert {role: str(why[0].said) for role, why in found.misfits.items()} == dict.fromkeys(
        ("policy", "completer", "judge"), "no answer"
    )


def test_a_key_that_only_one_role_lacks_is_said_of_that_role() -> None:
    with serving(FULL) as server:
        model = settings(server.url)
        found = look({"policy": model, "judge": replace(model, api_key_env="NO_SUCH_KEY")})
    assert found.misfits["policy"] == ()
    assert "NO_SUCH_KEY is not set: export it" in found.misfits["judge"][0].said


def test_a_stage_that_it_can_not_serve_is_refused_with_the_reason() -> None:
    with serving(BARE) as server:
        found = look({"rationale": settings(server.url)}, rationale=(Need.CONTINUES,))
    (misfit,) = found.misfits["rationale"]
    assert "stage rationalize needs a server that goes on with an answer" in misfit.said


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "failed 1 times, lastly: ClientConnectorError"),
        ({"kind": "endpoint"}, "failed 1 times, lastly: ClientConnectorError"),
        ({"url": None}, "`kind: chat` needs the `url` of a server"),
        ({"url": None, "kind": "endpoint"}, "`kind: endpoint` needs the `url` of a server"),
        ({"api_key_env": "NO_SUCH_KEY"}, "NO_SUCH_KEY is not set: export it"),
        ({"batch_invariant": True}, "start the server with VLLM_BATCH_INVARIANT=1"),
    ],
)
def test_one_that_can_not_be_asked_is_said_at_once(more: dict[str, Any], said: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1"
        engine = settings(url, **more)
        found = look({"policy": engine})
    (misfit,) = found.misfits["policy"]
    assert said in misfit.said and "\n" not in misfit.said


def test_a_model_that_it_does_not_have_is_said_with_those_that_it_has() -> None:
    with serving(FULL) as server:
        for kind in ("chat", "endpoint"):
            found = look({"policy": settings(server.url, kind=kind, model="gpt")})
            (misfit,) = found.misfits["policy"]
            assert "has no model 'gpt', only: m" in misfit.said


def test_doctor_lists_it_a_line_each() -> None:
    with serving(BARE) as server:
        found = look({"policy": settings(server.url)})
    config: Any = SimpleNamespace(engines={"policy": settings("http://x")})
    lines = [str(finding) for finding in check_models(config, [found])]
    assert "models.policy: no n: samples are asked for one by one" in lines
    assert len(lines) == 1 + len(found.notes["policy"])
