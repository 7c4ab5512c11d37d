"""`preview`: a few problems through the whole road, by scripted models in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.engines.contract import Chat
from launch.cli.main import run_command
from storage.objects.local import LocalStore
from storage.rows.records import GivenSolutions, Problem
from storage.runs.run import Run
from tests.support.chat_server import FULL, script, serving
from tests.support.here import work_here
from tests.support.published import PUBLISHED, ROWS, write
from tests.support.scripted_build import CONFIG, GIVEN
from tests.support.scripted_world import ScriptedWorld, write_problems
from workflows.builds.preview import few, spread
from workflows.runs.configuration import Given

ROLES = ("policy", "completer", "rationale")
SCRIPTED = {role: {"kind": "scripted", "model": f"tests.scripted_models:{role}"} for role in ROLES}
UNSOLVING = SCRIPTED | {"policy": {"kind": "scripted", "model": "tests.support.unsolving:policy"}}
STAGES = CONFIG["stages"] | {"rationalize": {"execute": False}}

Said = Callable[..., str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A build of fourteen problems, of which nothing has begun."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    work_here(monkeypatch)
    write_problems(GIVEN, tmp_path / "problems.jsonl")
    configure(tmp_path)
    return tmp_path


def configure(folder: Path, models: Any = SCRIPTED, **stages: Any) -> None:
    build = CONFIG | {"models": models, "stages": STAGES | stages, "store": f"file:{folder}/store"}
    (folder / "build.yaml").write_text(json.dumps(build))


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """What a verb prints, where it ends well."""

    def of(*words: str) -> str:
        capsys.readouterr()
        code = run_command(list(words))
        shown = capsys.readouterr()
        assert code == 0, shown.err
        return shown.out

    return of


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Said:
    def of(*words: str) -> str:
        assert run_command(list(words)) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    return of


def runs(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "store/runs").iterdir())


def test_it_shows_examples_drops_with_reasons_and_what_to_do_next(folder: Path, said: Said) -> None:
    text = said("preview", "build.yaml")
    (name,) = runs(folder)
    assert name.startswith("preview-r-")
    seen = json.loads(said("preview", "build.yaml", "--json"))
    assert (seen["run"], len(seen["problems"])) == (name, 5)
    assert seen["examples"] == sum(len(problem["kept"]) for problem in seen["problems"]) > 0
    for problem in seen["problems"]:
        assert f"{problem['problem_id']}: {problem['outcome']}" in text
    for problem in (problem for problem in seen["problems"] if problem["kept"]):
        assert f"example {problem['kept'][0]}" in text
    assert seen["drops"]
    for drop in seen["drops"]:
        assert drop["item"] in text and f"{drop['stage']}: {drop['reason']}" in text
    assert "training conversation" in text
    browse = f"stepmill browse {name} --store file://{folder}/store"
    for line in (browse, f"stepmill plan build.yaml --from {name}", "stepmill build build.yaml"):
        assert line in text


def test_its_run_is_read_by_show_why_and_status(folder: Path, said: Said) -> None:
    seen = json.loads(said("preview", "build.yaml", "--json"))
    at = (seen["run"], "--store", f"file:{folder}/store")
    kept = next(problem["kept"][0] for problem in seen["problems"] if problem["kept"])
    assert "came through every stage" in said("why", at[0], kept, *at[1:])
    shown = said("show", *at, "--where", "state=kept", "--limit", "999", "--json").splitlines()
    assert len(shown) == seen["examples"]
    status = json.loads(said("status", *at, "--json"))
    assert (status["finished"], status["problems"], status["shards"]) == (True, 5, 5)


def test_it_binds_nothing(folder: Path, said: Said) -> None:
    said("preview", "build.yaml")
    before = runs(folder)
    said("preview", "build.yaml")
    assert runs(folder) == before  # the same preview is found finished
    configure(folder, label={"threshold": 0.5})
    said("preview", "build.yaml")
    said("preview", "build.yaml", "--problems", "2")
    assert len(runs(folder)) == len(before) + 2
    assert "r" not in runs(folder)
    configure(folder, label={"threshold": 0.9})
    said("build", "build.yaml", "--limit", "2")
    assert "r" in runs(folder)


def test_a_preview_that_was_removed_is_made_again_under_another_name(
    folder: Path, said: Said
) -> None:
    said("preview", "build.yaml", "--problems", "1")
    (name,) = runs(folder)
    said("remove", name, "--yes", "--store", f"file:{folder}/store")
    seen = json.loads(said("preview", "build.yaml", "--problems", "1", "--json"))
    assert seen["run"] == f"{name}-2"


def test_its_tokens_are_what_a_plan_of_the_whole_reads(folder: Path, said: Said) -> None:
    seen = json.loads(said("preview", "build.yaml", "--json"))
    status = json.loads(said("status", seen["run"], "--store", f"file:{folder}/store", "--json"))
    spent = {stage["stage"]: stage["counts"].get("tokens", 0) for stage in status["stages"]}
    planned = json.loads(said("plan", "build.yaml", "--from", seen["run"], "--json"))
    assert (planned["problems"], seen["run"] in planned["source"]) == (len(GIVEN), True)
    tokens = {one["role"]: one for one in planned["figures"] if one["name"] == "tokens"}
    whole = spent["sample"] * len(GIVEN) / 5
    assert tokens["policy"]["low"] <= whole <= tokens["policy"]["high"]


def test_a_number_is_how_many_and_a_path_is_the_file(
    folder: Path, said: Said, refused: Said
) -> None:
    write_problems(GIVEN[:3], folder / "own.jsonl")
    both = ("--problems", "2", "--problems", "own.jsonl")
    seen = json.loads(said("preview", "build.yaml", *both, "--limit", "9", "--json"))
    assert len(seen["problems"]) == 2
    assert seen["build"] == "stepmill build build.yaml --problems own.jsonl --limit 9"
    of_file = json.loads(said("preview", "build.yaml", "--problems", "own.jsonl", "--json"))
    assert len(of_file["problems"]) == 3
    for wrong in (("0",), ("2", "3"), ("a.csv", "b.csv")):
        options = [word for value in wrong for word in ("--problems", value)]
        assert "one number above 0, one file" in refused("preview", "build.yaml", *options)


def test_what_would_refuse_a_build_refuses_its_preview(folder: Path, refused: Said) -> None:
    assert "absent.csv: no such file" in refused(
        "preview", "build.yaml", "--problems", "absent.csv"
    )
    assert not (folder / "store/runs").exists()


def test_a_budget_with_a_pilot_is_previewed_without_it(folder: Path, said: Said) -> None:
    configure(
        folder,
        estimate={**CONFIG["stages"]["estimate"], "mc_budget": "adaptive"},
        label={"estimate": "posterior", "threshold": 0.0},
    )
    said("preview", "build.yaml", "--problems", "2")
    (name,) = runs(folder)
    run = Run.open(LocalStore(folder / "store"), name)
    assert run.spec.configuration["stages"]["estimate"]["mc_budget"] == "exact_zero_stop"


@pytest.mark.parametrize(
    ("road", "ends"),
    [
        (["sample", "estimate", "label"], "paths to the end of the road"),
        (["sample", "search", "label", "consensus", "export"], "examples"),
    ],
)
def test_roads_of_other_strategies_are_previewed_too(
    road: list[str], ends: str, folder: Path, said: Said
) -> None:
    search = {"rollouts": 4, "most_rollouts": 20, "searches": 4}
    rule = {"sources": ["labels"], "rule": "none"}
    hard = {"form": "hard", "threshold": 0}
    configure(folder, road=road, search=search, label=hard, consensus=rule)
    text = said("preview", "build.yaml", "--problems", "2")
    assert f" {ends} of 2 problems" in text and f"0 {ends}" not in text
    seen = json.loads(said("preview", "build.yaml", "--problems", "2", "--json"))
    assert all(problem["kept"] for problem in seen["problems"])


def test_at_a_terminal_the_build_may_be_answered_with_yes(
    folder: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr(
        "launch.verbs.runs.preview.sys", SimpleNamespace(stdin=terminal, stdout=terminal)
    )
    for answer in (False, True):
        monkeypatch.setattr("launch.verbs.runs.preview.typer.confirm", lambda text, a=answer: a)
        said("preview", "build.yaml", "--problems", "1", "--limit", "4")
        assert ("r" in runs(folder)) is answer


def test_where_solutions_are_given_problems_with_some_are_chosen() -> None:
    problems = [Problem(f"p{n}", f"{n}?", "1") for n in range(100)]
    solved = [GivenSolutions(f"p{n}", []) for n in (3, 50, 51)]
    chosen = few(Given(problems, solutions=solved), 2, 0)
    names = [problem.problem_id for problem in chosen.rows]
    assert names[0] == "p3" and names[1] in ("p50", "p51")
    assert [of.problem_id for of in chosen.solutions] == names


def world_model(chat: Chat, seed: int) -> str:
    """One model that solves, goes on and verifies; what else it is asked are a look's questions."""
    world, asked = ScriptedWorld(GIVEN), chat.messages[-1].content
    if "[Math Problem]" in asked:
        return world.rationale(chat, seed)
    if asked not in {problem.text for problem in GIVEN}:
        return script(chat, seed)
    begun = chat.prefill.strip() not in ("", "Step 1:")
    return world.completer(chat, seed) if begun else world.policy(chat, seed)


