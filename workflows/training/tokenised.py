"""From rows to stored shards of tokens, made once for all trainings that need the same.

A shard is a pure function of its rows, the view, the settings of the data and the tokenizer with
its template; the key of the set is a digest of all these. Several processes share what is missing;
what was made before a crash stays.

Invariant: every row of a run is a conversation of some shard, or counted there with its reason.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from actors.training.conversations import TOKENS, Conversation, table_of, write_arrow
from storage.errors import ItemError
from storage.objects.store import ObjectStore
from storage.rows.parquet import write_parquet
from storage.rows.records import Example
from storage.runs.commits import canonical_json
from storage.trainings.tokens import TokenSet
from workflows.formats.conversation import ended
from workflows.training.cutting import CUT, LOST, TURNS, count_wrong, fitted
from workflows.training.mask import Masker, Unlearnt
from workflows.training.passages import Passages
from workflows.training.settings import DataSettings, HeadSettings
from workflows.training.sources import Row, Source
from workflows.training.taught import Taught
from workflows.views.catalogue import VIEWS

ROWS = "rows.parquet"
"""Name of the file of a shard that a split is made from: problem, solution and sizes of each."""
FORM = 1
"""To be raised when the same rows become other tokens, or their files change."""
COUNTS = "counts"
"""Note of a shard, and of a split."""


@dataclass(frozen=True, slots=True)
class Making:
    """How rows become tokens."""

    masker: Masker | Passages
    view: str
    data: DataSettings
    most_tokens: int
    head: HeadSettings | None = None
    """Of a model that reads."""

    def key(self, source: Source) -> str:
        """Digest of all that a source's tokens follow from."""
        tokenizer = self.masker.tokenizer
        data = asdict(self.data)
        del data["held_out"], data["max_length"]
        said = {
            "form": FORM,
            "rows": source.digest,
            "view": self.view,
            "data": data,
            "most_tokens": self.most_tokens,
            "tokenizer": hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
            "template": tokenizer.chat_template,
        }
        if isinstance(self.masker, Passages) and self.head is not None:
            said |= {"targets": self.head.targets, "separator": self.head.separator}
        return hashlib.sha256(canonical_json(said)).hexdigest()[:32]

    def tokens(self, store: ObjectStore, source: Source) -> TokenSet:
        """Where a source's tokens are stored."""
        return TokenSet(store, source.owner, self.key(source))

    def conversations(
        self, rows: Iterable[Row], counts: Counter[str]
    ) -> Iterable[tuple[bytes, Conversation]]:
        """(key of the solution, conversation) of what fits; what does not is counted."""
        counts.update(dict.fromkeys(("read", *LOST), 0))
        for row in rows:
            counts["read"] += 1
            if isinstance(row.example, ItemError):
                counts[f"dropped_{row.example.reason}"] += 1
                continue
            for shown in self._shown(row.example):
                try:
                    made = self._tokens(shown, counts)
                except ItemError as error:
                    counts[f"dropped_{error.reason}"] += 1
                    continue
                yield row.key, made

    def _shown(self, row: Example | Taught) -> Iterator[Example | Taught]:
        """A row as it is learnt: conversations in the view."""
        if isinstance(row, Taught):
            yield row
        else:
            yield from map(ended, VIEWS[self.view].rows([row]))

    def _tokens(self, row: Example | Taught, counts: Counter[str]) -> Conversation:
        if isinstance(self.masker, Passages):
            assert isinstance(row, Taught)
            try:
                made = self.masker.conversation(row, self.most_tokens)
            except ItemError as error:
                if error.reason == Unlearnt.TOO_LONG:
                    count_wrong(row.labels, range(0), counts)
                raise
            count_wrong(row.labels, range(len(made.labels)), counts)
            counts[CUT] += len(made.labels) < len(row.labels)
            counts[TURNS] += len(row.labels) - len(made.labels)
            return made
        assert isinstance(row, Example)
        return fitted(row, self.masker, self.most_tokens, self.data.too_long, counts)


def make_shards(
    making: Making, tokens: TokenSet, source: Source, wanted: Sequence[int]
) -> Iterator[None]:
    """Make and store some shards of a source; yields after each. Raises UserError and more."""
    for number, rows in source.read(wanted):
        counts: Counter[str] = Counter()
        made = list(making.conversations(rows, counts))
        with tempfile.TemporaryDirectory(prefix="stepmill-tokens-") as folder:
            write_arrow(table_of([one for _, one in made]), Path(folder, TOKENS))
            Path(folder, ROWS).write_bytes(write_parquet(rows_table(made)))
            tokens.put_shard(number, Path(folder), {COUNTS: dict(counts), "rows": len(made)})
        yield


def rows_table(made: Sequence[tuple[bytes, Conversation]]) -> Any:
    """What a split is made from."""
    columns = {
        "problem_id": pa.array([one.problem_id for _, one in made], type=pa.string()),
        "key": pa.array([key for key, _ in made], type=pa.binary()),
        "tokens": pa.array([len(one.ids) for _, one in made], type=pa.uint32()),
        "own": pa.array([one.own_tokens for _, one in made], type=pa.uint32()),
    }
    return pa.table(columns)
