"""The strategies that `benchmarks.equal_cost` has no banks for, built whole with the demo's models.

Trees, rationales with code, a tool, meta-critiques, prefixes, repairs and chosen errors ask for
texts that follow from other texts. So each strategy's file is built as a run, with every seed, on
the first problems of `equal_cost`; `qwen_consensus` stands in both tables. Engines are opened once.
Columns are those of `benchmarks.equal_cost`:

    cost          of all stages behind `sample`, per solution that could be labelled
    f1, first     of all labels where a stage `label` made them; else of what was kept
    kept          share of the solutions that could be labelled

With every seed the policy writes other solutions, so that ± has their luck too. groundedprm's tool
user is a script, whose tokens are charged as the policy's. Nothing is charged for `fover`'s prover
and for the right solutions that `injected` is given. `int` labels wrong solutions only.

    python -m benchmarks.equal_cost_built [--problems 12] [--seeds 5] [--only NAME...] --out FOLDER
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path as File
from statistics import fmean

from benchmarks.equal_cost import parameters
from benchmarks.equal_cost_table import NAMES, Figures, Line, draw, over_seeds, shown
from benchmarks.label_report import keep
from demo import world
from demo.families import FAMILIES
from demo.problem import Problem
from demo.truth import measure, true_first_errors
from storage.rows.kinds import PATHS
from storage.runs.run import Run
from tests.support.demo_house import House, shortened
from workflows.builds.configuration import BuildConfig

STRATEGIES = (
    "genprm", "qwen_consensus", "thinkprm", "spark_meta_critique", "meta_verified", "omegaprm",
    "groundedprm", "fover", "int", "injected",
)  # fmt: skip
NO_MEANING = float("nan")


def problems_of(name: str, number: int) -> list[Problem]:
    """The problems that a strategy is for."""
    families = ("logic",) if name == "fover" else tuple(FAMILIES)
    return list(world.sample(number, 1, "heldout", families=families))


def cost_of(run: Run, config: BuildConfig) -> float:
    """Tokens times millions of parameters, of all stages behind `sample`."""
    cost = 0.0
    for stage in config.road:
        if stage.name == PATHS.stage or stage.role == "cpu":
            continue
        engine = config.engine(stage.role)
        if engine.kind == "vllm":
            tokens = run.totals(stage.name).counts.get("tokens", 0)
            cost += tokens * parameters(File(engine.model).name)
    return cost


def figures(run: Run, config: BuildConfig, size: int) -> Figures:
    """What one run of `size` solutions came to."""
    worth = measure(run)
    before = worth.before if "label" in run.spec.stages else worth.after
    return Figures(
        cost_of(run, config) / size, before.f1, before.first_accuracy, NO_MEANING,
        worth.after.paths / size, worth.after.f1, worth.after.first_accuracy, NO_MEANING,
        NO_MEANING,
    )  # fmt: skip


def main() -> None:
    """Build, print, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=STRATEGIES, default=STRATEGIES)
    parser.add_argument("--out", type=File, help="folder for equal_cost_built.json and its plot")
    chosen = parser.parse_args()
    print(f"{chosen.problems} problems; {chosen.seeds} seeds\n\n| strategy | size | "
          + " | ".join(NAMES) + " |\n" + "|---" * (2 + len(NAMES)) + "|", flush=True)  # fmt: skip
    house, lines = House(), list[Line]()
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.only:
            found, sizes = [], []
            for seed in range(chosen.seeds):
                config = shortened(
                    name, problems_of(name, chosen.problems), File(folder) / f"{name}-{seed}",
                    {"seed": seed},
                )  # fmt: skip
                run = house.build(config)
                sizes.append(len(true_first_errors(run)))
                found.append(figures(run, config, sizes[-1]))
            lines.append(over_seeds(name, f"{fmean(sizes):.0f} solutions", found))
            print(shown(lines[-1]), flush=True)
    house.close()
    if chosen.out:
        keep(lines, draw, chosen.out, "equal_cost_built")


if __name__ == "__main__":
    main()
