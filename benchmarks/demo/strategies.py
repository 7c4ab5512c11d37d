"""Every strategy as a user builds it: `stepmill build` of its file on the demo world, and a check.

    python -m benchmarks.strategies [NAME...] [--store URL] [--limit N]

Each file of `configs/strategies/` is built through Ray with the demo's models and the sandbox. Its
run is audited, and the strategy's views are downloaded and loaded in `datasets`. Then a few runs
are compared. The table says what each took, kept and dropped, and how its labels compare with the
world's truth. Existing runs are not built again.

Invariant: the script uses only commands that a person would run. A failed command, a finding of the
audit or an empty view is listed at the end, with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from demo.truth import measure
from storage.objects.opening import open_store
from storage.runs.run import Run
from workflows.runs.reading import store_url

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "configs" / "strategies"
WORLDS: Mapping[str, tuple[str, ...]] = {
    "demo-problems.jsonl": ("--problems", "96", "--seed", "1"),
    "demo-logic.jsonl": ("--problems", "96", "--seed", "1", "--family", "logic"),
}
"""The files of problems that the strategies name, and what makes them."""
SPOKEN = ("genprm", "cot", "direct", "discriminative")
VIEWS: Mapping[str, tuple[str, ...]] = {
    "genprm": (*SPOKEN, "code", "orm", "counts", "pairs"),
    "qwen_consensus": (*SPOKEN, "counts"),
    "thinkprm": (*SPOKEN, "verifications"),
    "groundedprm": (*SPOKEN, "code"),
    "injected": (*SPOKEN, "code"),
    "fover": ("genprm", "last_step_balanced"),
    "int": ("intervention",),
    "math_shepherd_hard": ("genprm", "discriminative", "counts"),
    "math_shepherd_soft": ("genprm", "discriminative", "counts"),
    "scan": ("genprm", "discriminative", "counts"),
    "pav": ("genprm", "discriminative", "counts"),
    "omegaprm_binary": ("genprm", "discriminative", "counts"),
    "omegaprm": ("genprm", "discriminative"),
}
"""What a strategy's data is trained on; `SPOKEN` for those that are not named."""
COMPARED = ("genprm", "qwen_consensus", "thinkprm", "math_shepherd_hard")
"""Runs that label the same sampled solutions."""


@dataclass
class Built:
    """What one strategy came to."""

    name: str
    minutes: float = 0.0
    """Of this call's build; 0 where there was none to do."""
    paths: int = 0
    """Selected solutions."""
    kept: int = 0
    """Examples, or interventions."""
    tokens: int = 0
    drops: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    """View -> rows."""
    kept_f1: float = 0.0
    """F1 of "this step is wrong" of what was kept, against the truth."""
    kept_precision: float = 0.0
    kept_recall: float = 0.0
    troubles: list[str] = field(default_factory=list)


def stepmill(*arguments: str) -> subprocess.CompletedProcess[str]:
    """One command as a person runs it; what it says on standard error is shown."""
    program = str(Path(sys.executable).parent / "stepmill")
    return subprocess.run(
        [program, *arguments], cwd=ROOT, check=False, text=True, stdout=subprocess.PIPE
    )


def write_worlds(folder: Path) -> None:
    """The problems, where they are missing."""
    for name, how in WORLDS.items():
        if not (folder / name).exists():
            command = [sys.executable, "-m", "demo.world", "--out", str(folder / name), *how]
            subprocess.run(command, cwd=ROOT, check=True)


