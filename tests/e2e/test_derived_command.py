"""`build --from` as a person types it: no engine, no Ray, one line that says what was reused."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from launch.cli.main import run_command
from storage.objects.opening import open_store
from storage.runs.run import Run
from tests.support.scripted_build import CONFIG, Build, configure
from workflows.runs.run import finish


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    build = Build(configure(tmp_path_factory.mktemp("command")))
    asyncio.run(build.work())
    finish(build.run)
    return build


@pytest.fixture(autouse=True)
def no_engine_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*given: Any, **named: Any) -> Any:
        raise AssertionError("an engine, a sandbox or a cluster was asked for")

    for place in (
        "workflows.runs.site.ray_session", "workflows.runs.site.look_at",
        "workflows.builds.run.require", "workflows.runs.run.require",
        "workflows.runs.workers.open_engine",
    ):  # fmt: skip
        monkeypatch.setattr(place, refused)


def configuration(built: Build, name: str, **stages: Any) -> list[str]:
    folder = Path(built.config.problems).parent
    file = folder / f"{name}.yaml"
    file.write_text(json.dumps(CONFIG | {"stages": CONFIG["stages"] | stages}))
    return [str(file), "--store", built.config.store]


def test_other_labels_are_one_command_and_can_be_repeated_and_resumed(
    built: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["build", *configuration(built, "soft", label={"threshold": 0.5}), "--run", "soft"]
    assert run_command([*asked, "--from", "r"]) == 0
    said = capsys.readouterr().err
    assert "taken over problems, sample, estimate, rationalize; made here label" in said
    assert "left to the models nothing" in said
    assert "configuration.stages.label.threshold: stored 0.8, asked for 0.5" in said
    run = Run.open(open_store(built.config.store), "soft")
    success = run.success()
    assert success is not None
    assert run_command(asked) == run_command([*asked, "--from", "r"]) == 0
    assert run_command(["resume", "soft", "--store", built.config.store]) == 0
    assert run.success() == success
    capsys.readouterr()
    assert run_command(["status", "soft", "--store", built.config.store, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["origin"] == "r"
    for verb in ("audit", "sweep"):
        assert run_command([verb, "soft", "--store", built.config.store]) == 0
    folder = Path(built.config.problems).parent / "dataset"
    assert run_command(["download", "soft", str(folder), "--store", built.config.store]) == 0
    assert "taken over from run `r`" in (folder / "README.md").read_text()


@pytest.mark.parametrize(("stages", "source", "said"), [
    pytest.param({"sample": {"cap": 32}}, "r", "nothing of it could be reused", id="upstream"),
    pytest.param({}, "absent", "no run 'absent'", id="no such run"),
    pytest.param({}, "refused", "no run 'refused'", id="itself"),
])  # fmt: skip
def test_what_cannot_be_derived_is_said_and_nothing_is_written(
    stages: Any, source: str, said: str, built: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = configuration(built, "refused", **stages)
    assert run_command(["build", *asked, "--run", "refused", "--from", source]) == 2
    assert said in capsys.readouterr().err
    assert list(built.run.store.list("runs/refused/")) == []


def test_a_run_that_was_derived_from_another_run_stays_that_ones(
    built: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = configuration(built, "third", label={"threshold": 0.6})
    assert run_command(["build", *asked, "--run", "second", "--from", "r"]) == 0
    assert run_command(["build", *asked, "--run", "third", "--from", "second"]) == 0
    assert run_command(["build", *asked, "--run", "third", "--from", "r"]) == 2
    assert "was derived from another run: 'second'" in capsys.readouterr().err


def test_a_finished_run_is_said_to_be_finished_whatever_the_sandbox_is_by_now(
    built: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    # The fixture refuses preflight, which would tell the image of today.
    assert run_command(["build", *configuration(built, "again")]) == 0
    assert "run r is finished" in capsys.readouterr().err
