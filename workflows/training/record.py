"""What goes with a trained model: its card, and its learning curve as numbers and as a picture.

    README.md                 what it was trained on, how, and what came out
    training/curve.parquet    per update: loss, rate, norm of the gradient, held-out figures
    training/curve.png

Invariant: every figure is taken from what the training noted; nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage.plain_text import cell, in_markdown
from storage.rows.parquet import write_parquet
from storage.trainings.training import TrainingSpec
from workflows.training.mixture import CONTAMINATED, HELD_OUT_TOO, REPEATED
from workflows.training.settings import TrainConfig

COLUMNS = {
    "step": pa.int64(),
    "loss": pa.float64(),
    "learning_rate": pa.float64(),
    "grad_norm": pa.float64(),
    "held_out_loss": pa.float64(),
    "held_out_step_accuracy": pa.float64(),
    "held_out_wrong_step_accuracy": pa.float64(),
}
Point = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Dressing:
    """Adds card and curve to a model's folder; sent to the worker that writes it."""

    config: TrainConfig
    spec: TrainingSpec

    def __call__(self, folder: Path, notes: Mapping[str, Any]) -> None:
        """Write the files."""
        (folder / "README.md").write_text(card(self.config, self.spec, notes), encoding="utf-8")
        (folder / "training").mkdir()
        (folder / "training" / "curve.parquet").write_bytes(write_parquet(table(notes["curve"])))
        draw(notes["curve"], self.config.training, folder / "training" / "curve.png")


def table(curve: Sequence[Point]) -> pa.Table:
    """The curve, one row per update; held-out columns are empty where nobody looked."""
    rows: dict[int, dict[str, float]] = {}
    for entry in curve:
        row = rows.setdefault(int(entry["step"]), {})
        row.update({name.replace("eval_", "held_out_"): entry[name] for name in entry})
    ordered = [rows[step] for step in sorted(rows)]
    columns = {
        name: pa.array([row.get(name) for row in ordered], type=kind)
        for name, kind in COLUMNS.items()
    }
    return pa.table(columns)


def draw(curve: Sequence[Point], title: str, path: Path) -> None:
    """Write `path`, a plot: losses of training and held-out conversations, and step accuracy."""
    from matplotlib.figure import Figure  # takes a second to import

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, label in (("loss", "training"), ("eval_loss", "held out")):
        points = [(entry["step"], entry[name]) for entry in curve if name in entry]
        if points:
            left.plot(*zip(*points, strict=True), label=label)
    left.set(
        xlabel="update", ylabel="nats per learnt token, step or solution", title=title, yscale="log"
    )
    left.legend()
    for name, label in (
        ("eval_step_accuracy", "all steps"),
        ("eval_wrong_step_accuracy", "wrong steps"),
    ):
        points = [(entry["step"], entry[name]) for entry in curve if name in entry]
        if points:
            right.plot(*zip(*points, strict=True), marker="o", label=label)
            right.legend(loc="lower right")
    right.set(xlabel="update", ylabel="share of verdicts that are right", title="held out")
    right.set_ylim(0, 1.02)
    figure.savefig(path, dpi=110)


def last_held_out(curve: Sequence[Point]) -> Point:
    """The last look at the held-out conversations; empty where there was none."""
    found = [entry for entry in curve if "eval_loss" in entry]
    return found[-1] if found else {}


def lost_steps(counts: Mapping[str, int]) -> str:
    """What conversations that were too long lost, for people; of earlier versions less is known."""
    said = f"{counts.get('cut', 0):,} cut at a step ({counts.get('turns_cut_off', 0):,} steps lost"
    if "wrong_steps_cut_off" in counts:
        said += (
            f", {counts['wrong_steps_cut_off']:,} wrong ones; "
            f"{counts['first_errors_cut_off']:,} without their first wrong step"
        )
    if shortened := counts.get("turns_shortened", 0):
        said += f"; {shortened:,} shortened to a verdict for it"
    return said + ")"


