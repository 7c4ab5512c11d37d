"""`stepmill.rewards`: the small client of trainers, over HTTP, against the door itself."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from stepmill import rewards
from stepmill.rewards import Client, ServerError, compute_score, trl_reward
from tests.support.asked_door import GIVEN, TOKEN, served_door

FILE = Path(rewards.__file__)
ITEMS = [(given.problem, given.steps) for given in GIVEN]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served_door(TOKEN) as url:
        yield url


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPMILL_TOKEN", TOKEN)


def test_rewards_are_the_scores_of_the_solutions_in_their_order(url: str) -> None:
    client = Client(url, part=5)
    alone = [client.score(problem, steps)["score"] for problem, steps in ITEMS]
    assert client.rewards(ITEMS) == alone
    assert len(set(alone)) > 1


def test_an_empty_solution_gets_what_the_caller_says(url: str) -> None:
    problem, steps = ITEMS[0]
    with_empty = Client(url).rewards([(problem, ""), (problem, steps), (problem, [" "])], -1.0)
    assert with_empty == [-1.0, Client(url).score(problem, steps)["score"], -1.0]


def test_a_solution_that_can_not_be_cut_into_steps_costs_its_neighbours_nothing(url: str) -> None:
    gap = ("p", "Step 1: a\n\nStep 3: b")
    client = Client(url)
    expected = client.rewards(ITEMS[:3])
    assert client.rewards([ITEMS[0], gap, *ITEMS[1:3]], -1.0) == [
        expected[0], -1.0, *expected[1:]
    ]  # fmt: skip


def test_a_wrong_token_is_said_and_not_shown(url: str) -> None:
    client = Client(url, "another-token-altogether")
    with pytest.raises(ServerError, match="token_wrong") as refused:
        client.score(*ITEMS[0])
    assert refused.value.status == 401
    assert "another-token" not in f"{refused.value}{client!r}{vars(refused.value)}"


def test_steps_are_streamed(url: str) -> None:
    events = list(Client(url).stream(*ITEMS[0], n=1))
    assert [event["event"] for event in events] == ["step"] * len(ITEMS[0][1]) + ["score", "end"]


def test_a_reward_function_of_trl_takes_texts_and_conversations(url: str) -> None:
    problem, steps = ITEMS[1]
    text = "\n\n".join(f"Step {at}: {step}" for at, step in enumerate(steps, 1))
    reward = trl_reward(url)
    expected = Client(url).rewards([(problem, steps)])
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": problem}]
    said = [[{"role": "assistant", "content": text}]]
    assert reward(prompts=[chat], completions=said) == expected
    assert reward(prompts=["in a template"], completions=[text], problem=[problem]) == expected
    assert reward(prompts=[problem], completions=[text], other=[1]) == expected


def test_the_file_works_by_its_path_without_stepmill(url: str) -> None:
    """As verl loads it: a module that is in no package, nor in `sys.modules`."""
    problem, steps = ITEMS[2]
    code = (
        "import importlib.util, json, sys\n"
        f"spec = importlib.util.spec_from_file_location('by_path', {str(FILE)!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "asked = json.load(sys.stdin)\n"
        "print(json.dumps(module.compute_score('demo', **asked)))\n"
        "assert not any(name.startswith('stepmill') for name in sys.modules)"
    )
    text = "\n\n".join(steps)
    asked = {"solution_str": text, "ground_truth": "", "extra_info": {"problem": problem}}
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], input=json.dumps(asked | {"url": url}),
        env={"STEPMILL_TOKEN": TOKEN}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["score"] == Client(url).score(problem, text)["score"]


def test_a_dataset_without_problems_is_told_what_to_write() -> None:
    with pytest.raises(KeyError, match="problem_key"):
        compute_score("mine", "text", "", {"question": "q"})


def test_a_solution_that_the_verifier_refuses_is_unscored(url: str) -> None:
    long = compute_score("mine", "a", "", {"problem": " "}, url=url, unscored=-2.0)
    assert (long["score"], long["scored"]) == (-2.0, 0.0)


@pytest.mark.parametrize(("how", "error"), [({"mode": "loud"}, "invalid"), ({"n": 65}, "too_many")])
def test_a_setting_that_the_server_does_not_take_is_no_reward(
    url: str, how: dict[str, Any], error: str
) -> None:
    asked = {"solution_str": "a", "ground_truth": "", "extra_info": {"problem": "p"}}
    with pytest.raises(ServerError) as of_many:
        Client(url).rewards(ITEMS[:3], **how)
    with pytest.raises(ServerError) as of_one:
        compute_score("mine", **asked, **how, url=url)
    assert (of_many.value.error, of_one.value.error) == (error, error)


def test_more_solutions_than_the_server_takes_at_once_are_sent_in_parts() -> None:
    with served_door(TOKEN, most_items=2) as url:
        client = Client(url)
        assert client.rewards(ITEMS[:5]) == [client.rewards([each])[0] for each in ITEMS[:5]]


@pytest.mark.parametrize(
    ("error", "is_reward"), [("exception", False), ("too_long", True), ("invalid", True)]
)
def test_a_bug_of_the_server_is_no_reward_and_a_solution_that_it_can_not_score_is(
    monkeypatch: pytest.MonkeyPatch, error: str, is_reward: bool
) -> None:
    said = {"id": "0", "error": error, "reason": "r", "change": "c", "retry": False}
    monkeypatch.setattr(Client, "scores", lambda self, items, **how: [said for _ in items])
    if is_reward:
        assert Client("http://h").rewards([("p", ["a"])], -1.0) == [-1.0]
        return
    with pytest.raises(ServerError, match="exception: r; c"):
        Client("http://h").rewards([("p", ["a"])])


class _Busy(BaseHTTPRequestHandler):
    """Refuses twice, then answers."""

    asked: list[bytes]

    def do_POST(self) -> None:
        self.asked.append(self.rfile.read(int(self.headers["Content-Length"])))
        busy = {"error": "busy", "reason": "r", "change": "c", "retry": True}
        answers: list[tuple[int, Any]] = [
            (429, busy), (200, {"scores": [{"id": "0", **busy}, {"id": "1", "score": 0.5}]}),
            (200, {"scores": [{"id": "0", "score": 0.25}]}),
        ]  # fmt: skip
        status, body = answers[len(self.asked) - 1]
        self.send_response(status)
        self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_what_passes_is_asked_again_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewards, "AGAIN_S", 0.0)
    handler = type("Busy", (_Busy,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = Client(f"http://127.0.0.1:{server.server_port}")
        assert client.rewards([("p", ["a"]), ("q", ["b"])]) == [0.25, 0.5]
        server.shutdown()
    problems = [[each["problem"] for each in json.loads(body)["items"]] for body in handler.asked]
    assert problems == [["p", "q"], ["p", "q"], ["p"]]


def test_a_server_that_is_away_for_too_long_is_an_error() -> None:
    with pytest.raises(ServerError, match="does not answer") as away:
        Client("http://127.0.0.1:9", patience_s=0.0).score("p", ["a"])
    assert away.value.status is None
