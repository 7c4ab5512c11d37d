"""The paper's Tables 2 and 3 and Figures 3 and 4, in small, on the demo world.

    python -m benchmarks.ablations

Each file of `configs/ablations/` says what differs from the demo: settings of stages, the view that
is trained on, or the verifier's mode. Other settings derive the dataset from the demo's finished
run, by relabelling, without spending a token. Each ablation is derived, trained and evaluated by
the commands that a person would run. Results that exist are not made again. Ablations with the same
dataset and view share the model; results of `make loop` are used. Figures 3 and 4 are the loop's
best of N and its refinement.

Invariant: the tables hold what `evaluate` measured, beside the paper's figure for the same row.
That is of other models and another benchmark, and serves only to compare the order of the rows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks import loop
from storage.runs.layout import DEFAULT_STORE

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "configs" / "ablations"
DEMO, TRAINING = ROOT / "configs" / "demo.yaml", ROOT / "configs" / "train_demo.yaml"
PAPER: Mapping[str, tuple[float | None, float | None]] = {
    "hard": (73.2, 78.5),
    "difference_0.1": (74.1, 79.4),
    "difference_0.3": (74.1, 80.2),
    "difference_0.5": (74.3, 79.1),
    "ratio_0.1": (73.5, 78.7),
    "ratio_0.5": (73.5, 78.9),
    "ratio_0.8": (75.2, 80.5),
    "ratio_1.0": (72.3, 79.0),
    "none": (None, 60.0),
    "code": (None, 69.6),
    "cot": (None, 78.8),
    "both": (None, 80.5),
    "both_cot_at_inference": (None, 79.3),
    "both_not_run": (None, 79.9),
}
"""GenPRM-7B: Pass@1 and Maj@8, average F1 on ProcessBench (Tables 2 and 3)."""
BEFORE = ("problems", "dataset", "benchmark")
"""Of the loop: what every ablation starts from."""
PARTS = ("SFT of the GenPRM", "SFT of the direct verifier", "best of 8", "refinement")
"""Of the loop: what Figures 3 and 4 are drawn from."""
TITLES = {"labels": "Table 2 in small: labels", "components": "Table 3 in small: components"}


@dataclass(frozen=True)
class Ablation:
    """One row of a table."""

    name: str
    table: str
    title: str
    stages: Mapping[str, Any] = field(default_factory=dict)
    view: str = "genprm"
    mode: str = "full"

    @property
    def run(self) -> str:
        """The run whose dataset is trained on: the demo's own where no stage differs."""
        return f"ablation-{self.name}" if self.stages else "demo"

    @property
    def model(self) -> str:
        """Folder of the model; shared by ablations, and with the loop, that train on the same."""
        return f"{self.run}-{self.view}" if self.stages else self.view


