"""The five questions of `init`: problems, server, models, name and store.

What is given as an option is not asked. A wrong answer of a person is said, and asked again; a
wrong option ends the verb.

Invariant: every answer was tried (the file read, the server asked) before it is taken.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import typer

from actors.engines.contract import EngineSettings
from actors.engines.served.server import Refused, Server
from actors.machines.machine import GIB, Machine
from actors.models.folder import check_model
from demo import world
from launch.shown.text import say
from storage.errors import (
    ConfigurationError,
    EngineFailed,
    InfrastructureError,
    InputError,
    UserError,
)
from storage.runs.layout import check_run_name
from workflows.answers import check_reference
from workflows.inputs.places import is_url, resolved
from workflows.inputs.problems import look
from workflows.inputs.shapes import Columns
from workflows.runs.reading import store_url, usual_store

DEMO = "demo"
"""The answer that stands for the demo's problems, or its models."""
DEMO_PROBLEMS = "demo-problems.jsonl"
NOWHERE = "none"
ROLES: Mapping[str, str] = {
    "policy": "samples the solutions",
    "completer": "rolls out from every step",
    "rationale": "writes analyses and code, and judges",
}
_LOOKED_AT = 1_000
_SERVER_S = 15.0
NO_LIST = (404, 405, 501)
"""What a server says that has no list of its models."""
_ON_GPUS = ((40, "Qwen/Qwen2.5-7B-Instruct"), (0, "Qwen/Qwen2.5-1.5B-Instruct"))
"""GiB of a GPU -> the model that is offered for it."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line gave; None or empty: to be asked."""

    problems: str | None = None
    columns: Columns | None = None
    url: str | None = None
    models: tuple[str, ...] = ()
    """NAME for all roles, or ROLE=NAME."""
    key: str | None = None
    """Environment variable with the server's key."""
    run: str | None = None
    store: str | None = None
    yes: bool = False
    """Take the default of every question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a configuration is written of."""

    problems: str
    """As the configuration names them."""
    read_as: str
    url: str | None
    models: Mapping[str, str]
    """Role -> model."""
    run: str
    store: str


def answered(options: Options, machine: Machine, folder: Path) -> Answers:
    """Ask what the options leave open. `folder`: of the configuration. Raises StepmillError."""

    def ask(
        given: str | None, question: str, default: str, take: Callable[[str], Answer]
    ) -> Answer:
        if given is not None or options.yes:
            return take(default if given is None else given)
        while True:
            text = _prompted(question, default)
            try:
                return take(text)
            except (UserError, InfrastructureError) as error:
                say(f"  {error}", err=True)

    problems, read_as = ask(
        options.problems,
        f"Your problems: a file, a folder, s3:// or hf://datasets/NAME ({DEMO}: made up)",
        DEMO,
        lambda text: _problems(text, options.columns, folder),
    )
    here = options.url is None and bool(options.models)
    url, listed = ask(
        NOWHERE if here else options.url,
        f"A chat server that has your model ({NOWHERE}: a model opened on this machine)",
        NOWHERE,
        lambda text: _server(text, options.key),
    )
    models = ask(
        ",".join(options.models) or None,
        f"The model for all roles, or {'=…,'.join(ROLES)}=…",
        _offered(machine, url, listed),
        lambda text: _models(text, url, listed),
    )
    name = problems if is_url(problems) else Path(problems).name.partition(".")[0]
    run = ask(options.run, "A name for the run", _run_name(name), check_run_name)
    store = ask(
        options.store, "Where to keep it: file:FOLDER or s3://BUCKET/PREFIX", usual_store(), _store
    )
    return Answers(problems=problems, read_as=read_as, url=url, models=models, run=run, store=store)


def _prompted(question: str, default: str) -> str:
    """What a person answers. Raises ConfigurationError where there is none."""
    try:
        return str(typer.prompt(question, default=default, err=True)).strip()
    except typer.Abort:
        say(err=True)  # behind the question
        if sys.stdin.isatty():
            raise KeyboardInterrupt from None
        raise ConfigurationError(
            "nobody answers here: give --problems, --model (or --url), --run and --store, or --yes"
        ) from None


