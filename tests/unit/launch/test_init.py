"""`init`: a first configuration that `doctor` accepts, by its questions, its options, or a name."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.engines.served.server import Refused, Server
from actors.machines.machine import Gpu, Machine
from launch.cli.main import run_command
from launch.config import load, load_training
from launch.packaged import configurations, pages
from tests.support.chat_server import FULL, OPENAI, serving
from tests.support.published import PUBLISHED, write
from workflows.runs.checks import Finding

Said = Callable[..., tuple[str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder on a machine whose sandbox answers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("STEPMILL_STORE", raising=False)
    well = Finding("sandbox", True, "bubblewrap")
    for module in ("launch.verbs.starting.init", "workflows.runs.checks"):
        monkeypatch.setattr(f"{module}.check_sandbox", lambda settings: well)
    return tmp_path


@pytest.fixture
def said(folder: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    """What a verb prints, to its output and its errors, where it ends well."""

    def of(*words: str) -> tuple[str, str]:
        capsys.readouterr()
        code = run_command(list(words))
        shown = capsys.readouterr()
        assert code == 0, shown.err
        return shown.out, shown.err

    return of


@pytest.fixture
def refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line of a verb that is refused."""

    def of(*words: str) -> str:
        capsys.readouterr()
        assert run_command(list(words)) == 2
        lines = capsys.readouterr().err.splitlines()
        (line,) = (line for line in lines if line.startswith("stepmill: "))
        return line

    return of


