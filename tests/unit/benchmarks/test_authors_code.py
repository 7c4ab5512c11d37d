"""The driver of the authors' evaluation, with a script of our own in the place of theirs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import authors_code
from benchmarks.authors_code import SCRIPT, forms, main, measured, read_theirs, write_samples
from storage.rows.records import Message, Response
from tests.support.training_world import example
from workflows.formats.conversation import QUESTION

THEIRS = """
import argparse, json, pathlib, sys, time
asked = argparse.ArgumentParser()
for name in ("reward_name_or_path", "data_path", "split_out"):
    asked.add_argument("--" + name)
asked, parts = asked.parse_known_args()
if {fails}:
    sys.exit("no such model")
for number, folder in enumerate(sorted(pathlib.Path(asked.data_path).iterdir())):
    if {hangs} and number:
        time.sleep(600)
    sample = json.loads((folder / "sample.json").read_text())
    first = sample["problem"] + "\\n" + sample["steps"][0]
    row = {{"conversation": [{{"role": "user", "content": first}}], "value": [0.9], "time": 1.0}}
    name = "_".join([folder.name, *(part[2:] for part in parts)])
    out = pathlib.Path(asked.split_out) / name
    out.mkdir()
    (out / "result_1.json").write_text(json.dumps(row))
    print("Start: paragraph 1 request 1")
"""


def response(number: int, label: int) -> Response:
    return Response(f"r{number}", f"p{number}", f"What is {number}?", ["One.", "Two."], "", label)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "theirs" / SCRIPT).parent.mkdir(parents=True)
    return tmp_path / "theirs"


@pytest.fixture
def asked(tmp_path: Path, checkout: Path) -> list[str]:
    rows = [
        {"id": f"r{n}", "problem": f"What is {n}?", "steps": ["One."], "label": label,
         "generator": "g", "final_answer_correct": label < 0}
        for n, label in enumerate((-1, 0))
    ]  # fmt: skip
    file = tmp_path / "some.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ["model", str(file), "--checkout", str(checkout), "--out", str(tmp_path / "out")]


def install(checkout: Path, *, fails: bool = False, hangs: bool = False) -> None:
    (checkout / SCRIPT).write_text(THEIRS.format(fails=fails, hangs=hangs))


def test_a_run_to_its_end_is_told_with_both_figures(
    asked: list[str], checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(checkout)
    monkeypatch.setattr(authors_code, "run_ours", lambda *of: {"r0": [0.9], "r1": [0.2]})
    assert main(asked) == 0
    said = json.loads((tmp_path / "out" / "authors_code.json").read_text())
    assert (said["ended"], said["responses"], said["judged_by_theirs"]) == (True, 2, 2)
    assert said["requests"] == 2
    assert said["both"] == {
        "responses": 2, "f1": {"theirs": 0.0, "ours": 1.0}, "steps": 2, "steps_alike": 1,
    }  # fmt: skip
    turns = read_theirs(tmp_path / "out")[1].turns
    assert turns == [Message("user", f"{QUESTION}What is 1?\n\nOne.")], "our first turn"


def test_a_loop_without_an_end_is_ended_and_told(
    asked: list[str], checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(checkout, hangs=True)
    monkeypatch.setattr(authors_code, "run_ours", lambda *of: {})
    assert main([*asked, "--patience", "2"]) == 1
    said = json.loads((tmp_path / "out" / "authors_code.json").read_text())
    assert (said["ended"], said["judged_by_theirs"]) == (False, 1)


def test_a_script_that_fails_is_an_error_with_its_last_line(
    asked: list[str], checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(checkout, fails=True)
    assert main(asked) == 2
    assert "their script failed: no such model" in capsys.readouterr().err


def test_what_is_not_there_is_said(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(asked) == 2
    assert "clone their repository" in capsys.readouterr().err


def test_bare_problems_stand_as_their_own_evaluation_has_them(tmp_path: Path) -> None:
    write_samples([response(1, -1)], tmp_path, bare=True)
    assert json.loads((tmp_path / "00000" / "sample.json").read_text())["problem"] == "What is 1?"


def test_forms_tell_our_turns_from_others() -> None:
    ours = example(3, 3, wrong_from=1)
    odd = [turn for turn in ours.conversations]
    odd[2] = Message("assistant", odd[2].content.rstrip())
    given = {
        0: authors_code.Theirs([1.0, 0.0, 0.0], ours.conversations, 1.0),
        1: authors_code.Theirs([1.0, 0.0, 0.0], odd, 1.0),
    }
    assert forms(given, "full") == {"turns": 6, "ended": 5, "analysis alone": 0, "to the letter": 1}


def test_only_what_both_judged_is_compared() -> None:
    given = [response(1, -1), response(2, 0), response(3, 1)]
    theirs = {"r1": [0.9, 0.9], "r2": [0.1, 0.9]}
    found = measured(given, theirs, {name: [0.9, 0.9] for name in ("r1", "r2", "r3")})
    assert (found["responses"], found["steps"], found["steps_alike"]) == (2, 4, 3)
    assert found["f1"] == {"theirs": 1.0, "ours": 0.0}
    alone = measured(given[:1], theirs, theirs)["f1"]
    assert alone == {"theirs": None, "ours": None}, "one class alone has no F1"
