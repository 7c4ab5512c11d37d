"""examples/first_dataset.ipynb, cell by cell, on the demo's models."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import ROOT, environment
from tests.support.notebook import cells, compiled

NOTEBOOK = ROOT / "examples" / "first_dataset.ipynb"


def test_the_notebook_is_stored_without_results_and_its_cells_compile() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    for number, cell in enumerate(cells(NOTEBOOK)):
        compiled(cell, number)


@pytest.mark.engine
@pytest.mark.container
@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_notebook_leads_from_problems_to_a_download(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.notebook", str(NOTEBOOK)],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "first wrong step:" in done.stdout and "--- assistant\n<analyze>" in done.stdout
    assert (tmp_path / "dataset" / "README.md").is_file()
    (lines,) = (tmp_path / "steps" / "jsonl").glob("*.jsonl")
    assert len(lines.read_text().splitlines()) > 0
