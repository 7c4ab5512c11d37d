"""Draws public names of the product, with their docstrings, for a reader who lacks the code.

    python -m benchmarks.docstrings --seed 20261126 --count 10

Public is every class, function and method of the product whose dotted name has no part that begins
with an underscore. Names are sorted before the draw: a seed draws the same ones of the same code
everywhere. Somebody who did not write them then says what each does, and both are compared.
"""

from __future__ import annotations

import argparse
import ast
import random
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("storage", "actors", "workflows", "launch", "stepmill")
DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def public_names() -> dict[str, str | None]:
    """Dotted name -> docstring, None where there is none; sorted by name."""
    documented = {
        name: docstring
        for package in PACKAGES
        for file in (ROOT / package).rglob("*.py")
        for name, docstring in _names_of(file)
    }
    return dict(sorted(documented.items()))


def _names_of(file: Path) -> Iterator[tuple[str, str | None]]:
    parts = file.relative_to(ROOT).with_suffix("").parts
    module = ".".join(part for part in parts if part != "__init__")
    if not any(part.startswith("_") for part in module.split(".")):
        yield from _defined(ast.parse(file.read_text(encoding="utf-8")), module)


def _defined(node: ast.Module | ast.ClassDef, within: str) -> Iterator[tuple[str, str | None]]:
    for child in node.body:
        if isinstance(child, DEFINITIONS) and not child.name.startswith("_"):
            name = f"{within}.{child.name}"
            yield name, ast.get_docstring(child)
            if isinstance(child, ast.ClassDef):
                yield from _defined(child, name)


def drawn(names: Mapping[str, str | None], seed: int, count: int) -> dict[str, str | None]:
    """So many of the names, or all, in the order of the draw."""
    chosen = random.Random(seed).sample(list(names), min(count, len(names)))
    return {name: names[name] for name in chosen}


def main() -> int:
    """Print the draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=20261126)
    parser.add_argument("--count", type=int, default=10)
    arguments = parser.parse_args()
    names = public_names()
    without = sum(docstring is None for docstring in names.values())
    print(f"{len(names)} public names, {without} without a docstring; seed {arguments.seed}")
    for name, docstring in drawn(names, arguments.seed, arguments.count).items():
        text = docstring or "(no docstring)"
        print(f"\n{name}\n" + "\n".join(f"    {line}".rstrip() for line in text.splitlines()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
