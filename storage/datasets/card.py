"""The README.md of a dataset: what it is, what made it, how much was dropped and what it is not.

Invariant: a pure function of the run's spec, totals and pilot, so that the card says nothing that
the store does not.
"""

from __future__ import annotations

import json

from storage.datasets.view import CHAT_TEMPLATE, FOLDER, View
from storage.rows.readings import NOT_RECORDED, Kept, is_reading_count, kept_by_reading
from storage.runs.pilot_record import PilotRecord
from storage.runs.run import Success
from storage.runs.specs import Spec

ESTIMATED = """\
- Step labels are Monte-Carlo estimates made with one completion model. A step that this model
  recovers from can be labelled right although it is wrong, and the other way round where it fails.
"""
WRITTEN = """\
- Analyses and code are written by a model. Every code output is real (the code was run), but a
  model may have checked something other than the step.
"""
JUDGED = """\
- Analyses and judgements are those of a model that ran no code: it misses errors, and sees some
  where there are none.
"""
PROVEN = """\
- Judgements are a theorem prover's, of the formulas that a program read from the steps: solutions
  that it could not read were dropped, and whatever else a step says was not judged.
"""
UNWRITTEN = """\
- Nobody verified these solutions in words: the judgements are the labels, and a conversation has
  neither analysis nor code.
"""
AGREED = """\
- Only steps on which the sources of the consensus agree under its rule are kept: hard and unusual
  steps are rarer here than among the sampled solutions.
"""
BOTH_CLASSES = """\
- A problem for which the policy found only right or only wrong solutions is not in the dataset.
"""
COMPARED = """\
- Answers are compared by rules and computer algebra; an equal answer in an unusual form can count
  as wrong."""
CHATML_SAID = (
    f"`{CHAT_TEMPLATE}` is ChatML with the marks that `assistant_only_loss` needs, for bases that "
    "have its tokens (Qwen's, SmolLM2's). Leave `chat_template_path` out for another base whose "
    "template TRL knows (DeepSeek-R1-Distill, Llama 3)."
)
VERIFIERS = {"rationalize": WRITTEN, "judge": JUDGED, "formalize": PROVEN}
"""Stage that verifies -> what its verifications are not."""


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
    return "\n".join(
        [
            *_front_matter(view, rows),
            f"# {run}",
            "",
            f"{view.title} {rows:,} rows, made by Stepmill from {spec.plan.items:,} problems.",
            "",
            "```python",
            "from datasets import load_dataset",
            f'dataset = load_dataset("{FOLDER}", split="train")',
            "```",
            "",
            "Check the files with `sha256sum -c SHA256SUMS`.",
            *_trained(view),
            "",
            "## Models",
            "",
            *_table(("role", "model"), sorted(spec.models.items())),
            "",
            "## Stages",
            "",
            *_table(("stage", "rows", "dropped items", "tokens"), _stage_rows(spec, success)),
            *_derived(origin),
            *_piloted(pilot),
            "",
            "## What passed each filter",
            "",
            *_table(("paths", "number", "of those before"), _filter_rows(success)),
            "",
            *_readings(spec, success),
            "## What was dropped, and why",
            "",
            *_table(("stage", "reason", "items"), _drop_rows(spec, success)),
            "",
            "## Counts",
            "",
            *_table(("stage", "count", "sum"), _count_rows(spec, success)),
            "",
            "## Limits",
            "",
            _limits(spec),
            "",
            "## Settings",
            "",
            f"Input sha256 `{spec.input_digest}`, sandbox image `{spec.image_digest}`, "
            f"spec `{success.spec}`.",
            "",
            "```json",
            json.dumps(spec.configuration, indent=2, sort_keys=True, ensure_ascii=False),
            "```",
            "",
        ]
    )


def _trained(view: View) -> list[str]:
    """How to train on it with TRL."""
    if not view.trl:
        return []
    said = ["", "With TRL 1.16, on a base model of yours:", "", "```python", *view.trl.splitlines()]
    return [*said, "```", *(["", CHATML_SAID] if view.chat_template else [])]


