"""What a demo run is worth: labels before and after consensus against the world's exact truth.

`python -m demo.truth RUN` prints the table and one example in full; with `--out FILE` it writes the
first error of every path, for `stepmill compare --truth FILE`.

Invariant: truth is computed from the texts of the stored paths by `demo.check`; nothing that a
model said enters it. Wrong steps are the class that is looked for: precision, recall and F1 are of
"this step is wrong". After the first wrong step every step counts as wrong, as in the labels.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import Path as File
from typing import Any

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from demo import check, world
from demo.problem import Problem
from storage.objects.opening import open_store
from storage.rows.kinds import GROUNDED, TREE, unfolding
from storage.rows.tree_chains import grounded_chains
from storage.runs.layout import DEFAULT_STORE
from storage.runs.run import Run
from storage.runs.scan import scan
from workflows.formats.steps import header, read
from workflows.labels.scores import Scores
from workflows.runs.reading import store_url


@dataclass(frozen=True, slots=True)
class Worth:
    """Scores of one run."""

    before: Scores
    after: Scores
    dropped: Scores
    """The labels of the paths that consensus threw away."""


def measure(run: Run) -> Worth:
    """Compare a run's labels with the truth.

    Where a road has no stage `label`, its labels are what the consensus read.
    """
    worth = Worth(Scores(), Scores(), Scores())
    truths = true_first_errors(run)
    kept = set(scan(run, "consensus").filter("kept").select("path_id").collect()["path_id"])
    stage = "label" if "label" in run.spec.stages else "consensus"
    labelled = scan(run, stage).select("path_id", "labels").collect()
    for path_id, labels in labelled.iter_rows():
        truth = truths[path_id]
        worth.before.add(labels, truth)
        (worth.after if path_id in kept else worth.dropped).add(labels, truth)
    return worth


def true_first_errors(run: Run) -> dict[str, int | None]:
    """path_id -> index of its first wrong step, for every path that may have labels.

    A tree's paths go from its root to its leaves; their steps are edges of one or more steps, or
    end inside of a step where tokens were halved. Where errors were put into solutions, the truth
    is about what was made of them.
    """
    kind = unfolding(run.spec.stages)
    if kind is GROUNDED:
        shards = range(run.spec.plan.shards)
        grown = [node for shard in shards for node in run.read_rows(GROUNDED, shard)]
        chains = grounded_chains(grown).items()
        return _found(
            (name, chain[0].problem_id, [node.step for node in chain]) for name, chain in chains
        )
    if kind is not None and kind is not TREE:
        rows = scan(run, kind.stage).select("path_id", "problem_id", "steps").collect().iter_rows()
        return _found(rows)
    if TREE.stage not in run.spec.stages:
        selected = scan(run, "sample").filter("selected")
        return _found(selected.select("path_id", "problem_id", "steps").collect().iter_rows())
    columns = ("node_id", "parent_id", "problem_id", "steps", "leaf")
    tree = scan(run, "search").select(columns).collect()
    by_tokens = run.spec.section("stages")["search"].get("halve") == "tokens"
    nodes = {node["node_id"]: node for node in tree.iter_rows(named=True)}
    found: dict[str, int | None] = {}
    for leaf in (node for node in nodes.values() if node["leaf"]):
        edges = [leaf["steps"]]
        above = leaf["parent_id"]
        while above is not None:
            edges.insert(0, nodes[above]["steps"])
            above = nodes[above]["parent_id"]
        problem = world.problem(leaf["problem_id"])
        if by_tokens:
            found[leaf["node_id"]] = _edge_by_tokens(problem, ["".join(edge) for edge in edges[1:]])
            continue
        edge_of = [place for place, edge in enumerate(edges[1:]) for _ in edge]  # the root has none
        steps = [step for edge in edges for step in edge]
        first = check.first_error(problem, steps)
        found[leaf["node_id"]] = None if first is None else edge_of[first]
    return found


def _found(rows: Iterable[Any]) -> dict[str, int | None]:
    return {
        path_id: check.first_error(world.problem(problem_id), steps)
        for path_id, problem_id, steps in rows
    }


def _edge_by_tokens(problem: Problem, edges: Sequence[str]) -> int | None:
    """The edge in which the first wrong step ends, of edges that may end inside of a step."""
    opened = header(1).rstrip()
    solution = read(opened + "".join(edges))
    first = check.first_error(problem, solution.steps)
    if first is None:
        return None
    ends = [*solution.starts[1:], len(opened) + sum(map(len, edges))]
    reached = accumulate(map(len, edges), initial=len(opened))
    written = len((opened + "".join(edges))[: ends[first]].rstrip())
    return next(place for place, end in enumerate(islice(reached, 1, None)) if end >= written)


def first_errors(run: Run) -> Iterator[dict[str, str | int]]:
    """The truth of every path, as `stepmill compare --truth` reads it; -1: no error."""
    for name, found in true_first_errors(run).items():
        yield {"run": run.name, "path_id": name, "first_error": -1 if found is None else found}


def first_example(run: Run) -> dict[str, Any] | None:
    """An example with a wrong step, the most instructive kind, or the first there is."""
    if "export" not in run.spec.stages:
        return None
    examples = scan(run, "export").select("path_id", "first_error", "conversations")
    wrong = examples.filter(pl.col("first_error").is_not_null())
    for asked in (wrong, examples):
        for found in asked.head(1).collect().to_dicts():
            return found
    return None


def show(run: Run, console: Console) -> None:
    """Print what the run got, what it is worth, and one example."""
    counts, drops = Counter[str](), Counter[str]()
    rows: dict[str, int] = {}
    for stage in run.spec.stages:
        totals = run.totals(stage)
        rows[stage] = totals.rows - totals.counts.get("dropped_texts", 0)
        counts.update({f"{stage}.{name}": n for name, n in totals.counts.items()})
        drops.update({f"{stage}: {reason}": n for reason, n in totals.drops.items()})
    worth = measure(run)
    made = Table(title="what the run made", title_justify="left", show_header=False)
    for name, value in (
        ("problems", rows["problems"]),
        ("sampled paths", rows["sample"]),
        ("selected paths", counts["sample.selected"]),
        ("rollouts", sum(counts[f"{stage}.rollouts"] for stage in run.spec.stages)),
        ("labelled paths", rows.get("label")),
        ("written rationales", rows.get("rationalize")),
        ("kept examples", rows.get("export")),
        *((f"dropped at {reason}", n) for reason, n in sorted(drops.items())),
    ):
        if value is not None:
            made.add_row(name, f"{value:,}")
    console.print(made)
    parts = (("all labels", worth.before), ("kept", worth.after), ("not kept", worth.dropped))
    console.print(_table(*parts))
    _show_example(first_example(run), console)


def _table(*rows: tuple[str, Scores]) -> Table:
    table = Table(title="labels against the truth (class: wrong step)", title_justify="left")
    for name in (
        "", "paths", "steps", "labelled wrong", "precision", "recall", "F1", "first error true",
        "all true",
    ):  # fmt: skip
        table.add_column(name, justify="right" if name else "left")
    for name, scores in rows:
        table.add_row(
            name,
            f"{scores.paths:,}",
            f"{scores.steps.total():,}",
            f"{scores.labelled_wrong:.3f}",
            f"{scores.precision:.3f}",
            f"{scores.recall:.3f}",
            f"{scores.f1:.3f}",
            f"{scores.first / max(1, scores.paths):.3f}",
            f"{scores.whole / max(1, scores.paths):.3f}",
        )
    return table


def _show_example(example: dict[str, Any] | None, console: Console) -> None:
    if example is None:
        console.print("no example was kept")
        return
    console.rule(f"one example: {example['path_id']}, first error {example['first_error']}")
    for turn in example["conversations"]:
        console.print(f"[bold]{turn['role']}[/bold]")
        console.print(escape(turn["content"]), highlight=False)
    console.rule()


def main(arguments: Iterable[str] | None = None) -> None:
    """Print the table of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--store", default=DEFAULT_STORE)
    parser.add_argument("--json", action="store_true", help="only the figures, as JSON")
    parser.add_argument("--out", type=File, help="write the truth of every path as JSON lines")
    chosen = parser.parse_args(None if arguments is None else list(arguments))
    run = Run.open(open_store(store_url(chosen.store)), chosen.run)
    if chosen.out:
        chosen.out.write_text("".join(json.dumps(row) + "\n" for row in first_errors(run)))
    elif chosen.json:
        worth = measure(run)
        figures = {
            name: {
                "precision": s.precision,
                "recall": s.recall,
                "f1": s.f1,
                "paths": s.paths,
                "labelled_wrong": s.labelled_wrong,
            }
            for name, s in (("all", worth.before), ("kept", worth.after))
        }
        Console().print_json(data=figures)
    else:
        show(run, Console())


if __name__ == "__main__":
    main()
