"""The README.md of a dataset: what it is, what made it, how much was dropped and what it is not.

Its words are in `card.md.jinja`; here are the numbers.

Invariant: a pure function of the run's spec, totals and pilot, so that the card says nothing that
the store does not.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import CardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from storage.datasets.view import CHAT_TEMPLATE, FOLDER, View
from storage.rows.readings import NOT_RECORDED, is_reading_count, kept_by_reading
from storage.runs.pilot_record import PilotRecord
from storage.runs.run import Success
from storage.runs.specs import Spec

VERIFIERS = {"rationalize", "judge", "formalize"}
"""Stages that verify in words."""
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
"""Rows below which a dataset is of a size, as the hub names it."""

Row = Sequence[str | int | None]


def dataset_card(
    run: str,
    spec: Spec,
    success: Success,
    view: View,
    rows: int,
    origin: str | None = None,
    pilot: PilotRecord | None = None,
) -> str:
    """The card, with the front matter that `datasets` reads.

    `origin`: the run it derives from; `pilot`: what the run's pilot said of its labels.
    """
    totals = [(stage, success.totals[stage]) for stage in spec.stages]
    return _template().render(
        run=run,
        spec=spec,
        success=success,
        view=view,
        rows=rows,
        origin=origin,
        pilot=pilot,
        front_matter=_front_matter(view, rows),
        folder=FOLDER,
        chat_template=CHAT_TEMPLATE,
        models=sorted(spec.models.items()),
        stages=[(s, t.rows, sum(t.drops.values()), t.counts.get("tokens")) for s, t in totals],
        filters=_filters(success),
        readings=_readings(spec, success),
        not_recorded=NOT_RECORDED,
        drops=[(s, *drop) for s, t in totals for drop in sorted(t.drops.items())],
        counts=[
            (s, *count)
            for s, t in totals
            for count in sorted(t.counts.items())
            if not is_reading_count(count[0])
        ],
        verified=not VERIFIERS.isdisjoint(spec.stages),
        settings=json.dumps(spec.configuration, indent=2, sort_keys=True, ensure_ascii=False),
    )


def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown
    )
    environment.filters |= {"table": _table, "grouped": "{:,}".format}
    return environment.get_template("card.md.jinja")


def _table(rows: Sequence[Row], *head: str) -> str:
    """A Markdown table; a pipe in a cell would break it."""
    if not rows:
        return "None."
    lines = [head, ["---"] * len(head), *([_cell(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: str | int | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else value.replace("|", "\\|")


def _front_matter(view: View, rows: int) -> str:
    """YAML, in the order in which it is read."""
    return CardData(
        language=["en"],
        tags=["math", "process-supervision", "process-reward-model"],
        size_categories=[next((name for below, name in SIZES if rows < below), "n>1M")],
        configs=[
            {
                "config_name": view.name,
                "data_files": [{"split": "train", "path": "data/*.parquet"}],
            }
        ],
    ).to_yaml(line_break="\n")


def _filters(success: Success) -> list[Row]:
    """The stages that have a row per path, in their order; a tree's paths are others than those
    sampled."""
    totals = success.totals
    tree = "search" in totals
    found = [("sampled", totals["sample"].rows)] if "sample" in totals else []
    if found and (selected := totals["sample"].counts.get("selected")) is not None:
        found.append(("selected", selected))
    names = {
        "label": "of the trees, labelled" if tree else "estimated and labelled",
        "rationalize": "with a readable rationale",
        "formalize": "put into formulas",
        "export": "kept by consensus",
    }
    found += [
        (name, totals[stage].rows - totals[stage].counts.get("dropped_texts", 0))
        for stage, name in names.items()
        if stage in totals
    ]
    lines: list[Row] = []
    before = 0
    for name, rows in found:
        known = before and not (tree and name == names["label"])
        lines.append((name, rows, f"{rows / before:.1%}" if known else ""))
        before = rows
    return lines


def _readings(spec: Spec, success: Success) -> list[Row] | None:
    """How much of what was written, in which attempt and form, is in the dataset; None where the
    run has no such thing, nothing where it was not recorded."""
    if not {"rationalize", "export"} <= set(spec.stages):
        return None
    return [
        (of.attempt, of.reading, of.rationales, of.kept, of.kept_share, of.wrong_share)
        for of in kept_by_reading(success.totals["export"].counts)
    ]