def ablations(only: Sequence[str] = ()) -> list[Ablation]:
    """All ablations, or those named, in the order of the tables. Raises SystemExit for a name."""
    by_name = {file.stem: Ablation(file.stem, **yaml.safe_load(file.read_text()))
             for file in sorted(FOLDER.glob("*.yaml"))}  # fmt: skip
    order = [name for name in (*PAPER, *by_name) if name in by_name]
    unknown = [name for name in only if name not in by_name]
    if unknown:
        raise SystemExit(f"no ablation {unknown[0]!r}; there are {', '.join(by_name)}")
    return [by_name[name] for name in dict.fromkeys(order) if not only or name in only]


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the leaves of `change` in their places."""
    result = dict(base)
    for key, value in change.items():
        inner = result.get(key)
        both = isinstance(value, Mapping) and isinstance(inner, Mapping)
        result[key] = merged(inner, value) if both else value  # type: ignore[arg-type]
    return result


def build_file(ablation: Ablation, work: Path) -> Path:
    """The demo's configuration with the ablation's settings, paths made absolute."""
    raw = merged(yaml.safe_load(DEMO.read_text()), {"stages": ablation.stages})
    for engine in raw["models"].values():
        engine["model"] = str((DEMO.parent / engine["model"]).resolve())
    raw["problems"] = str((DEMO.parent / raw["problems"]).resolve())
    return _written(raw, work / f"{ablation.name}.build.yaml")


def _written(raw: Mapping[str, Any], file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(dict(raw), sort_keys=False), encoding="utf-8")
    return file


def commands(
    ablation: Ablation, work: Path, made: Path, store: str, n: int
) -> Iterator[loop.Command]:
    """Derive, train, evaluate; `made`: what the loop left."""
    keep = ("--store", store)
    if ablation.stages:
        config = str(build_file(ablation, work))
        yield loop.Command(
            f"{ablation.title}: dataset",
            ("stepmill", "build", config, "--run", ablation.run, "--from", loop.DATASET, *keep),
        )
    model = made / ablation.model
    if not model.is_dir():
        model = work / "models" / ablation.model
        yield loop.Command(
            f"{ablation.title}: SFT",
            ("stepmill", "train", str(TRAINING), "--run", ablation.run, "--view", ablation.view,
             "--name", f"{ablation.run}-{ablation.view}", "--out", str(model), *keep),
        )  # fmt: skip
    yield loop.Command(
        f"{ablation.title}: evaluation",
        ("stepmill", "evaluate", str(model), str(made / "benchmark" / "processbench"),
         "--suite", "processbench", "--n", str(n), "--mode", ablation.mode,
         "--out", str(work / ablation.name), *keep),
    )  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """One ablation's average F1 over the subsets, in percent."""

    name: str
    table: str
    title: str
    k: int
    """Histories: 1 is Pass@1, more are Maj@k."""
    f1: float
    spread: float
    """Standard deviation over other benchmarks of this size."""
    paper: float | None


def figures(found: Sequence[Ablation], work: Path, n: int) -> list[Figure]:
    """What `evaluate` wrote for each ablation that was measured: Pass@1 and Maj@n."""
    result = []
    for ablation in found:
        file = work / ablation.name / "measures.json"
        if not file.exists():
            continue
        over_all = {
            (row["measure"], row["k"]): 100 * row["value"]
            for row in json.loads(file.read_text())["measures"]
            if row["subset"] == ""
        }
        for k, paper in zip((1, n), PAPER.get(ablation.name, (None, None)), strict=True):
            result.append(
                Figure(ablation.name, ablation.table, ablation.title, k, over_all["f1", k],
                       over_all["f1_spread", k], paper)
            )  # fmt: skip
    return result


def table_of(rows: Sequence[Figure], n: int) -> Table:
    """One of the tables."""
    table = Table(title=TITLES[rows[0].table], title_justify="left")
    for column in ("", "Pass@1", f"Maj@{n}", "paper: Pass@1", "paper: Maj@8"):
        table.add_column(column, justify="right" if column else "left")
    for first, many in zip(rows[::2], rows[1::2], strict=True):
        table.add_row(
            first.title,
            *(f"{row.f1:.1f} ± {row.spread:.1f}" for row in (first, many)),
            *("-" if row.paper is None else f"{row.paper:.1f}" for row in (first, many)),
        )
    return table


