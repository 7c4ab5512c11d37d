"""The verb `init`: writes a configuration that can be run, with comments, and says what is next.

What it writes was loaded as `build` loads it before it has its name, and is looked at as `doctor`
does.

Invariant: an existing file is replaced only where that is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jinja2
import yaml
from rich.console import Console
from rich.table import Table

from actors.engines.contract import EngineSettings
from actors.engines.served.capabilities import lacking
from actors.machines.looking import capabilities
from actors.machines.machine import GIB, Machine, host_memory, look
from actors.sandbox.contract import SandboxSettings
from demo import world
from launch.config import load, load_training
from launch.packaged import TEMPLATE, Packaged, configurations, packaged
from launch.shown.text import say
from launch.verbs.looking.doctor import findings
from launch.verbs.starting.answers import (
    DEMO,
    DEMO_PROBLEMS,
    ROLES,
    Answers,
    Options,
    answered,
    demo_problems,
    named_from,
)
from storage.errors import ConfigurationError
from workflows.runs.checks import check_sandbox
from workflows.runs.reading import usual_store
from workflows.stages.rationalize import RATIONALIZE

FILE = Path("build.yaml")
_MODELS_OF_DEMO = re.compile(r"(?:\.\./)+demo/models\b")
_PROBLEMS_OF_DEMO = re.compile(r"(?:\.\./)+\.stepmill/demo-problems\.jsonl")
_NOBODYS_STORE = re.compile(r"s3://your-bucket\S*")


def init(file: Path, options: Options, force: bool) -> None:
    """Ask, look, write, and say what is missing and what is next. Raises StepmillError."""
    _check_new(file, force)
    machine = look()
    say(_said(machine), err=True)
    answers = answered(options, machine, file.parent)
    lacks = _lacks(answers, options.key)
    text = written(answers, options, lacks, file)
    _write(text, file, force)
    known = ""
    if _on_demo(answers) and answers.problems != DEMO_PROBLEMS:
        known = "the demo's models know the demo's problems: yours will be dropped, with reasons"
    _finish(file, known)


def init_from(named: str, file: Path, options: Options, force: bool) -> None:
    """Write an installed configuration, its paths adapted. Raises ConfigurationError."""
    if options.url or options.models:
        raise ConfigurationError(
            "--from takes --problems, --run and --store: leave --from out to name a model or a "
            "server, or change them in the file that it writes"
        )
    _check_new(file, force)
    one = packaged(named, configurations(), "configuration")
    _write(adapted(one, options, file.parent), file, force)
    _finish(file, "", training=_is_training(one))


def show_configurations() -> None:
    """List the installed configurations, a line each."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for one in configurations().values():
        table.add_row(one.name, one.says)
    Console(highlight=False).print(table)