@pytest.fixture
def types(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Lets a person answer; returns the questions that they saw."""

    def answers(*given: str) -> list[str]:
        left, asked = list(given), list[str]()

        def prompt(question: str, default: str, err: bool) -> str:
            asked.append(question)
            return left.pop(0) or default

        monkeypatch.setattr("launch.verbs.starting.answers.typer.prompt", prompt)
        return asked

    return answers


def test_all_defaults_are_a_first_try_that_the_doctor_accepts(said: Said, folder: Path) -> None:
    out, err = said("init", "--yes")
    assert out.splitlines() == ["build.yaml is written", "next: stepmill preview build.yaml"]
    assert "no GPU" in err and "code runs in bubblewrap" in err
    said("doctor", "build.yaml")
    config = load(folder / "build.yaml")
    assert len(config.read_input().rows) == 96
    assert Path(config.models.policy.model).parent.name == "models"  # type: ignore[union-attr]


def test_it_asks_five_questions_and_again_where_an_answer_is_wrong(
    said: Said, folder: Path, types: Callable[..., list[str]]
) -> None:
    write(PUBLISHED["openai/gsm8k"][1], folder / "gsm.csv")
    asked = types("absent.csv", "gsm.csv", "", "", "own run", "own", "")
    out, err = said("init", "mine.yaml")
    assert len(asked) == 7 and len(set(asked)) == 5
    assert "absent.csv: no such file" in err and "run name 'own run'" in err
    config = load(folder / "mine.yaml")
    assert (config.run, Path(config.problems).name) == ("own", "gsm.csv")
    assert (
        "read as" not in out
        and "GSM8K (problem from `question`" in (folder / "mine.yaml").read_text()
    )
    assert "the demo's models know the demo's problems" in out
    assert out.splitlines()[-1] == "next: stepmill preview mine.yaml"
    said("doctor", "mine.yaml")


@pytest.mark.parametrize(("manner", "writes"), [(FULL, True), (OPENAI, False)])
def test_a_chat_server_is_asked_what_it_can_do_and_the_road_follows(
    manner: Any, writes: bool, said: Said, folder: Path
) -> None:
    write(PUBLISHED["HuggingFaceH4/MATH-500"][1], folder / "math.parquet")
    with serving(manner) as server:
        given = ("--problems", "math.parquet", "--url", server.url, "--yes")
        out, err = said("init", *given)
        assert f"{server.url}: has " in err
        said("doctor", "build.yaml")
    config = load(folder / "build.yaml")
    assert set(config.engines) == {"policy", "completer"} | ({"rationale"} if writes else set())
    assert {(of.kind, of.model) for of in config.engines.values()} == {("chat", "m")}
    assert config.run == "math"
    assert out.splitlines()[-1] == "next: stepmill preview build.yaml"


def test_a_server_that_wants_a_key_is_told_its_variable(
    said: Said, folder: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWN_KEY", "secret")
    with serving(FULL, key="secret") as server:
        given = ("--url", server.url, "--yes")
        assert "--api-key-env names the variable" in refused("init", *given)
        said("init", *given, "--api-key-env", "OWN_KEY")
        said("doctor", "build.yaml")
    text = (folder / "build.yaml").read_text()
    assert "api_key_env: OWN_KEY" in text and "secret" not in text


def test_a_server_that_lists_no_models_is_taken_with_the_one_that_is_named(
    said: Said, folder: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unlisted(server: Server) -> dict[str, Any]:
        raise Refused("no such page", 404)

    with serving(FULL) as server:
        with monkeypatch.context() as patched:
            patched.setattr(Server, "models", unlisted)
            patched.setattr("launch.verbs.starting.init.findings", lambda config: ())
            given = ("--url", server.url, "--yes")
            assert "name a model for policy, completer, rationale too" in refused("init", *given)
            said("init", *given, "--model", "m")
        assert "has no model 'gpt'" in refused("init", "b.yaml", *given, "--model", "gpt")
    assert {of.model for of in load(folder / "build.yaml").engines.values()} == {"m"}


def test_models_of_the_hub_are_offered_by_the_memory_of_the_gpu(
    said: Said, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gib = 1 << 30
    for size, model in ((80, "7B"), (16, "1.5B")):
        machine = Machine("here", gpus=(Gpu("card", size * gib, size * gib),))
        monkeypatch.setattr("launch.verbs.starting.init.look", lambda machine=machine: machine)
        out, err = said("init", "--yes", "--force")
        assert f"card ({size} GiB)" in err
        config = load(folder / "build.yaml")
        models = {engine.model for engine in config.engines.values()}
        assert models == {f"Qwen/Qwen2.5-{model}-Instruct"}
        assert "missing: models.policy" in out  # no GPU is really here
        assert out.splitlines()[-1] == "next: stepmill doctor build.yaml"


def test_a_file_that_is_there_is_kept_unless_it_is_to_be_replaced(
    said: Said, folder: Path, refused: Callable[..., str]
) -> None:
    (folder / "build.yaml").write_text("mine")
    for words in (("--yes",), ("--from", "demo")):
        assert "build.yaml is there" in refused("init", *words)
    assert (folder / "build.yaml").read_text() == "mine"
    assert sorted(path.name for path in folder.iterdir()) == ["build.yaml"]
    said("init", "--from", "demo", "--force")
    assert load(folder / "build.yaml").run == "demo"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--problems", "absent.csv", "--yes"), "absent.csv: no such file"),
        (("--problems", "other.csv", "--yes"), "its columns are prompt, gold"),
        (("--column", "text=prompt", "--yes"), "--column text=prompt: write FIELD=COLUMN"),
        (("--model", "nobody/here/at all", "--yes"), "nobody/here/at all"),
        (("--model", "writer=demo", "--yes"), "no such role; roles are policy"),
        (("--model", "policy=demo", "--yes"), "name a model for completer, rationale too"),
        (("--run", "../x", "--yes"), "run name '../x'"),
        (("--url", "http://127.0.0.1:9/v1", "--yes"), "is the server up"),
        (("--from", "nope"), "there is no configuration 'nope': one of demo, fover_informal"),
        (("--from", "demo", "--model", "x"), "--from takes --problems, --run and --store"),
        (("--from", "train_demo", "--problems", "x"), "it trains on a run"),
        (("no/such/build.yaml", "--yes"), "no such folder: no/such"),
        ((), "nobody answers here: give --problems"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(
    words: tuple[str, ...], said: str, folder: Path, refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (folder / "other.csv").write_text("prompt,gold\nOne?,1\n")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert said in refused("init", *words)
    assert not list(folder.glob("*.yaml"))


def test_columns_that_are_named_are_written(said: Said, folder: Path) -> None:
    (folder / "other.csv").write_text("prompt,gold\nOne?,1\n")
    named = ("--column", "problem=prompt", "--column", "answer=gold")
    said("init", "--problems", "other.csv", *named, "--yes")
    assert load(folder / "build.yaml").read_input().rows[0].problem == "One?"


def test_the_installed_configurations_are_listed_a_line_each(said: Said) -> None:
    listed, _ = said("init", "--list")
    for name in ("demo", "genprm", "quickstart_chat", "strategies/scan", "train_1.5b"):
        assert any(line.split()[0] == name for line in listed.splitlines() if line.strip())


@pytest.mark.parametrize("name", configurations())
def test_every_installed_configuration_is_written_so_that_it_loads(
    name: str, said: Said, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launch.verbs.starting.init.findings", lambda *given: ())
    out, _ = said("init", "--from", name)
    text = (folder / "build.yaml").read_text()
    assert "your-bucket" not in text and "../" not in text.replace("../.stepmill/models", "")
    is_training = "base" in yaml.safe_load(text)
    (load_training if is_training else load)(folder / "build.yaml")
    assert f"next: stepmill {'train' if is_training else 'preview'} build.yaml" in out


def test_the_demos_configuration_needs_nothing_more(said: Said, folder: Path) -> None:
    said("init", "--from", "demo", "--run", "first", "--store", "file:runs")
    said("doctor", "build.yaml")
    config = load(folder / "build.yaml")
    assert (config.run, config.store) == ("first", f"file://{folder}/runs")


def test_the_store_that_is_set_for_all_verbs_is_the_one_that_is_written(
    said: Said, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launch.verbs.starting.init.findings", lambda config: ())
    monkeypatch.setenv("STEPMILL_STORE", "file:elsewhere")
    said("init", "--yes")
    said("init", "b.yaml", "--from", "genprm")
    for file in ("build.yaml", "b.yaml"):
        assert load(folder / file).store == f"file://{folder}/elsewhere"


def test_what_a_configuration_needs_is_said(said: Said) -> None:
    out, _ = said("init", "--from", "genprm")
    assert "problems.jsonl: no such file" in out
    assert "Qwen/QwQ-32B needs 4 GPUs" in out
    assert out.splitlines()[-1] == "next: stepmill doctor build.yaml"


def test_every_page_is_listed_and_printed_as_it_is(said: Said) -> None:
    listed, _ = said("docs")
    for page in pages().values():
        assert page.name in listed
        for name in (page.name, f"docs/{page.name}.md"):
            assert said("docs", name)[0] == page.file.read_text(encoding="utf-8")
