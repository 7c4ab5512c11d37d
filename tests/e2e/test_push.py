"""`stepmill push` to a stand-in of the hub that speaks its HTTP, and what is read from there.

Large files go by the hub's LFS routes: its other protocol, Xet, needs its own servers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from launch.cli.main import run_command
from storage.objects.local import LocalStore
from storage.runs.marks import Mark, put_mark
from storage.runs.run import Run
from storage.trainings.checkpoints import store_files
from storage.trainings.training import Training, TrainingSpec
from tests.support.hub_server import Hub, serving
from tests.support.hub_writing import front_matter, wrong_in
from tests.support.whole_run import finished
from workflows.looking.run import OpenRun

TOKEN = "hf_secretOfTheTests0123456789"
NOBODY = "http://127.0.0.1:9"
NAME = "someone/steps"
PLOTS = ["plots/funnel.png", "plots/labels.png", "plots/mc.png"]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving(Hub(token=TOKEN)) as served:
        yield served


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return finished(LocalStore(tmp_path / "store"))


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


Push = Callable[..., Said]


@pytest.fixture
def push(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Push:
    """The command line; its hub is this one unless another is named."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))

    def run(*arguments: str, token: str | None = TOKEN, url: str = hub.url) -> Said:
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        code = run_command(["push", *arguments, "--store", "file:store"])
        out, err = capsys.readouterr()
        assert TOKEN not in out + err
        return Said(code, out, err)

    return run


def files_on(hub: Hub, name: str = NAME) -> dict[str, bytes]:
    files = hub.commits[name][str(hub.commit(name, "main"))]
    return {path: data for path, data in files.items() if path != ".gitattributes"}


def sent(hub: Hub) -> list[str]:
    return [path for (method, path), _ in hub.requests.items() if method == "PUT"]


def test_a_dry_run_shows_what_would_go_without_a_token_or_a_hub(run: Run, push: Push) -> None:
    done = push("whole", NAME, "--dry-run", "--view", "genprm", "--view", "orm",
                token=None, url=NOBODY)  # fmt: skip
    assert done.code == 0, done.err
    head, *lines = done.out.splitlines()
    assert head.startswith(f"http://127.0.0.1:9/datasets/{NAME}: a new private dataset (dataset ")
    assert "can't be reached" in head and head.endswith("; a dry run, nothing was sent")
    sizes = {
        line.split()[-1]: line.split()[2]
        for line in lines if line.strip().startswith("would send")
    }  # fmt: skip
    assert sorted(path for path in sizes if "/train-" not in path) == sorted(
        ["README.md", "genprm/chat_template.jinja", *PLOTS]
    )
    assert [path.split("/")[0] for path in sizes if "/train-" in path] == ["genprm", "orm"]
    assert all(int(size.replace(",", "")) > 0 for size in sizes.values())
    assert "license: unknown" in done.out and "# whole" in done.out


def test_a_dataset_is_read_from_the_hub_under_each_of_its_views(
    run: Run, hub: Hub, push: Push, tmp_path: Path
) -> None:
    views = ("genprm", "discriminative", "orm", "openrlhf")
    asked = [word for view in views for word in ("--view", view)]
    done = push("whole", NAME, *asked, "--licence", "cc-by-4.0", "--json")
    assert done.code == 0, done.err
    assert hub.written.visibility == {NAME: "private"}
    said = json.loads(done.out)
    assert said["commit"] == hub.commit(NAME, "main") and said["created"]
    assert sorted(said["sent"]) == sorted(files_on(hub))
    assert [path for path in sorted(files_on(hub)) if path.startswith("plots/")] == PLOTS
    assert len(sent(hub)) == len(views)

    read = {view: loaded(tmp_path, hub, view) for view in (None, *views)}
    for view in views:
        assert read[view] == [asdict(row) for row in OpenRun(run).examples(view)] != []
    assert read[None] == read["genprm"]

    card = files_on(hub)["README.md"].decode()
    assert wrong_in(card, "dataset") == []
    data = front_matter(card)
    assert (data["license"], data["language"], data["size_categories"]) == (
        "cc-by-4.0", ["en"], ["n<1K"],
    )  # fmt: skip
    assert "stepmill" in data["tags"]
    assert all(f"]({path})" in card for path in PLOTS)
    assert f'load_dataset("{NAME}", "genprm", split="train")' in card
    assert "| policy |" in card and "path/to/this/folder" not in card


