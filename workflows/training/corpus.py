"""From the committed export shards of runs, or a file, to what is trained on, read by each worker.

Shards come straight from the store, one at a time, their digests checked; nothing passes through
the driver. The held-out problems are those whose name has the smallest digests: the split depends
on the set of problems alone, not on shards, order or seed. Of several
runs: `workflows.training.mixture`.

Invariant: no problem has conversations on both sides; every conversation of a run is trained on,
held out, or counted as dropped with its reason.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from actors.training.batches import Conversation, Corpus
from storage.errors import InputError, ItemError
from storage.objects.opening import open_store
from storage.objects.store import ObjectStore
from storage.rows.kinds import EXAMPLES
from storage.rows.records import Example
from storage.runs.run import Run
from workflows.formats.conversation import ended
from workflows.runs.several import Key, example_key, texts_of
from workflows.training.mask import Masker, masker_for, with_trainable_template
from workflows.training.mixture import Part, mixed
from workflows.training.released import example_from, stored_rows
from workflows.training.settings import BetweenRuns, DataSettings
from workflows.views.catalogue import VIEWS

MOST_TOKENS = 8192
"""Longest conversation where neither the settings nor the model say otherwise."""


@dataclass(frozen=True, slots=True)
class CorpusSource:
    """Where the conversations come from and what is made of them; small, sent to workers."""

    store: str
    run: str
    """A run's name, the names of several, or the file's."""
    view: str
    data: DataSettings
    template: str | None
    file: str | None = None
    """Key of a stored file of conversations, in place of a run's shards."""
    runs: tuple[str, ...] = ()
    """Names of several runs, in place of one."""
    between: BetweenRuns = field(default_factory=BetweenRuns)

    def tokenizer(self, tokenizer: Any) -> Any:
        """The tokenizer with the template that is trained and saved."""
        return with_trainable_template(tokenizer, self.template)

    def most_tokens(self, context: int) -> int:
        """Longest conversation for a model with so many positions. Raises InputError."""
        wanted = self.data.max_length
        if wanted is not None and wanted > context:
            raise InputError(
                f"data.max_length is {wanted}, the base model has {context} positions: lower it"
            )
        return wanted or min(context, MOST_TOKENS)

    def load(self, tokenizer: Any, most_tokens: int) -> Corpus:
        """Read, render, cut and split. Raises InputError where nothing is left to train on."""
        masker = masker_for(tokenizer, self.data.train_on_code_output)
        counts: Counter[str] = Counter()
        store = open_store(self.store)
        if self.runs:
            parts = [self._part(store, name, masker, most_tokens, counts) for name in self.runs]
            train, held_out = mixed(parts, self.between, counts)
        else:
            made = _of_run(store, self.run) if self.file is None else _of_file(store, self.file)
            rows = list(self._conversations(made, masker, most_tokens, counts))
            held = self._held_out(rows)
            train = [row for row in rows if row.problem_id not in held]
            held_out = [row for row in rows if row.problem_id in held]
            counts["problems_held_out"] = len(held)
        if not counts["read"]:
            raise InputError(f"{self.run!r} has no rows in view {self.view!r} to train on")
        if not train:
            dropped = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise InputError(
                f"nothing of {self.run!r} is left to train on ({dropped}): raise "
                "data.max_length, or lower data.held_out"
            )
        return Corpus(tuple(train), tuple(held_out), dict(counts), masker.yes, masker.no)

    def _part(
        self, store: ObjectStore, name: str, masker: Masker, most_tokens: int, counts: Counter[str]
    ) -> Part:
        """The conversations of one run of several."""
        texts = texts_of(Run.open(store, name))
        keys: dict[str, Key] = {}

        def keyed() -> Iterator[Example]:
            for example in _of_run(store, name):
                keys[example.path_id] = example_key(example, texts)
                yield example

        rows = list(self._conversations(keyed(), masker, most_tokens, counts))
        return Part(name, [(keys[row.name], row) for row in rows], texts, self._held_out(rows))

    def _held_out(self, rows: Iterable[Conversation]) -> frozenset[str]:
        return held_out_problems({row.problem_id for row in rows}, self.data.held_out)

    def _conversations(
        self,
        examples: Iterable[Example | ItemError],
        masker: Masker,
        most_tokens: int,
        counts: Counter[str],
    ) -> Iterator[Conversation]:
        """Conversations that fit; what does not is counted."""
        for example in self._shown(examples, counts):
            try:
                made = masker.conversation(example, most_tokens)
            except ItemError as error:
                counts[f"dropped_{error.reason}"] += 1
                continue
            lost = len(example.labels) - len(made.labels)
            counts["cut"] += lost > 0
            counts["turns_cut_off"] += lost
            yield made

    def _shown(
        self, examples: Iterable[Example | ItemError], counts: Counter[str]
    ) -> Iterator[Example]:
        """The examples in the view; what is none is counted."""
        view = VIEWS[self.view]
        for made in examples:
            counts["read"] += 1
            if isinstance(made, ItemError):
                counts[f"dropped_{made.reason}"] += 1
            else:
                yield from map(ended, view.rows([made]))


def held_out_problems(problems: Iterable[str], share: float) -> frozenset[str]:
    """The problems that are never trained on: `share` of them, at least one unless it is 0."""
    names = sorted(set(problems), key=lambda name: hashlib.sha256(name.encode()).digest())
    wanted = max(1, round(share * len(names))) if share else 0
    return frozenset(names[:wanted])


def _of_run(store: ObjectStore, name: str) -> Iterator[Example]:
    return Run.open(store, name).read_all(EXAMPLES)


def _of_file(store: ObjectStore, key: str) -> Iterator[Example | ItemError]:
    for number, row in enumerate(stored_rows(store, key)):
        try:
            yield example_from(row, number)
        except ItemError as error:
            yield error