def _derived(origin: str | None) -> list[str]:
    if origin is None:
        return []
    return [
        "",
        f"Where its settings were the same, rows were taken over from run `{origin}`, which spent "
        "their tokens.",
    ]


def _piloted(pilot: PilotRecord | None) -> list[str]:
    """What is known of the noise of labels that were made of fewer rollouts, or smoothed."""
    if pilot is None:
        return []
    return [
        "",
        "## Pilot",
        "",
        f"Before the run was started, its labels were compared with an exact run's on a pilot: "
        f"{pilot.sentence}. The pilot itself spent {pilot.rollouts:,} rollouts and "
        f"{pilot.tokens:,} tokens.",
    ]


def _limits(spec: Spec) -> str:
    """What this dataset is not, by the stages that made it."""
    verified = [text for stage, text in VERIFIERS.items() if stage in spec.stages]
    sampled = spec.configuration.get("stages", {}).get("sample", {})
    return "".join(
        [
            ESTIMATED if "label" in spec.stages else "",
            *(verified or [UNWRITTEN]),
            AGREED if {"rationalize", "judge"} & set(spec.stages) else "",
            "" if sampled.get("select") == "all" else BOTH_CLASSES,
            COMPARED,
        ]
    )


def _front_matter(view: View, rows: int) -> list[str]:
    steps = [(1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K")]
    size = next((name for most, name in steps if rows < most), "100K<n<1M")
    return [
        "---",
        "language:",
        "- en",
        "tags:",
        "- math",
        "- process-supervision",
        "- process-reward-model",
        "size_categories:",
        f"- {size if rows < 1_000_000 else 'n>1M'}",
        "configs:",
        f"- config_name: {view.name}",
        "  data_files:",
        "  - split: train",
        "    path: data/*.parquet",
        "---",
        "",
    ]


def _stage_rows(spec: Spec, success: Success) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    for stage in spec.stages:
        totals = success.totals[stage]
        tokens = totals.counts.get("tokens")
        lines.append(
            (
                stage,
                f"{totals.rows:,}",
                f"{sum(totals.drops.values()):,}",
                "" if tokens is None else f"{tokens:,}",
            )
        )
    return lines


def _filter_rows(success: Success) -> list[tuple[str, ...]]:
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
    lines: list[tuple[str, ...]] = []
    before = 0
    for name, rows in found:
        known = before and not (tree and name == names["label"])
        lines.append((name, f"{rows:,}", f"{rows / before:.1%}" if known else ""))
        before = rows
    return lines


def _readings(spec: Spec, success: Success) -> list[str]:
    """How much of what was written, in which attempt and form, is in the dataset."""
    if not {"rationalize", "export"} <= set(spec.stages):
        return []
    groups = kept_by_reading(success.totals["export"].counts)
    head = ("attempt", "reading", "rationales", "kept", "of those", "wrong steps of the kept")
    return [
        "## What was kept, by attempt and reading",
        "",
        "Strict: the rationale was written as it was asked for, to the letter. Forgiving: a "
        "heading, part or fence was spelt otherwise, something was cut off, or it was taken up "
        "again.",
        "",
        *(
            _table(head, [_reading_row(group) for group in groups])
            if groups
            else [f"{NOT_RECORDED.capitalize()}: the run was made before."]
        ),
        "",
    ]


def _reading_row(of: Kept) -> tuple[str, ...]:
    numbers = (f"{of.rationales:,}", f"{of.kept:,}")
    return (str(of.attempt), of.reading, *numbers, of.kept_share, of.wrong_share)


def _drop_rows(spec: Spec, success: Success) -> list[tuple[str, ...]]:
    return [
        (stage, reason, f"{count:,}")
        for stage in spec.stages
        for reason, count in sorted(success.totals[stage].drops.items())
    ]


def _count_rows(spec: Spec, success: Success) -> list[tuple[str, ...]]:
    return [
        (stage, name, f"{count:,}")
        for stage in spec.stages
        for name, count in sorted(success.totals[stage].counts.items())
        if not is_reading_count(name)
    ]


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """A Markdown table; a pipe in a cell would break it."""
    if not rows:
        return ["None."]
    lines = [head, tuple("---" for _ in head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
