"""How many rationales were exported, by attempt and by reading (strict or forgiving).

Forgiving reading and second attempts change *which* paths survive. So a dataset's user must see
what each of them let in. Stage `export` counts it shard by shard, in its commits.

Invariant: each rationale is in exactly one group. The groups of a run are sums of its shards'.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from storage.rows.records import Example, Rationale

NOT_RECORDED = "not recorded"
_COUNTS = ("rationales", "kept", "kept_steps", "kept_wrong_steps")
_KEY = re.compile(rf"({'|'.join(_COUNTS)}) \((\d+), ([a-z ]+)\)")


@dataclass(frozen=True, slots=True)
class Kept:
    """The rationales of one attempt and one reading."""

    attempt: int
    """Counted from 1."""
    reading: str
    """`strict`, `forgiving` or `NOT_RECORDED`."""
    rationales: int
    kept: int
    """Rationales that are exported."""
    kept_steps: int
    """Steps of the exported rationales."""
    kept_wrong_steps: int
    """Those steps that are labelled wrong."""

    @property
    def kept_share(self) -> str:
        """Exported share of the rationales."""
        return f"{self.kept / self.rationales:.1%}"

    @property
    def wrong_share(self) -> str:
        """Share of wrong steps among the exported ones; empty if there are none."""
        return f"{self.kept_wrong_steps / self.kept_steps:.1%}" if self.kept_steps else ""


def counts_of(rationales: Iterable[Rationale], kept: Iterable[Example]) -> dict[str, int]:
    """The counts of a shard: its standing rationales, and what is exported of them."""
    counts: Counter[str] = Counter()
    examples = {example.path_id: example for example in kept}
    for row in rationales:
        labels = examples[row.path_id].labels if row.path_id in examples else []
        numbers = (1, row.path_id in examples, len(labels), labels.count(False))
        for name, number in zip(_COUNTS, numbers, strict=True):
            counts[f"{name} ({row.attempt + 1}, {row.reading or NOT_RECORDED})"] += number
    return dict(counts)


def is_reading_count(name: str) -> bool:
    """Whether a commit's count was made by `counts_of`."""
    return _KEY.fullmatch(name) is not None


def kept_by_reading(counts: Mapping[str, int]) -> list[Kept]:
    """The groups in a sum of counts, by attempt; strict before forgiving."""
    groups: dict[tuple[int, str], dict[str, int]] = {}
    for name, number in counts.items():
        if match := _KEY.fullmatch(name):
            groups.setdefault((int(match[2]), match[3]), {})[match[1]] = number
    order = sorted(groups, key=lambda of: (of[0], of[1] == NOT_RECORDED, of[1] != "strict"))
    return [Kept(*of, *(groups[of][name] for name in _COUNTS)) for of in order]
