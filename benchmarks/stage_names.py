"""In how many modules is a stage named? A stage is described once, so that few need to know it.

    python -m benchmarks.stage_names

counts string literals of the product that are a stage's name. It leaves out docstrings, roles of
models and sources of consensus, whose names happen to be equal, and the stages whose names are
keys of configurations or names of prompts too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from storage.rows.kinds import OURS

ROOT = Path(__file__).parents[1]
PACKAGES = ("storage", "actors", "workflows", "launch")
MOST = 5
OTHER_NAMES = frozenset({"Role", "Kept", "ACTORS", "FORCED", "SOURCES", "NEEDS", "sources"})
"""What is assigned to these, or sought in them, are roles and sources."""
KEYS_TOO = frozenset({"problems", "refine", "solve"})
"""Stages that are not counted: nothing tells their names from keys of configurations, or from
those of prompts."""


def modules_by_stage() -> dict[str, list[str]]:
    """Stage -> the modules that name it."""
    modules: dict[str, list[str]] = {stage: [] for stage in OURS if stage not in KEYS_TOO}
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            for stage in set(literals(ast.parse(file.read_text()))) & modules.keys():
                modules[stage].append(str(file.relative_to(ROOT)))
    return modules


def literals(node: ast.AST) -> Iterator[str]:
    """The string literals below a node that may be names of stages."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            yield node.value
        return
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if isinstance(node, ast.keyword) and node.arg == "role":
        return
    if isinstance(node, ast.Compare) and _is_other(node.comparators[0]):
        return
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(map(_is_other, targets)):
            return
    for child in ast.iter_child_nodes(node):
        yield from literals(child)


def _is_other(node: ast.AST) -> bool:
    """Whether a name, or an attribute, is that of roles or sources."""
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name in OTHER_NAMES


def main() -> None:
    """Print the table."""
    by_stage = modules_by_stage()
    print("| stage | named in | modules |\n|---|---|---|")
    for stage, modules in sorted(by_stage.items(), key=lambda entry: -len(entry[1])):
        print(f"| {stage} | {len(modules)} | {', '.join(modules)} |")


if __name__ == "__main__":
    main()
