"""Runs the cells of a notebook in one process, beside a running loop, as a notebook's kernel does.

python -m tests.support.notebook FILE
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import sys
from pathlib import Path
from types import CodeType
from typing import Any


def cells(file: Path) -> list[str]:
    """The code of a notebook, cell by cell."""
    notebook = json.loads(file.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def compiled(code: str, number: int) -> CodeType:
    """A cell, in which `await` may stand anywhere."""
    return compile(code, f"cell {number}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


async def run(file: Path) -> None:
    """Run every cell in its order."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, code in enumerate(cells(file)):
        waits = eval(compiled(code, number), names)
        if inspect.isawaitable(waits):
            await waits


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1])))