def checked(name: str, store: str, work: Path, limit: int | None) -> Built:
    """Build, audit and download one strategy."""
    file = FOLDER / f"{name}.yaml"
    run = yaml.safe_load(file.read_text())["run"]
    built = Built(name)
    keep = ("--store", store)
    started = time.monotonic()
    shorter = ("--limit", str(limit)) if limit else ()
    if stepmill("build", str(file), *keep, *shorter).returncode:
        built.troubles.append("build failed")
        return built
    built.minutes = (time.monotonic() - started) / 60
    if (ended := stepmill("audit", run, *keep)).returncode:
        built.troubles.append(f"audit: {ended.stdout.strip()}")
    for view in VIEWS.get(name, SPOKEN):
        folder = work / name / view
        ended = stepmill("download", run, str(folder), "--view", view, *keep)
        built.rows[view] = 0 if ended.returncode else loaded_rows(folder)
        if not built.rows[view]:
            built.troubles.append(f"view {view} is empty")
    described(built, json.loads(stepmill("status", run, "--json", *keep).stdout), store, run)
    return built


def loaded_rows(folder: Path) -> int:
    """Rows of a download, as `datasets` reads them."""
    from datasets import load_dataset

    files = [str(file) for file in sorted(folder.glob("data/*.parquet"))]
    cache = str(folder.parent / "cache")
    return len(load_dataset("parquet", data_files=files, split="train", cache_dir=cache))


def described(built: Built, status: Mapping[str, Any], store: str, name: str) -> None:
    """What `status` and the truth say of a run."""
    stages = {stage["stage"]: stage for stage in status["stages"]}
    drops: Counter[str] = Counter()
    for stage in stages.values():
        drops.update(stage["drops"])
        built.tokens += stage["counts"].get("tokens", 0)
    built.drops = dict(drops.most_common())
    built.paths = stages["sample"]["counts"]["selected"]
    built.kept = next(stages[s]["rows"] for s in ("export", "retry") if s in stages)
    if "retry" in stages:
        built.kept = built.rows["intervention"]
    after = measure(Run.open(open_store(store_url(store)), name)).after
    built.kept_f1, built.kept_precision, built.kept_recall = after.f1, after.precision, after.recall


def table_of(found: Sequence[Built]) -> Table:
    """All strategies, one line each."""
    table = Table(title="strategies on the demo world", title_justify="left")
    for column in ("", "minutes", "solutions", "kept", "tokens", "F1", "dropped"):
        table.add_column(column, justify="left" if column in ("", "dropped") else "right")
    for each in found:
        table.add_row(
            each.name, f"{each.minutes:.1f}", f"{each.paths:,}", f"{each.kept:,}",
            f"{each.tokens:,}", f"{each.kept_f1:.3f}",
            ", ".join(f"{reason} {n:,}" for reason, n in each.drops.items()),
        )  # fmt: skip
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Build and check the strategies that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strategies", description=__doc__)
    names = sorted(file.stem for file in FOLDER.glob("*.yaml"))
    parser.add_argument("names", nargs="*", metavar="NAME", help="files of configs/strategies")
    parser.add_argument("--store", default="file:.stepmill/strategies/store")
    parser.add_argument("--work", type=Path, default=Path(".stepmill/strategies"))
    parser.add_argument("--limit", type=int, default=None, help="only so many problems")
    chosen = parser.parse_args(arguments)
    if unknown := sorted(set(chosen.names) - set(names)):
        parser.error(f"no strategy {unknown[0]!r}; there are {', '.join(names)}")
    strategies = [name for name in names if not chosen.names or name in chosen.names]
    console, work = Console(), chosen.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    write_worlds(ROOT / ".stepmill")
    built = []
    for name in strategies:
        console.rule(name)
        built.append(checked(name, chosen.store, work, chosen.limit))
        console.print_json(data=asdict(built[-1]))
        (work / "strategies.json").write_text(
            json.dumps([asdict(each) for each in built], indent=1)
        )
    console.print(table_of(built))
    runs = [name.replace("_", "-") for name in COMPARED if name in strategies]
    if len(runs) > 1:
        ended = stepmill("compare", *runs, "--store", chosen.store)
        console.print(ended.stdout, highlight=False)
        if ended.returncode:
            built[0].troubles.append("compare failed")
    for each in built:
        for trouble in each.troubles:
            console.print(f"[red]{each.name}: {trouble}[/red]")
    return int(any(each.troubles for each in built))


if __name__ == "__main__":
    raise SystemExit(main())
