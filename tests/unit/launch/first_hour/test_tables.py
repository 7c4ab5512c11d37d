"""Every table can be read on a terminal of ASCII alone, and on one of 40 columns."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console, RenderableType

from launch.shown.figures import table_of
from launch.shown.tables import Sheet
from launch.verbs.looking import doctor
from launch.verbs.looking.stages import listed, stages_table
from launch.verbs.runs.compare import comparison_table
from launch.verbs.runs.status import status_tables
from storage.objects.memory import MemoryStore
from tests.support.whole_run import finished
from workflows.evaluation.comparison import compare, read_labels
from workflows.evaluation.measures import Measure
from workflows.runs.checks import Finding
from workflows.runs.status import run_status
from workflows.stages import all_stages

REMEDY = "join a cluster with --address, or set `kind: endpoint` and the `url` of a server"
FINDINGS = (
    Finding("models.completer", False, "no answer [Connect call failed ('127.0.0.1', 9)]", REMEDY),
    Finding("disk", True, "56 GiB free for temporary files"),
)
MEASURES = [
    Measure("verifier", subset, measure, k, 0.5, 9, 0.5)
    for subset in ("gsm8k", "math", "olympiadbench", "omnimath", "")
    for measure in ("f1", "error_accuracy", "correct_accuracy")
    for k in (1, 8)
]


def status() -> RenderableType:
    return status_tables(run_status(finished(MemoryStore())))


def comparison() -> RenderableType:
    runs = [finished(MemoryStore(), name) for name in ("first-try-of-may", "second-try-of-may")]
    return comparison_table(compare([read_labels(run) for run in runs], None), False)


TABLES: dict[str, tuple[Callable[[], RenderableType], tuple[str, ...]]] = {
    "status": (status, ("rationalize", "no_correct_path", "label_mismatch 3", "336")),
    "compare": (comparison, ("first-try-of-may", "second-try-of-may", "tokens of all stages")),
    "doctor": (lambda: doctor.table_of(FINDINGS), ("models.completer", "[Connect", "--address")),
    "stages": (lambda: stages_table(listed(all_stages())), ("rationalize", "sample (19)")),
    "evaluate": (lambda: table_of(MEASURES, "processbench", 8), ("olympiadbench", "50.0")),
}


def shown(table: RenderableType, width: int, encoding: str = "ascii") -> str:
    """What is printed. Raises UnicodeEncodeError for what the terminal does not have."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    Console(file=file, width=width).print(table)
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [40, 80, 160])
@pytest.mark.parametrize(("made", "words"), TABLES.values(), ids=TABLES)
def test_every_table_can_be_read_in_ascii_at_any_width(
    made: Callable[[], RenderableType], words: tuple[str, ...], width: int
) -> None:
    text = shown(made(), width)
    assert max(map(len, text.splitlines())) <= width
    for word in words:
        assert word in text


def test_a_table_that_fits_stays_one_and_rows_become_lines_where_it_does_not() -> None:
    table = Sheet("runs of file:///store")
    for name in ("run", "state", "size"):
        table.add_column(name)
    table.add_row("a-name-of-some-length", "unfinished", "1,234,567 bytes")
    wide, narrow = shown(table, 60, "utf-8"), shown(table, 40, "utf-8")
    assert "│ a-name-of-some-length │ unfinished │" in wide
    assert narrow.splitlines()[1:] == [
        "a-name-of-some-length",
        "  state unfinished, size 1,234,567 bytes",
    ]
