"""What errors known by construction teach: on them alone, on Monte Carlo alone, and on both.

    python -m benchmarks.injected [--reduced] [--kind discriminative|generative]

The Monte-Carlo run is the demo's. The injected run takes right solutions of the same problems (the
demo policy's own samples that the world's checker calls right in every step) and puts errors into
half of them, of kinds that the policy never makes (`configs/strategies/injected.yaml`). Three
models are trained with each seed: the same base, batch, solutions seen and updates. All judge the
policy's own solutions and, kind by kind, solutions with one such error, half of them right.

A kind of model that only reads needs no rationales: its runs have none. A run, a training and
rewards that are there are not made again; what was cut off goes on.

Invariant: every figure comes from stored rewards and the checker's truth. A claim that is not shown
is printed as such.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import pyarrow.parquet as pq
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks import loop
from benchmarks.loop import ROOT, Command
from benchmarks.verifier_kinds import Part, Variant, make, make_in_a_process
from benchmarks.verifier_measures import by_response, padded, spread
from demo import check, world
from storage.objects.opening import open_store
from storage.rows import schemas
from storage.rows.kinds import PATHS
from storage.rows.records import Path as SampledPath
from storage.rows.records import Response, Verification
from storage.runs.layout import DEFAULT_STORE
from storage.runs.run import Run
from workflows.evaluation.measures import processbench_measures
from workflows.inputs.responses import read_responses
from workflows.runs.reading import store_url
from workflows.settings.injecting import KINDS
from workflows.stages import STAGE_NAMES
from workflows.votes.rewards import THRESHOLD

PER_PROBLEM = 8
"""Right solutions of a problem at most: as many as the Monte-Carlo run has of both classes."""
POLICYS = "policy's own"
STRATEGY = ROOT / "configs" / "strategies" / "injected.yaml"
DEMO = ROOT / "configs" / "demo.yaml"
WRITTEN = ("rationalize",)
"""Stages that only a model which writes needs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Make what is missing, then print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.injected", description=__doc__)
    parser.add_argument("--reduced", action="store_true", help="fewer cases of each kind")
    parser.add_argument(
        "--kind", choices=("discriminative", "generative"), default="discriminative"
    )
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=float, default=5.0, help="over the Monte-Carlo run")
    parser.add_argument("--work", type=Path, default=Path(".stepmill/injected"))
    parser.add_argument("--store", default=DEFAULT_STORE)
    parser.add_argument("--problems", type=Path, default=Path(".stepmill/demo-problems.jsonl"))
    parser.add_argument("--part", nargs=2, metavar=("ARM", "SEED"), help="one, in this process")
    parser.add_argument("--only-table", action="store_true", help="from what is there")
    chosen = parser.parse_args(arguments)
    console, store, work = Console(), loop.absolute(chosen.store), chosen.work.resolve()
    arms = arms_of(chosen.kind)
    if chosen.part:
        arm = next(arm for arm in arms if arm.name == chosen.part[0])
        responses = [row for rows in cases(work).values() for row in rows]
        make(Part(arm, int(chosen.part[1]), work, store, chosen.epochs), responses)
        return 0
    parts = [
        Part(arm, seed, work, store, chosen.epochs)
        for seed in range(1, chosen.seeds + 1)
        for arm in arms
    ]
    if not chosen.only_table:
        prepare(work, store, chosen.problems.resolve(), chosen.kind, chosen.reduced, console)
        for part in parts:
            if not part.rows.exists():
                given = sys.argv[1:] if arguments is None else arguments
                make_in_a_process("benchmarks.injected", part, given, console)
    show([part for part in parts if part.rows.exists()], arms, work, console)
    return 0


def arms_of(kind: str) -> tuple[Variant, ...]:
    """What is compared: models of one kind, each from other runs."""
    rolled, injected = (f"{name}-{kind}" for name in ("rolled", "injected"))
    return tuple(
        Variant(f"{name}-{kind}", title, kind, {}, runs, (rolled,))
        for name, title, runs in (
            ("rolled", "Monte Carlo alone", (rolled,)),
            ("injected", "injected alone", (injected,)),
            ("both", "both", (rolled, injected)),
        )
    )


def prepare(
    work: Path, store: str, problems: Path, kind: str, reduced: bool, console: Console
) -> None:
    """Problems, benchmark, and the two runs. Raises SystemExit of the first that fails."""
    work.mkdir(parents=True, exist_ok=True)
    bench, of_policy = work / "benchmark", 32 if reduced else 64
    per_kind = "32" if reduced else "96"
    first = next(each for each in loop.commands(work, store, problems) if each.what == "problems")
    loop.run(first, console)
    loop.run(
        Command(
            "benchmark",
            ("python", "-m", "demo.benchmark", "--out", str(bench), "--per-kind", per_kind,
             "--per-subset", str(of_policy), "--bon-problems", "1"),
            bench / "problems.jsonl",
        ),
        console,
    )  # fmt: skip
    rolled, injected = (f"{name}-{kind}" for name in ("rolled", "injected"))
    built(DEMO, work / f"{rolled}.yaml", rolled, problems, store, kind, console)
    solutions = work / f"{kind}.jsonl"
    if not solutions.exists():
        write_right(Run.open(open_store(store_url(store)), rolled), solutions)
    built(STRATEGY, work / f"{injected}.yaml", injected, problems, store, kind, console, solutions)