def test_from_own_problems_and_a_chat_server_it_is_two_commands_to_an_example(
    folder: Path, said: Said
) -> None:
    with serving(FULL, model=world_model) as server:
        given = ("--problems", "problems.jsonl", "--url", server.url, "--store", "file:store")
        said("init", "own.yaml", *given, "--yes")
        seen = json.loads(said("preview", "own.yaml", "--json"))
    assert seen["examples"] > 0
    example = next(one["example"] for one in seen["problems"] if one["example"])
    assert example["rationales"][0]["executions"]


def test_problems_are_spread_over_the_file_the_same_ones_each_time() -> None:
    rows = list(range(1_000))
    for count in (1, 5, 20):
        chosen = spread(rows, count, 7)
        assert [row * count // 1_000 for row in chosen] == list(range(count))
        assert chosen == spread(rows, count, 7) != spread(rows, count, 8)
    assert spread(rows[:3], 5, 7) == rows[:3]
    assert spread([], 5, 7) == []


FORMS = ("p.jsonl", "p.csv", "p.tsv", "p.parquet", "p.jsonl.gz", "p.jsonl.zst")


@pytest.mark.parametrize("form", [*FORMS, "as-on-the-hub/data/train-00000-of-00001.parquet"])
@pytest.mark.parametrize(
    "published", ["HuggingFaceH4/MATH-500", "openai/gsm8k", "HuggingFaceH4/aime_2024"]
)
def test_published_problems_pass_problems_and_preview_in_one_command_each(
    published: str, form: str, folder: Path, said: Said
) -> None:
    """No scripted model solves one: every problem is dropped, and it is shown why."""
    file = folder / form
    file.parent.mkdir(parents=True, exist_ok=True)
    shape, rows = PUBLISHED[published]
    write(rows, file)
    place = form.partition("/")[0]
    looked = said("problems", place)
    assert f"{ROWS} rows, {ROWS} problems" in looked and f"read as {shape}" in looked
    configure(folder, UNSOLVING)
    text = said("preview", "build.yaml", "--problems", place, "--problems", "4")
    assert text.count("dropped at sample: no_correct_path") == 4
    assert "4 at sample: no_correct_path" in text
    assert "The answer is $\\boxed{-123456789}$." in text
    assert "0 examples of 4 problems" in text