def written(answers: Answers, options: Options, lacks: str, file: Path) -> str:
    """The text of a configuration."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    environment.filters["yaml"] = _scalar
    one_model = len(set(answers.models.values())) == 1
    demo = _on_demo(answers)
    kept = [role for role in ROLES if not (lacks and role == "rationale")]
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        title="A build with the demo's tiny models" if demo else "A first build",
        file=shlex.quote(str(file)),
        run=answers.run,
        problems=answers.problems,
        read_as=answers.read_as,
        columns=dict(options.columns or {}),
        store=answers.store,
        shard_size=12 if demo else 4,
        roles={role: ROLES[role] for role in kept},
        models=answers.models,
        one_model=one_model and not demo,
        kind="chat" if answers.url else "vllm",
        url=answers.url,
        key=options.key,
        demo=demo,
        writes=not lacks,
        lacks=lacks,
    )


def adapted(one: Packaged, options: Options, folder: Path) -> str:
    """The text of an installed configuration, for a folder anywhere."""
    text = one.file.read_text(encoding="utf-8")
    text = _MODELS_OF_DEMO.sub(str(Path(world.__file__).parent / "models"), text)
    settings = yaml.safe_load(text)
    changes = {"run": options.run, "store": options.store}
    if "problems" in settings:
        of_demo = _PROBLEMS_OF_DEMO.search(settings["problems"]) is not None
        source = options.problems or (DEMO if of_demo else "problems.jsonl")
        is_demo = source == DEMO
        changes["problems"] = demo_problems(folder) if is_demo else named_from(folder, source)
        if settings.get("solutions") == settings["problems"]:
            changes["solutions"] = changes["problems"]
    elif options.problems:
        raise ConfigurationError(f"--problems: {one.name} reads none: it trains on a run")
    if options.store is None and _NOBODYS_STORE.match(str(settings.get("store"))):
        changes["store"] = usual_store()
    for key, value in changes.items():
        if value is not None:
            line = f"{key}: {_scalar(value)}".replace("\\", r"\\")
            text = re.sub(rf"(?m)^{key}: \S+", line, text)
    return text


def _said(machine: Machine) -> str:
    """GPUs, memory, processors and the sandbox of this machine, in a line."""
    memory = host_memory() / GIB
    gpus = ", ".join(f"{gpu.name} ({gpu.memory_bytes / GIB:.0f} GiB)" for gpu in machine.gpus)
    code = check_sandbox(SandboxSettings(slots=1))
    where = f"code runs in {code.said}" if code.ok else f"no code can run: {code.said}"
    return (
        f"this machine: {gpus or 'no GPU'}, {os.cpu_count()} processors, {memory:.0f} GiB of "
        f"memory; {where}"
    )


def _on_demo(answers: Answers) -> bool:
    """Whether all models are the demo's."""
    folder = Path(world.__file__).parent / "models"
    return all(Path(model).parent == folder for model in answers.models.values())


def _lacks(answers: Answers, key: str | None) -> str:
    """Why a chat server can't write rationales; empty where it can, or where there is none."""
    if answers.url is None:
        return ""
    engine = EngineSettings(
        kind="chat", url=answers.url, model=answers.models["rationale"], api_key_env=key
    )
    can = asyncio.run(capabilities(engine))
    if can is None:
        return ""
    for line in can.lines():
        say(f"{answers.url}: {line}", err=True)
    return next(lacking(can, {RATIONALIZE.name: RATIONALIZE.needs}, answers.url), "")


def _is_training(one: Packaged) -> bool:
    return "base" in yaml.safe_load(one.file.read_text(encoding="utf-8"))


def _scalar(value: object) -> str:
    """A value as YAML writes it in a line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")


def _check_new(file: Path, force: bool) -> None:
    if not file.parent.is_dir():
        raise ConfigurationError(f"{file}: no such folder: {file.parent}")
    if file.exists() and not force:
        raise ConfigurationError(f"{file} is there: name another file, or --force replaces it")


def _write(text: str, file: Path, force: bool) -> None:
    """Load what is to be written, then give it its name. Raises ConfigurationError."""
    with _aside(file) as aside:
        aside.write_text(text, encoding="utf-8")
        (load_training if "\nbase: " in text else load)(aside)
        if force:
            os.replace(aside, file)
        else:
            os.link(aside, file)


@contextlib.contextmanager
def _aside(file: Path) -> Iterator[Path]:
    """A file beside another, which is gone at the end unless it was renamed."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    os.close(handle)
    os.chmod(name, 0o644)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _finish(file: Path, known: str, training: bool = False) -> None:
    """Say what was written, what `doctor` would find missing, and the next command."""
    named = shlex.quote(str(file))
    say(f"{file} is written")
    if training:
        return say(f"next: stepmill train {named}")
    config = load(file)
    missing = [found for found in findings(config) if not found.ok]
    for found in missing:
        say(f"missing: {found}")
    if known:
        say(known)
    say(f"next: stepmill {'doctor' if missing else 'preview'} {named}")