def in_common(counts: Mapping[str, int]) -> str:
    """What several runs had in common, for people."""

    def said(name: str, words: str) -> str:
        dropped = counts.get(f"dropped_{name}", 0)
        kept = counts.get(name, 0)
        return f"{dropped + kept:,} {words}" + (" (kept)" if kept else "")

    return (
        f"{said(REPEATED, 'conversations on solutions of an earlier run')}, "
        f"{said(CONTAMINATED, 'that share 13 words with a problem held out by another run')}, "
        f"{counts.get(HELD_OUT_TOO, 0):,} held out with another run's"
    )


def card(config: TrainConfig, spec: TrainingSpec, notes: Mapping[str, Any]) -> str:
    """The model's README."""
    learning, counts = config.learning, notes["counts"]
    found = last_held_out(notes["curve"])
    dropped = {name: counts[name] for name in counts if name.startswith("dropped_")}
    figures = (
        f"| held-out loss | {found['eval_loss']:.4f} |\n"
        f"| held-out step accuracy | {found['eval_step_accuracy']:.4f} |\n"
        f"| the same, steps labelled wrong | {found['eval_wrong_step_accuracy']:.4f} |\n"
        if found
        else "| held-out loss | nothing was held out |\n"
    )
    source = f"run `{spec.run}`" if spec.run else f"file {cell(in_markdown(str(config.dataset)))}"
    common = ""
    if spec.runs:
        source = "runs " + ", ".join(f"`{run}` ({digest[:16]})" for run, digest in spec.runs)
        common = f"| between runs | {in_common(counts)} |\n"
    form, learnt, told = _of_its_kind(config)
    return f"""\
---
tags: [process-reward-model, {"genprm, " if not config.reward.reads else ""}stepmill]
---
# {config.training}

A verifier of mathematical solutions, step by step, {form},
trained with Stepmill.

| what | value |
|---|---|
| base model | {cell(in_markdown(spec.base))} |
| dataset | {source}, view `{config.shape}`, digest {spec.dataset[:16]} |
| conversations | {counts["read"]:,} read, {lost_steps(counts)}, \
{sum(dropped.values()):,} dropped |
{common}| held out | {counts["problems_held_out"]:,} problems |
| learnt | {learnt} |
| updates | {notes["updates"]:,} of {learning.batch} conversations, {learning.epochs:g} epochs |
| rate | {learning.rate:g}, {learning.schedule}, warm-up {learning.warm_up:g} |
| precision | {learning.precision} over float32 weights; seed {learning.seed} |
{figures}
{told}

`training/curve.parquet` and `training/curve.png` hold the learning curve. To score solutions:
`stepmill score FOLDER FILE`.
"""


def _of_its_kind(config: TrainConfig) -> tuple[str, str, str]:
    """What a card says of the model's form, of what it learnt, and of its step accuracy."""
    if not config.reward.reads:
        output = "learnt too" if config.data.train_on_code_output else "not learnt"
        return (
            "in the format of GenPRM (arXiv 2504.00891)",
            f"the assistant's turns; `[Code Output]` {output}",
            "Step accuracy is teacher-forced: each verdict is judged after the true text before "
            "it, so it says\nthat the verdict follows from the analysis, not that the analysis is "
            "right.",
        )
    separator = repr(config.head.separator)
    where = f"at the last token of each step, which is followed by {separator}"
    if config.kind == "implicit":
        return (
            "by its log-ratio to the base (ImplicitPRM, arXiv 2412.01981)",
            f"the solution's outcome, by {config.head.beta:g} times the summed log-ratio",
            "A step's log-odds are that factor times the log-ratio of its tokens.",
        )
    targets = f"{config.head.targets} labels" if config.kind == "discriminative" else "a number"
    if config.kind == "orm":
        targets, where = "the solution's outcome", "at its last token"
    return (
        f"which reads P(right) {where}",
        f"{targets} {where} (kind `{config.kind}`)",
        "Step accuracy is over the steps that are learnt, against their labels.",
    )