def loaded(folder: Path, hub: Hub, view: str | None) -> Any:
    program = (
        "import datasets, json, sys; name, *view = sys.argv[1:]; "
        "print(json.dumps(list(datasets.load_dataset(name, *view, split='train'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, NAME, *([view] if view else [])],
        env=os.environ | {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1",
                          "HF_HOME": str(folder / "reader")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_repeated_push_sends_nothing_and_another_only_what_differs(
    run: Run, hub: Hub, push: Push, tmp_path: Path
) -> None:
    assert push("whole", NAME, "--view", "orm").code == 0
    first, commits = sent(hub), len(hub.commits[NAME])
    again = push("whole", NAME, "--view", "orm", "--json")
    assert again.code == 0 and json.loads(again.out)["sent"] == []
    assert (sent(hub), len(hub.commits[NAME])) == (first, commits)

    other = push("whole", NAME, "--view", "pairs", "--json")
    said = json.loads(other.out)
    assert sorted({path.split("/")[0] for path in said["sent"]}) == ["README.md", "pairs"]
    assert [path.split("/")[0] for path in said["removed"]] == ["orm"]
    assert {path.split("/")[0] for path in files_on(hub)} == {"pairs", "plots", "README.md"}


def test_a_push_that_was_cut_short_sends_no_large_file_twice(
    run: Run, hub: Hub, push: Push, tmp_path: Path
) -> None:
    hub.deaf = {"/commit/"}
    cut = push("whole", NAME)
    assert cut.code == 3 and "the hub answers 501" in cut.err
    assert files_on(hub) == {} and len(sent(hub)) == 1
    hub.deaf = set()
    assert push("whole", NAME).code == 0
    assert hub.requests["PUT", sent(hub)[0]] == 1 and len(sent(hub)) == 1
    assert "README.md" in files_on(hub)


def test_what_people_marked_wrong_stays_here(
    run: Run, hub: Hub, push: Push, tmp_path: Path
) -> None:
    rows = list(OpenRun(run).examples())
    put_mark(run, Mark(rows[0].path_id, "ann", False, 0, "", "2026-01-01T00:00:00Z"))
    assert push("whole", NAME, "--reviewed").code == 0
    there = [row["path_id"] for row in loaded(tmp_path, hub, "genprm")]
    assert there == [row.path_id for row in rows[1:]]


REFUSED = {
    "no token": (None, ["whole", NAME], "asks for a token: `hf auth login`, or set HF_TOKEN"),
    "another's token": ("hf_other", ["whole", NAME], "take one that may write there"),
    "no owner": (TOKEN, ["whole", "steps"], "'steps' has no owner: write OWNER/steps"),
    "no name": (TOKEN, ["whole", "a b/c"], "'a b/c' is no name of the hub"),
    "a licence": (TOKEN, ["whole", NAME, "--licence", "cc-by-9"], "did you mean cc, cc-by-2.0"),
    "a language": (TOKEN, ["whole", NAME, "--language", "English"], "no code of two or three"),
    "a view": (TOKEN, ["whole", NAME, "--view", "odd"], "view 'odd' is not one of"),
    "no run": (TOKEN, ["gone", NAME], "no run 'gone'"),
    "no training": (TOKEN, ["training:gone", NAME], "no training:gone in"),
    "another's files": (TOKEN, ["whole", "someone/else"], "was not pushed by stepmill"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_be_pushed_is_refused_in_a_line(
    case: str, run: Run, hub: Hub, push: Push
) -> None:
    token, arguments, line = REFUSED[case]
    hub.push("someone/else", {"README.md": b"---\nlicense: mit\n---\nmine", "data.csv": b"1"})
    done = push(*arguments, token=token)
    assert (done.code, done.out) == (2, "")
    assert line in done.err and len(done.err.strip().splitlines()) == 1
    assert NAME not in hub.commits and len(files_on(hub, "someone/else")) == 2


def test_a_model_goes_whole_with_a_card_that_names_licence_base_and_dataset(
    hub: Hub, push: Push, tmp_path: Path
) -> None:
    files = trained(LocalStore(tmp_path / "store"), tmp_path)
    hub.push("org/base", {"README.md": b"---\nlicense: apache-2.0\n---\n", "config.json": b"{}"})
    name = "someone/verifier"
    dry = push("training:t", name, "--dry-run")
    assert dry.code == 0 and name not in hub.commits
    done = push("training:t", name, "--dataset", NAME, "--public")
    assert done.code == 0, done.err
    assert hub.written.visibility == {name: "public"}
    there = files_on(hub, name)
    card = there.pop("README.md").decode()
    assert there == {path: data for path, data in files.items() if path != "README.md"}
    assert wrong_in(card, "model") == []
    data = front_matter(card)
    assert data["license"] == "apache-2.0" and data["base_model"] == "org/base"
    assert data["datasets"] == [NAME] and {"genprm", "stepmill"} <= set(data["tags"])
    assert card.endswith("\n# t\n\nA verifier.\n")
    again = push("training:t", name, "--dataset", NAME)
    assert again.code == 0 and "0 files sent" in again.out


def trained(store: LocalStore, folder: Path) -> dict[str, bytes]:
    files = {
        "README.md": b"---\ntags: [genprm, stepmill]\n---\n# t\n\nA verifier.\n",
        "config.json": b"{}",
        "model.safetensors": b"\0" * 5000,
        "training/curve.png": b"png",
    }
    for path, data in files.items():
        (folder / "made" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "made" / path).write_bytes(data)
    training = Training.start(store, "t", TrainingSpec("org/base@" + "0" * 40, "r", "d", {}))
    stored = store_files(store, training.prefix, folder / "made", sorted(files))
    training.commit(stored, 3, {}, final=True)
    return files