def draw(found: Sequence[Figure], work: Path, made: Path) -> list[Path]:
    """The tables as bars; Figures 3 and 4 where the loop has left the numbers for them."""
    from matplotlib import figure as plots  # takes a second to import

    written: list[Path] = []

    def save(figure: Any, name: str) -> None:
        figure.savefig(work / name, dpi=110)
        written.append(work / name)

    for kind in TITLES:
        rows = [row for row in found if row.table == kind]
        if rows:
            titles = list(dict.fromkeys(row.title for row in rows))
            figure = plots.Figure(figsize=(7, 0.45 * len(titles) + 1.4), layout="constrained")
            axes = figure.subplots()
            for shift, k in zip((0.2, -0.2), sorted({row.k for row in rows}), strict=True):
                some = [row for row in rows if row.k == k]
                axes.barh(
                    [len(titles) - titles.index(row.title) + shift for row in some],
                    [row.f1 for row in some], 0.38, xerr=[row.spread for row in some],
                    label="Pass@1" if k == 1 else f"Maj@{k}", error_kw={"lw": 1},
                )  # fmt: skip
            axes.set_yticks([len(titles) - at for at in range(len(titles))], titles)
            axes.set(xlabel="F1, average over subsets", title=TITLES[kind])
            figure.legend(loc="outside lower right", ncols=2)
            save(figure, f"{kind}.png")
    bon, turns = made / "bon" / "measures.json", made / "refinement" / "turns.json"
    if bon.exists():
        figure = plots.Figure(figsize=(6, 4), layout="constrained")
        axes = figure.subplots()
        measures = json.loads(bon.read_text())["measures"]
        for name in ("argmax_min", "vote_min", "majority", "pass_at_n"):
            points = sorted(
                (measure["k"], 100 * measure["value"]) for measure in measures
                if (measure["verifier"], measure["measure"]) == ("verifier", name)
            )  # fmt: skip
            axes.plot(*zip(*points, strict=True), marker="o", label=name.replace("_", " "))
        axes.set(xlabel="N", ylabel="right answers, percent", title="Figure 3 in small: best of N")
        axes.set_xscale("log", base=2)
        counts = sorted({measure["k"] for measure in measures if measure["measure"] == "pass_at_n"})
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.legend()
        save(figure, "figure3_best_of_n.png")
    if turns.exists():
        figure = plots.Figure(figsize=(5, 4), layout="constrained")
        axes = figure.subplots()
        rows_of = json.loads(turns.read_text())
        axes.plot([row["turn"] for row in rows_of], [100 * row["accuracy"] for row in rows_of],
                  marker="o")  # fmt: skip
        axes.set_xticks([row["turn"] for row in rows_of])
        axes.set(xlabel="turn", ylabel="right answers, percent", title="Figure 4 in small: turns")
        save(figure, "figure4_refinement.png")
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """Rerun the ablations and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablations", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="names of configs/ablations")
    parser.add_argument("--work", type=Path, default=Path(".stepmill/ablations"))
    parser.add_argument("--loop", type=Path, default=Path(".stepmill/loop"), help="of `make loop`")
    parser.add_argument("--store", default=DEFAULT_STORE)
    parser.add_argument("--problems", type=Path, default=Path(".stepmill/demo-problems.jsonl"))
    parser.add_argument("--n", type=int, default=4, help="histories of Maj@N")
    parser.add_argument("--only-tables", action="store_true", help="from what is there")
    chosen = parser.parse_args(arguments)
    work, loop_folder, console = chosen.work.resolve(), chosen.loop.resolve(), Console()
    chosen_ablations, store = ablations(chosen.only), loop.absolute(chosen.store)
    seconds: dict[str, float] = {}

    def run(several: Iterable[loop.Command]) -> None:
        for command in several:
            seconds[command.what] = loop.run(command, console)

    if not chosen.only_tables:
        parts = {
            ablation.what: ablation
            for ablation in loop.commands(loop_folder, store, chosen.problems.resolve())
        }
        run(parts[what] for what in BEFORE)
        if not chosen.only:
            run(parts[what] for what in PARTS)
        for ablation in chosen_ablations:
            run(commands(ablation, work, loop_folder, store, chosen.n))
    measured = figures(chosen_ablations, work, chosen.n)
    for kind in TITLES:
        if rows := [row for row in measured if row.table == kind]:
            console.print(table_of(rows, chosen.n))
    if measured:
        pq.write_table(pa.Table.from_pylist([asdict(row) for row in measured]), work / "f1.parquet")
    for file in draw(measured, work, loop_folder):
        console.print(f"written: {file}", highlight=False)
    for what, took in seconds.items():
        console.print(f"{what}: {took:.0f} s", highlight=False)
    if seconds:
        console.print(f"all: {sum(seconds.values()) / 60:.1f} minutes", highlight=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
