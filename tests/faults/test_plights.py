"""Every verb that needs no cluster, where its terminal, folder or limits are not as one wishes.

Each works, or ends with 0, 2 or 3 and one line; none with a traceback.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import resource
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from launch.cli.main import run_command
from storage.objects.local import LocalStore
from tests.support.commands import environment
from tests.support.ports import free_port
from tests.support.whole_run import in_folder, started

VERBS = ["status whole", "status whole --json", "audit whole", "download whole {to}",
         "compare whole", "texts whole", "grade", "stages", "noise whole", "show whole",
         "runs", "browse whole --out {to}"]  # fmt: skip
KINDS = ["generative", "direct", "discriminative", "value", "orm", "implicit"]
REFUSED = ["score /nowhere/model {given}", "serve /nowhere/model", "solve /nowhere/model {given}",
           "evaluate /nowhere/model {given}", "refine /nowhere/model {given}",
           *[f"train {{training}} --kind {kind}" for kind in KINDS]]  # fmt: skip
"""They would open a model; that there is none is one line whatever the plight."""
MOMENTS_S = 8.0
"""Seconds within which Ctrl-C comes: so long do the verbs take, side by side."""
ANSWERS = '{"answer": "½π", "reference": "0.5"}\n' * 3


@dataclass(frozen=True)
class Plight:
    """How a verb is started, and what it may end with."""

    name: str
    shell: str = 'exec "$@"'
    environment: dict[str, str] = field(default_factory=dict)
    before: Callable[[], None] | None = None
    ends: frozenset[int] = frozenset({0})
    says: str = ""


def limited(what: int, most: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(what, (most, most))


FULL = os.strerror(errno.ENOSPC)
PLIGHTS = [
    Plight("a terminal of ASCII", environment={"PYTHONIOENCODING": "ascii", "COLUMNS": "40"}),
    Plight("a full output", 'exec "$@" >/dev/full', ends=frozenset({3}), says=FULL),
    Plight("a full output and error", 'exec "$@" >/dev/full 2>&1', ends=frozenset({3})),
    Plight("a closed output", 'exec "$@" >&-'),
    Plight("all closed", 'exec "$@" <&- >&- 2>&-'),
    Plight("nobody who reads", '"$@" | true; exit "${PIPESTATUS[0]}"'),
    Plight("a deleted folder", 'mkdir gone; cd gone; rmdir ../gone; exec "$@"'),
    Plight("no folder for temporary files", environment={"TMPDIR": "/nowhere/at/all"}),
    Plight("a long one", 'd=$PWD/$(printf %0200d 1); mkdir "$d"; TMPDIR=$d exec "$@"'),
    Plight("64 files", before=limited(resource.RLIMIT_NOFILE, 64)),
    Plight("a home that can't be written", environment={"HOME": "/proc"}),
]  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return in_folder(tmp_path_factory.mktemp("store"))


def begun(
    verb: str, folder: Path, store: Path, plight: Plight = Plight("none")
) -> subprocess.Popen[str]:
    given, training = folder / "given.jsonl", folder / "training.yaml"
    given.write_text('{"problem": "1 + 1?", "steps": ["2"], "label": -1}\n')
    training.write_text(f"run: whole\nbase: /nowhere/model\nstore: file:{store}\n")
    arguments = shlex.split(verb.format(to=folder / "to", given=given, training=training))
    return subprocess.Popen(
        ["bash", "-c", plight.shell, "bash", sys.executable, "-m", "launch", *arguments],
        cwd=folder,
        env=environment(STEPMILL_STORE=str(store)) | plight.environment,
        preexec_fn=plight.before,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )


@pytest.mark.parametrize("plight", PLIGHTS, ids=lambda plight: plight.name)
def test_a_verb_works_or_says_one_line(plight: Plight, store: Path, tmp_path: Path) -> None:
    verbs = {}
    for number, verb in enumerate(VERBS):
        folder = tmp_path / str(number)
        folder.mkdir()
        verbs[verb] = begun(verb, folder, store, plight)
    for verb, process in verbs.items():
        said, errors = process.communicate(ANSWERS, timeout=120)
        lines = [line for line in errors.splitlines() if line.strip()]
        assert process.returncode in plight.ends, f"{verb}: {process.returncode} {errors}"
        assert "Traceback" not in said + errors, verb
        assert len(lines) <= (process.returncode != 0), f"{verb}: {errors}"
        assert all(plight.says in line for line in lines), f"{verb}: {errors}"


@pytest.mark.parametrize("plight", PLIGHTS, ids=lambda plight: plight.name)
def test_a_verb_without_its_model_says_so_in_one_line(
    plight: Plight, store: Path, tmp_path: Path
) -> None:
    verbs = {}
    for number, verb in enumerate(REFUSED):
        folder = tmp_path / str(number)
        folder.mkdir()
        verbs[verb] = begun(verb, folder, store, plight)
    for verb, process in verbs.items():
        said, errors = process.communicate("", timeout=120)
        assert process.returncode == 2, f"{verb}: {process.returncode} {errors}"
        assert "Traceback" not in said + errors, verb
        heard = "all closed" != plight.name != "a full output and error"
        assert errors.count("\n") == heard, f"{verb}: {errors}"


@pytest.mark.parametrize("plight", PLIGHTS, ids=lambda plight: plight.name)
def test_a_page_is_there_until_ctrl_c_or_one_line_is_said(
    plight: Plight, store: Path, tmp_path: Path
) -> None:
    page = begun(f"browse whole --no-open --port {(port := free_port())}", tmp_path, store, plight)
    stays = plight.ends == {0} and "|" not in plight.shell
    while page.poll() is None and not (stays and answers(port)):
        with contextlib.suppress(subprocess.TimeoutExpired):
            page.wait(0.1)
    if stays:
        os.killpg(page.pid, signal.SIGINT)
    said, errors = page.communicate(timeout=60)
    assert page.returncode in plight.ends, errors
    assert "Traceback" not in said + errors
    assert errors.count("\n") <= (page.returncode != 0), errors


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


@pytest.mark.parametrize("name", ["a#b", "a?b", "a%20b", "a b", "ä∑数", "%", "a&b=c", "q'\"q"])
@pytest.mark.parametrize("form", ["{folder}", "file:{name}"])
def test_a_folder_is_the_one_that_is_named(
    name: str,
    form: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    started(LocalStore.at(tmp_path / name))
    url = form.format(folder=tmp_path / name, name=name)
    assert run_command(["status", "whole", "--json", "--store", url]) == 0
    assert '"problems": 7' in capsys.readouterr().out
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    "verb",
    ["problems {}", "score {} {}", "solve {} {}", "serve {}", "exec {}", "plan {}", "init {}"],
)
def test_a_name_that_no_file_can_have_is_the_callers_mistake(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(verb.replace("{}", "n" * 5_000).split()) == 2
    assert "too long" in (said := capsys.readouterr().err) and said.count("\n") == 1


@pytest.mark.parametrize(
    "verb", ["doctor --store file:here", "browse whole --out here", "download whole here"]
)
def test_what_needs_the_folder_that_was_deleted_says_so(
    verb: str, store: Path, tmp_path: Path
) -> None:
    gone = next(plight for plight in PLIGHTS if plight.name == "a deleted folder")
    told = begun(verb, tmp_path, store, gone)
    _, errors = told.communicate(timeout=200)
    assert told.returncode == 2
    assert errors.strip() == "stepmill: the working folder was deleted: `cd` to another"


def deaf() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


SEEDS = [int(os.environ["STEPMILL_SEED"])] if "STEPMILL_SEED" in os.environ else range(2)


@pytest.mark.fault
@pytest.mark.parametrize("seed", SEEDS)
def test_ctrl_c_twice_at_any_moment_is_at_most_one_line(
    seed: int, store: Path, tmp_path: Path
) -> None:
    """Before our own code begins, where Python would print a traceback, the signal is ignored."""
    chance, verbs, moments = random.Random(seed), {}, []
    unheard = Plight("", before=deaf)
    for number, verb in enumerate([*VERBS, *REFUSED, "browse whole --no-open"]):
        folder = tmp_path / str(number)
        folder.mkdir()
        verbs[verb] = begun(verb, folder, store, unheard)
        first = time.monotonic() + chance.uniform(0, MOMENTS_S)
        moments += [(first, verb), (first + chance.choice([0, 0.02, 0.5]), verb)]
    for moment, verb in sorted(moments):
        with contextlib.suppress(subprocess.TimeoutExpired):
            verbs[verb].wait(max(0.0, moment - time.monotonic()))
        if verbs[verb].poll() is None:
            os.killpg(verbs[verb].pid, signal.SIGINT)
    for verb, process in verbs.items():
        while process.poll() is None and verb.endswith("--no-open"):  # who heard nothing goes on
            os.killpg(process.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1.0)
        said, errors = process.communicate(ANSWERS, timeout=120)
        about = f"seed {seed}, {verb}: {process.returncode} {errors}"
        assert process.returncode in (0, 2, 130, -signal.SIGINT), about
        assert "Traceback" not in said + errors, about
        assert errors.count("\n") <= 1, about


@pytest.mark.fault
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_the_whole_group_ends_a_verb_that_waits(
    number: signal.Signals, tmp_path: Path
) -> None:
    started(LocalStore.at(tmp_path / "store"))
    watching = begun("status whole --watch --json", tmp_path, tmp_path / "store")
    assert watching.stdout is not None
    assert watching.stdout.readline()
    os.killpg(watching.pid, number)
    _, errors = watching.communicate(timeout=60)
    assert watching.returncode in (-number, 130)
    assert len(errors.splitlines()) <= 1
