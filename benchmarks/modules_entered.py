"""Through how many modules does a build go before its first token is sampled?

    python -m benchmarks.modules_entered

A small build with scripted models is started as a person starts it, with workers on a private Ray
cluster. A module counts if a function of it is called; code that runs while modules are imported
does not count. Two lists are printed:

    before the driver's loop   modules of launch/ and workflows/ that the driver enters
    before the first token     all modules, of driver and workers, until an engine is asked first
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

from launch.cli.main import run_command
from tests.support.scripted_world import scripted_build, world_problems, write_problems

ROOT = Path(__file__).parents[1]
PRODUCT = ("storage", "actors", "workflows", "launch")
ABOVE = ("workflows", "launch")
"""What a reader goes through before the work begins."""
FOLDER = "STEPMILL_MODULES_ENTERED"
"""Environment variable: where each worker writes what it calls."""


class Call(NamedTuple):
    """The first call of a function in a process."""

    when: int
    """Nanoseconds since the epoch."""
    module: str
    """`workflows/runs/site.py`."""
    function: str


DRIVE = ("workflows/schedule/driver.py", "drive")
FIRST_TOKEN = ("actors/engines/scripted.py", "generate")


def module_of(code: CodeType) -> str | None:
    """The module of the product that code is of; None for any other code."""
    path = Path(code.co_filename)
    if not path.is_relative_to(ROOT) or path.relative_to(ROOT).parts[0] not in PRODUCT:
        return None
    return str(path.relative_to(ROOT))


def trace(told: Callable[[Call], object]) -> None:
    """Tell of each function of the product when it is first called, in this thread and in those
    that begin from now on.
    """
    known: set[CodeType] = set()

    def look(frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event != "call" or code in known:
            return
        module = module_of(code)
        if module is None or not code.co_flags & inspect.CO_OPTIMIZED:
            known.add(code)  # not ours, or the body of a module or a class
        elif not _importing(frame):
            known.add(code)
            told(Call(time.time_ns(), module, code.co_name))

    threading.setprofile(look)
    sys.setprofile(look)


@contextlib.contextmanager
def traced() -> Iterator[list[Call]]:
    """The calls of what runs meanwhile."""
    calls: list[Call] = []
    trace(calls.append)
    try:
        yield calls
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]


def _importing(frame: FrameType | None) -> bool:
    """Whether a module of the product is being imported."""
    while frame is not None:
        if frame.f_code.co_name == "<module>" and module_of(frame.f_code):
            return True
        frame = frame.f_back
    return False


def entered_before(
    calls: Iterable[Call], end: tuple[str, str], packages: Iterable[str]
) -> list[str]:
    """The modules of some packages that are entered before a call, in the order of their entry.

    `end`: module and function of that call. Raises ValueError where nobody makes it.
    """
    modules: dict[str, None] = {}
    for call in sorted(calls):
        if (call.module, call.function) == end:
            return list(modules)
        if call.module.split("/")[0] in packages:
            modules.setdefault(call.module)
    raise ValueError(f"{end[1]} of {end[0]} is never called")


def write_calls() -> None:
    """In a worker, from its start to its end: write each call."""
    file = Path(os.environ[FOLDER], f"{os.getpid()}.calls")
    written = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    trace(lambda call: os.write(written, json.dumps(call).encode() + b"\n"))


def calls_in(folder: Path) -> list[Call]:
    """What the workers wrote."""
    lines = [line for file in folder.glob("*.calls") for line in file.read_text().splitlines()]
    return [Call(*json.loads(line)) for line in lines]


def plain_build(folder: Path) -> Path:
    """The configuration of a small build with scripted models, without a sandbox."""
    write_problems(world_problems(4), folder / "problems.jsonl")
    build = scripted_build("r", {"k_hard": 16, "k_medium": 12, "k_easy": 8, "probe": 8})
    build["stages"] |= {"rationalize": {"execute": False}}
    build["models"] = {
        role: {"kind": "scripted", "model": f"tests.scripted_models:{role}"}
        for role in ("policy", "completer", "rationale")
    }
    file = folder / "build.yaml"
    file.write_text(json.dumps(build | {"store": f"file:{folder}/store"}))
    return file


def main() -> None:
    """Print both lists."""
    with tempfile.TemporaryDirectory(prefix="entered-") as name:
        folder = Path(name)
        hook = {"worker_process_setup_hook": "benchmarks.modules_entered.write_calls"}
        os.environ |= {
            FOLDER: name,
            "RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps({"runtime_env": hook}),
            "PYTHONPATH": str(ROOT),
            "STEPMILL_SCRIPTED_PROBLEMS": "4",
        }
        file = plain_build(folder)
        with traced() as driver, contextlib.redirect_stdout(io.StringIO()):
            if code := run_command(["build", str(file)]):
                sys.exit(code)
        both = [*driver, *calls_in(folder)]
    for title, modules in {
        "before the driver's loop": entered_before(driver, DRIVE, ABOVE),
        "before the first token": entered_before(both, FIRST_TOKEN, PRODUCT),
    }.items():
        rooms = Counter(str(Path(module).parent) for module in modules)
        counts = ", ".join(f"{room} {count}" for room, count in rooms.most_common())
        print(f"{title}: {len(modules)} modules ({counts})", *modules, sep="\n  ")


if __name__ == "__main__":
    main()
