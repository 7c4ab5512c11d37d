"""The verb `stages`: lists every stage that a road may have, from its description.

Invariant: no engine or store is opened. Stages of installed packages are listed like the project's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from rich.console import Console

from launch.docstrings import default_of, field_docs
from launch.shown.tables import Sheet
from launch.shown.text import json_line, say
from storage.plain_text import cell
from workflows.stages import OF_RUNS, all_stages
from workflows.stages.kit import Stage


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a stage."""

    key: str
    """Its key in a configuration: `stages.NAME.FIELD`."""
    default: str
    """As JSON."""
    says: str


@dataclass(frozen=True, slots=True)
class Listed:
    """What is listed of a stage."""

    stage: str
    says: str
    role: str
    reads: list[str]
    """Stages that must stand before it."""
    may_read: list[str]
    """Stages that it reads where a road has them."""
    one_of: list[str]
    """Exactly one of these must stand before it."""
    runs_code: bool
    settings: list[Setting]
    also: list[str]
    """Other stages whose settings it reads too."""
    ours: bool


def listed(stages: Iterable[Stage]) -> list[Listed]:
    """What is listed of each stage."""
    return [_listed(stage) for stage in stages]


def _listed(stage: Stage) -> Listed:
    spec = stage.spec
    return Listed(
        stage=stage.name,
        says=stage.says,
        role=stage.role,
        reads=[name for name in spec.reads if name not in spec.without],
        may_read=[name for name in spec.without if name not in spec.one_of],
        one_of=list(spec.one_of),
        runs_code=stage.runs_code,
        settings=_settings(stage),
        also=list(stage.also),
        ours=stage.name in OF_RUNS,
    )


def _settings(stage: Stage) -> list[Setting]:
    if stage.settings is None:
        return []
    says = field_docs(stage.settings)
    return [
        Setting(f"stages.{stage.name}.{field.name}", default_of(field).strip("`"), says[field.name])
        for field in dataclasses.fields(stage.settings)
    ]


def show_stages(as_json: bool) -> None:
    """Print all stages. Raises ConfigurationError for an installed one that is broken."""
    stages = listed(all_stages())
    if as_json:
        say(json_line([asdict(stage) for stage in stages]))
    else:
        Console().print(stages_table(stages))


def stages_table(stages: Sequence[Listed]) -> Sheet:
    """Make a table with a line for each stage."""
    table = Sheet("stages")
    for name in ("stage", "role", "reads", "settings", "what it does"):
        table.add_column(name, overflow="fold")
    for stage in stages:
        reads, settings = reads_said(stage), settings_said(stage)
        table.add_row(stage.stage, stage.role, reads, settings, stage.says)
    return table


def reads_said(stage: Listed) -> str:
    """The stages that it reads: `[name]` may be left out, of `a | b` exactly one is needed."""
    choice = [" | ".join(stage.one_of)] if stage.one_of else []
    return ", ".join([*stage.reads, *choice, *(f"[{name}]" for name in stage.may_read)])


def settings_said(stage: Listed) -> str:
    """The groups of its settings, with the number of its own keys."""
    own = [f"{stage.stage} ({len(stage.settings)})"] if stage.settings else []
    return ", ".join([*own, *stage.also])


PAGE = """\
# Stages

What a road (`stages.road`) may be made of, in the order of a usual one. `stepmill stages` prints
this of what is installed, `--json` for scripts. A stage reads rows of stages that stand before it;
those in brackets a road may leave out. Its model is `models.ROLE`, `cpu` asks none. `score`,
`refine` and `solve` are stages of runs of their own; `solve` also asks `models.verifier`.
Written by `python -m launch.verbs.looking.stages > docs/stages.md`.

A package brings another stage as an entry point of group `stepmill.stages`, whose object is a
`workflows.stages.kit.Stage`: its rows (one frozen dataclass), role, what it reads, its settings and
how it is made. Roads, settings, workers, audit, `--from`, `status` and `download --view STAGE` then
know it.

"""


def page() -> str:
    """The text of docs/stages.md."""
    stages = listed(OF_RUNS.values())
    head = "| stage | role | reads | what it does |\n|---|---|---|---|\n"
    rows = (
        f"| [`{stage.stage}`](#{stage.stage}) | {stage.role} | {cell(reads_said(stage))} | "
        f"{stage.says} |\n"
        for stage in stages
    )
    return PAGE + head + "".join(rows) + "".join(map(_section, stages))


def _section(stage: Listed) -> str:
    code = " Code runs in the sandbox." if stage.runs_code else ""
    text = f"\n## {stage.stage}\n\n{stage.says[0].upper()}{stage.says[1:]}.{code}\n"
    keys = ", ".join(f"`{setting.key.rpartition('.')[2]}`" for setting in stage.settings)
    if keys:
        text += f"\nSettings ([`stages.{stage.stage}`](configuration.md)): {keys}.\n"
    if stage.also:
        text += f"\nMade by the settings of {', '.join(f'`{name}`' for name in stage.also)} too.\n"
    return text


if __name__ == "__main__":
    print(page(), end="")
