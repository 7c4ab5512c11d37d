"""The README.md of a dataset: what it is, what made it, how much was dropped and what it is not.

The text is in `card.md.jinja`; this module computes the numbers.

Invariant: the card is a pure function of the run's spec, totals and pilot, so everything in it can
be read from the store.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from storage.datasets.view import CHAT_TEMPLATE, FOLDER, View
from storage.plain_text import cell, escaped, in_markdown
from storage.rows.kinds import EXAMPLES, RATIONALES, Rows
from storage.rows.readings import NOT_RECORDED, is_reading_count, kept_by_reading
from storage.runs.pilot_record import PilotRecord
from storage.runs.specs import Spec
from storage.runs.success import Success

SIZES = (
    (1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (10**9, "100M<n<1B"),
)  # fmt: skip
"""(upper bound in rows, the hub's name of the size)."""
TAGS = ("math", "process-supervision", "process-reward-model")

Row = Sequence[str | int | None]


class Described(Protocol):
    """What the card needs to know of a stage; `workflows.stages.kit.Stage` has it."""

    @property
    def rows(self) -> Rows[Any]:
        """The rows that the stage makes."""
        ...

    @property
    def verifies(self) -> bool:
        """Whether the stage writes verifications."""
        ...

    @property
    def passed(self) -> str:
        """Name, in the table of filters, of the paths that have a row; empty: not in the table."""
        ...

    @property
    def passed_after(self) -> Mapping[str, str]:
        """Stage of the run -> the name used instead of `passed` if the run has that stage."""
        ...

    @property
    def caveat(self) -> str:
        """A warning about the stage's rows, as a Markdown list item."""
        ...

    @property
    def lacks(self) -> str:
        """What a dataset lacks because of the stage, as a Markdown list item."""
        ...

    @property
    def whole(self) -> tuple[str, str] | None:
        """(setting of the stage, value) with which `lacks` does not apply; None: it always does."""
        ...


def dataset_card(
    run: str,
    spec: Spec,
    success: Success,
    view: View,
    rows: int,
    described: Sequence[Described],
    origin: str | None = None,
    pilot: PilotRecord | None = None,
) -> str:
    """The card as Markdown, with the front matter that `datasets` reads.

    `described`: the run's stages in order. `origin`: name of the run that it derives from. `pilot`:
    the pilot's verdict on the labels.
    """
    return template("card.md.jinja").render(
        run=run,
        view=view,
        rows=rows,
        front_matter=_front_matter(view, rows),
        folder=FOLDER,
        chat_template=CHAT_TEMPLATE,
        **figures(spec, success, described, origin, pilot),
    )


def figures(
    spec: Spec,
    success: Success,
    described: Sequence[Described],
    origin: str | None,
    pilot: PilotRecord | None,
) -> dict[str, Any]:
    """What `figures.md.jinja` shows of a run, whatever the view."""
    settings = spec.configuration.get("stages", {})
    totals = [(stage, success.totals[stage]) for stage in spec.stages]
    return {
        "spec": spec,
        "success": success,
        "origin": origin,
        "pilot": pilot,
        "models": _plain(sorted(spec.models.items())),
        "stages": [(s, t.rows, sum(t.drops.values()), t.counts.get("tokens")) for s, t in totals],
        "filters": passed_filters(described, success),
        "readings": _readings(spec, success),
        "not_recorded": NOT_RECORDED,
        "drops": _plain([(s, *drop) for s, t in totals for drop in sorted(t.drops.items())]),
        "counts": _plain(
            [
                (s, *count)
                for s, t in totals
                for count in sorted(t.counts.items())
                if count[0] != "prompt_tokens"  # what was paid for, and nothing of the dataset
                if not is_reading_count(count[0])
            ]
        ),
        "caveats": "".join(stage.caveat for stage in described),
        "verified": any(stage.verifies for stage in described),
        "lacks": "".join(
            stage.lacks for stage in reversed(described) if not _is_whole(stage, settings)
        ),
        "settings": escaped(
            json.dumps(spec.configuration, indent=2, sort_keys=True, ensure_ascii=False)
        ),
    }


def _plain(rows: Iterable[Row]) -> list[Row]:
    """Rows of a table whose texts are no markup."""
    return [tuple(in_markdown(v) if isinstance(v, str) else v for v in row) for row in rows]


@dataclass(frozen=True, slots=True)
class Beside:
    """What the card of several runs says of one of them."""

    name: str
    spec: str
    """Fingerprint."""
    solutions: int
    repeated: int
    """Solutions that an earlier run has too."""
    problems: int
    known_problems: int
    """Problems that an earlier run has too."""


def card_together(
    runs: Sequence[Beside], view: View, rows: Mapping[str, int], repeated: str
) -> str:
    """The card of several runs as Markdown, with front matter. `rows`: run -> rows of it.

    `repeated`: `drop` or `keep`, what became of solutions that an earlier run has too.
    """
    return template("together.md.jinja").render(
        runs=runs,
        view=view,
        rows=sum(rows.values()),
        front_matter=_front_matter(view, sum(rows.values())),
        folder=FOLDER,
        repeated=repeated,
        lines=[
            (
                run.name,
                run.solutions,
                run.repeated if repeated == "drop" else 0,
                rows[run.name],
                run.problems,
                run.known_problems,
                run.spec[:16],
            )
            for run in runs
        ],
    )


def template(name: str) -> Template:
    """A template of this folder, with the filters `table` and `grouped`."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown
    )
    environment.filters |= {"table": _table, "grouped": "{:,}".format}
    return environment.get_template(name)


def _table(rows: Sequence[Row], *head: str) -> str:
    """A Markdown table, a cell for each value whatever it holds; "None." without rows."""
    if not rows:
        return "None."
    lines = [head, ["---"] * len(head), *([_cell(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: str | int | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else cell(value)


def _front_matter(view: View, rows: int) -> str:
    """The card's YAML front matter."""
    from huggingface_hub import CardData  # takes a third of a second to import

    return CardData(
        language=["en"],
        tags=list(TAGS),
        size_categories=[size_of(rows)],
        configs=[
            {
                "config_name": view.name,
                "data_files": [{"split": "train", "path": "data/*.parquet"}],
            }
        ],
    ).to_yaml(line_break="\n")


def size_of(rows: int) -> str:
    """The hub's word for so many rows."""
    return next((name for below, name in SIZES if rows < below), "1B<n<10B")


def _is_whole(stage: Described, settings: Mapping[str, Any]) -> bool:
    own = settings.get(stage.rows.stage, {})
    return stage.whole is not None and own.get(stage.whole[0]) == stage.whole[1]


def passed_filters(described: Sequence[Described], success: Success) -> list[Row]:
    """(name, paths left, share of the line before) per stage that filters paths. The share starts
    anew after stage `search`, whose paths are those of its tree.
    """
    lines: list[Row] = []
    before = 0
    for stage in described:
        totals = success.totals[stage.rows.stage]
        if stage.rows.unfold is not None:
            before = 0
        if not stage.passed:
            continue
        after = (label for name, label in stage.passed_after.items() if name in success.totals)
        name = next(after, stage.passed)
        counted = [(name, totals.rows - totals.counts.get("dropped_texts", 0))]
        if (selected := totals.counts.get("selected")) is not None:
            counted.append(("selected", selected))
        for name, rows in counted:
            lines.append((name, rows, f"{rows / before:.1%}" if before else ""))
            before = rows
    return lines


def _readings(spec: Spec, success: Success) -> list[Row] | None:
    """Rationales written and exported, by attempt and form. None: the run writes no rationales or
    exports none. Empty: it did not record them.
    """
    if not {RATIONALES.stage, EXAMPLES.stage} <= set(spec.stages):
        return None
    return [
        (of.attempt, of.reading, of.rationales, of.kept, of.kept_share, of.wrong_share)
        for of in kept_by_reading(success.totals[EXAMPLES.stage].counts)
    ]
