"""The rows of every stage as a dataset of their own."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from storage.datasets.download import download
from storage.objects.memory import MemoryStore
from storage.rows import schemas
from storage.rows.kinds import ROAD, stage_rows
from storage.runs.run import Run
from tests.support.whole_run import finished
from workflows.views.catalogue import view_of


@pytest.fixture(scope="module")
def run() -> Run:
    return finished(MemoryStore())


@pytest.mark.parametrize("stage", ROAD)
def test_the_rows_of_a_stage_are_a_dataset_with_all_their_columns(
    stage: str, run: Run, tmp_path: Path
) -> None:
    download(run, tmp_path, view_of(stage, run))
    files = [pq.read_table(file) for file in sorted((tmp_path / "data").iterdir())]
    record = stage_rows(stage).record
    assert sum(file.num_rows for file in files) == run.totals(stage).rows
    assert {tuple(file.schema.names) for file in files} == {tuple(schemas.schema_of(record).names)}
