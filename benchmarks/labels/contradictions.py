"""Precision and recall of the detector of analyses that contradict their label.

`tests/data/contradictions.jsonl` has a hundred analyses and what their reader made of each: the
verdict of the text on its own step (`reads`), and that of what its code printed (`code`); null:
none. A contradiction is such a verdict that is not the label. tests/data/README.md says where they
come from.

    python -m benchmarks.contradictions
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from storage.rows.records import CodeRun
from workflows.judging.contradictions import ANALYSIS, CODE, said
from workflows.judging.tools import tool_verdicts

FILE = Path(__file__).parents[2] / "tests/data/contradictions.jsonl"
EITHER = "either"


class Found(NamedTuple):
    """What a reader and the detector say of one analysis."""

    source: str
    read: Mapping[str, bool]
    """Kind -> whether the reader sees a contradiction."""
    detected: Mapping[str, bool]


class Score(NamedTuple):
    """Of the contradictions: detected ones that are true, and true ones that were detected."""

    there: int
    detected: int
    both: int

    def __str__(self) -> str:
        """Precision, recall and the numbers behind them."""
        precision = self.both / self.detected if self.detected else float("nan")
        recall = self.both / self.there if self.there else float("nan")
        return (
            f"precision {precision:.2f} ({self.both} of {self.detected}), "
            f"recall {recall:.2f} ({self.both} of {self.there})"
        )


def read_by_eye(lines: Iterable[str]) -> Iterator[Found]:
    """Compare the detector with the reader, analysis by analysis."""
    for row in map(json.loads, lines):
        runs = [CodeRun(0, "", printed, verdict, 0.0, 0.0) for verdict, printed in row["outputs"]]
        text = said(row["analysis"], row["verification"], row["paragraph"])
        yield Found(
            row["from"].partition(",")[0],
            _against(row["label"], row["reads"], row["code"]),
            _against(row["label"], text, tool_verdicts(runs, 1)[0]),
        )


def _against(label: bool, text: bool | None, code: bool | None) -> dict[str, bool]:
    found: dict[str, Any] = {
        ANALYSIS: text not in (None, label),
        CODE: code not in (None, label),
    }
    return found | {EITHER: any(found.values())}


def score(found: Sequence[Found], kind: str) -> Score:
    """The detector's score in one kind of contradiction."""
    return Score(
        sum(one.read[kind] for one in found),
        sum(one.detected[kind] for one in found),
        sum(one.read[kind] and one.detected[kind] for one in found),
    )


def main() -> None:
    """Print the scores, in all and by source."""
    found = list(read_by_eye(FILE.read_text(encoding="utf-8").splitlines()))
    for source in (None, *sorted({one.source for one in found})):
        part = [one for one in found if source in (None, one.source)]
        print(f"{source or 'all'}: {len(part)} analyses")
        for kind in (ANALYSIS, CODE, EITHER):
            print(f"  {kind}: {score(part, kind)}")


if __name__ == "__main__":
    main()
