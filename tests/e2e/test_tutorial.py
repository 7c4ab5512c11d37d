"""Every command of docs/tutorial.md as it is printed, against a chat server that has one model.

Only the server's address and the preview's name are put in; the model behind the server is a script
of the demo's world, which writes solutions, slips now and then, and verifies with code that is run.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import pytest

from demo.world import sample
from tests.support.chat_server import FULL, serving
from tests.support.commands import ROOT, stepmill
from tests.support.one_model import one_model

pytestmark = [pytest.mark.container, pytest.mark.slow, pytest.mark.timeout(1800)]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000/v1"


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", TUTORIAL, re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def test_the_tutorial_leads_from_a_file_to_a_dataset_that_was_looked_at(tmp_path: Path) -> None:
    problems = list(sample(24, 1, "train"))
    with open(tmp_path / "problems.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["question", "answer"])
        rows.writerows([problem.text, problem.answer] for problem in problems)
    said: dict[str, str] = {}
    with serving(FULL, model=one_model(problems)) as server:
        for command in commands():
            program, verb, *given = shlex.split(command)
            assert program == "stepmill"
            there = {ADDRESS: server.url, "my-model": "m"}
            if "PREVIEW" in given:
                there["PREVIEW"] = re.findall(r"in run (preview-first-\w+)", said["preview"])[0]
            done = stepmill(tmp_path, verb, *(there.get(word, word) for word in given))
            assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
            said[verb] = said.get(verb, "") + done.stdout
    assert "24 are clean" in said["problems"]
    assert "finished" in said["status"]
    assert (tmp_path / "look" / "index.html").is_file()
    card = (tmp_path / "dataset" / "README.md").read_text()
    assert "SFTTrainer" in card
    (lines,) = (tmp_path / "steps" / "jsonl").glob("*.jsonl")
    rows_ = [json.loads(line) for line in lines.read_text().splitlines()]
    assert len(rows_) >= 10 and {label for row in rows_ for label in row["labels"]} == {True, False}
    assert "license: cc-by-4.0" in said["push"] and "would send" in said["push"]


def test_the_tutorial_stops_at_every_verb_that_a_first_dataset_takes() -> None:
    verbs = [shlex.split(command)[1] for command in commands()]
    assert list(dict.fromkeys(verbs)) == [
        "problems", "init", "doctor", "preview", "plan", "build", "status", "show", "browse",
        "download", "push",
    ]  # fmt: skip