def built(
    source: Path,
    file: Path,
    run: str,
    problems: Path,
    store: str,
    kind: str,
    console: Console,
    solutions: Path | None = None,
) -> None:
    """Build a shipped configuration, all of its problems, without what the kind doesn't need."""
    made = yaml.safe_load(source.read_text())
    made |= {"run": run, "problems": str(problems), "limit": None}
    stages = made["stages"]
    if solutions is not None:
        made["solutions"] = str(solutions)
        stages["inject"] |= {"trust": "labelled"}
    if kind == "discriminative":
        road = stages.get("road", list(STAGE_NAMES))
        stages["road"] = [stage for stage in road if stage not in WRITTEN]
        source_of = "labels" if solutions is None else "injected"
        stages["consensus"] = {"sources": [source_of]}
        made["models"].pop("rationale")
    for model in made["models"].values():
        model["model"] = str((source.parent / model["model"]).resolve())
    file.write_text(yaml.safe_dump(made))
    loop.run(Command(run, ("stepmill", "build", str(file), "--store", store)), console)


def write_right(run: Run, file: Path) -> None:
    """Write the run's own solutions that are right in every step, each text once, labelled so."""
    kept: dict[str, list[list[str]]] = defaultdict(list)
    for shard in range(run.spec.plan.shards):
        for path in run.read_rows(PATHS, shard):
            mine = kept[path.problem_id]
            fresh = path.valid and path.correct and path.steps not in mine
            if fresh and len(mine) < PER_PROBLEM and is_right(path):
                mine.append(path.steps)
    rows = ({"problem_id": name, "steps": steps, "label": -1}
            for name, found in kept.items() for steps in found)  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def is_right(path: SampledPath) -> bool:
    """Whether the world's checker calls every step right."""
    return check.first_error(world.problem(path.problem_id), path.steps) is None


def cases(work: Path) -> dict[str, list[Response]]:
    """Kind of error -> responses; the policy's own are one kind more."""
    bench = work / "benchmark"
    found = {POLICYS: list(read_responses(bench / "processbench"))}
    return found | {kind: list(read_responses(bench / "kinds" / f"{kind}.jsonl")) for kind in KINDS}


MEASURES = ("f1", "error_accuracy", "correct_accuracy")
"""Of ProcessBench, and what it is made of: first errors found, right solutions let pass."""


def by_kind(part: Part, measure: str = "f1") -> dict[str, float]:
    """Kind of error -> one of `MEASURES`, mean over subsets of cases, half of which are right."""
    rows = schemas.from_table(Verification, pq.read_table(part.rows))
    said = by_response(rows)
    found = {}
    for kind, responses in cases(part.work).items():
        measures = processbench_measures(
            part.name, responses, padded(said, responses, 1), 1, THRESHOLD
        )
        found[kind] = fmean(
            each.value for each in measures if each.measure == measure and each.subset
        )
    return found


def show(parts: Sequence[Part], arms: Sequence[Variant], work: Path, console: Console) -> None:
    """Print the table and what is shown; write the figures."""
    figures = [
        {"arm": part.variant.name, "seed": part.seed}
        | {measure: by_kind(part, measure) for measure in MEASURES}
        | json.loads((part.folder / "times.json").read_text())
        for part in parts
    ]
    (work / "injected.json").write_text(json.dumps(figures, indent=1))
    of_arm: Mapping[str, list[dict[str, float]]] = {
        arm.name: [each["f1"] for each in figures if each["arm"] == arm.name] for arm in arms
    }
    injected = set(yaml.safe_load(STRATEGY.read_text())["stages"]["inject"]["kinds"])
    table = Table(title="F1 by kind of error, percent: mean ± standard deviation over seeds")
    table.add_column("error")
    for arm in arms:
        table.add_column(arm.title, justify="right", no_wrap=True)
    for kind in (POLICYS, *KINDS):
        cells = []
        for arm in arms:
            mean, wide = spread([100 * row[kind] for row in of_arm[arm.name]] or [0.0])
            cells.append(f"{mean:.1f} ± {wide:.1f}" if of_arm[arm.name] else "")
        table.add_row(f"{kind} (injected)" if kind in injected else kind, *cells)
    console.print(table)
    console.print(f"{len(parts)} trainings; written: {work}/injected.json", highlight=False)
    if not all(of_arm.values()):
        return
    for arm in arms:
        found, passed = (
            fmean(100 * value for each in figures if each["arm"] == arm.name
                  for value in each[measure].values())
            for measure in MEASURES[1:]
        )  # fmt: skip
        console.print(f"{arm.title}: {found:.1f} % of first errors found, {passed:.1f} % of right "
                      "solutions let pass, mean over kinds")  # fmt: skip
    rolled, alone, both = (of_arm[arm.name] for arm in arms)
    for what, kinds, better in (
        ("injected kinds: injected alone above Monte Carlo", injected, alone),
        ("injected kinds: both above Monte Carlo", injected, both),
        ("the policy's own: both not below Monte Carlo", {POLICYS}, both),
    ):
        means = [spread([100 * row[kind] for row in rows for kind in kinds])[0]
                 for rows in (better, rolled)]  # fmt: skip
        verdict = "shown" if means[0] >= means[1] else "NOT SHOWN"
        console.print(f"{what}: {means[0]:.1f}, {means[1]:.1f}: {verdict}")


if __name__ == "__main__":
    raise SystemExit(main())