def demo_problems(folder: Path) -> str:
    """Write the demo's problems beside the configuration, once, and return their file's name."""
    file = folder / DEMO_PROBLEMS
    if not file.exists():
        world.main(["--out", str(file), "--problems", "96", "--seed", "1"])
    return DEMO_PROBLEMS


def named_from(folder: Path, source: str) -> str:
    """A place of problems, as a configuration in `folder` names it."""
    if is_url(source):
        return source
    path = Path(resolved(Path.cwd(), source))
    inside = path.is_relative_to(folder.resolve())
    return path.relative_to(folder.resolve()).as_posix() if inside else str(path)


def _problems(text: str, columns: Columns | None, folder: Path) -> tuple[str, str]:
    """(the place, how its first rows are read). Raises InputError."""
    if text == DEMO:
        return demo_problems(folder), "made up, of the demo's world"
    looked = look(text, check_reference, limit=_LOOKED_AT, columns=columns)
    if not looked.problems:
        first = f" ({looked.refused[0]})" if looked.refused else ""
        raise InputError(f"{text}: no problems in it that can be used{first}")
    shape = looked.read_as[0].partition(": ")[2] if looked.read_as else ""
    more = f"the first {looked.rows:,}" if looked.rows == _LOOKED_AT else f"{looked.rows:,}"
    return named_from(folder, text), ", ".join(filter(None, (f"{more} rows looked at", shape)))


def _server(text: str, key: str | None) -> tuple[str | None, tuple[str, ...]]:
    """(its address, the models that it lists); (None, ()) for no server. Raises StepmillError."""
    if text in (NOWHERE, ""):
        return None, ()
    settings = EngineSettings(
        kind="chat", url=text, api_key_env=key, retries=1, timeout_s=_SERVER_S
    )

    async def listed() -> tuple[str, ...]:
        server = Server(settings)
        try:
            return tuple(await server.models())
        finally:
            await server.close()

    try:
        return text, asyncio.run(listed())
    except Refused as error:
        if error.status in NO_LIST:
            return text, ()
        wants_key = error.status in (401, 403) and key is None
        to_do = "; --api-key-env names the variable that holds its key" if wants_key else ""
        raise ConfigurationError(f"{error}{to_do}") from None
    except EngineFailed as error:
        raise ConfigurationError(
            f"{error}: is the server up, and does its address end in /v1?"
        ) from None


def _offered(machine: Machine, url: str | None, listed: Sequence[str]) -> str:
    """The model that is offered: the server's first, or one that this machine can open."""
    if url is not None:
        return listed[0] if listed else ""
    most = max((gpu.memory_bytes / GIB for gpu in machine.gpus), default=None)
    if most is None:
        return DEMO
    return next(name for least, name in _ON_GPUS if most >= least)


def _models(text: str, url: str | None, listed: Sequence[str]) -> dict[str, str]:
    """Role -> model. Raises ConfigurationError for an unknown role or a model that is not there."""
    named = dict.fromkeys(ROLES, "")
    for part in filter(None, (part.strip() for part in text.split(","))):
        role, equals, model = part.rpartition("=")
        if equals and role not in ROLES:
            raise ConfigurationError(f"{part}: no such role; roles are {', '.join(ROLES)}")
        named |= {role: model} if equals else dict.fromkeys(ROLES, model)
    if lacking := [role for role, model in named.items() if not model]:
        raise ConfigurationError(f"name a model for {', '.join(lacking)} too, or one for all roles")
    if listed and (unknown := sorted(set(named.values()) - set(listed))):
        raise ConfigurationError(
            f"the server has no model {unknown[0]!r}, only: {', '.join(listed[:20])}"
        )
    if url is not None:
        return named
    return {role: _opened_here(role, model) for role, model in named.items()}


def _opened_here(role: str, model: str) -> str:
    """A model of this machine as a configuration names it. Raises InputError."""
    if model == DEMO:
        return str(Path(world.__file__).parent / "models" / role)
    folder = Path(model).expanduser()
    named = str(folder.resolve()) if folder.is_dir() else model
    check_model(EngineSettings(model=named))
    return named


def _run_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-.")[:40] or "first"


def _store(text: str) -> str:
    store_url(text)
    return text
