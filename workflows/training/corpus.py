"""From the committed export shards of runs, or a file, to what is trained on.

Conversations are tokenised once and stored (`workflows.training.tokenised`) and divided once
(`workflows.training.split`), before any worker of a training starts. Workers read them when an
update asks for them. Nothing passes through the driver.

Invariant: what is trained on, in which order, follows from rows and settings alone, whoever made
the tokens and whenever.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from actors.models.rewards import RewardModel
from actors.training.batches import Corpus
from actors.training.conversations import Shards, Stored
from actors.training.events import Place
from actors.training.job import Missing
from actors.training.together import by_first, together
from storage.errors import InputError, NothingFound
from storage.objects.opening import open_store
from storage.objects.store import ObjectStore
from storage.trainings.checkpoints import fetch_files
from workflows.training.mask import Masker, masker_for, with_trainable_template
from workflows.training.passages import Passages
from workflows.training.settings import BetweenRuns, DataSettings, HeadSettings
from workflows.training.sources import FileSource, RunSource, Source
from workflows.training.split import HELD_OUT, SHARDS, TRAIN, Splitting
from workflows.training.taught import teaching
from workflows.training.tokenised import COUNTS, Making, make_shards

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
    digests: tuple[str, ...] = ()
    """Of the run's export shards, or of those of each; not of a file, whose key has it."""
    reward: RewardModel = field(default_factory=RewardModel)
    """What the trained model says; one that reads is taught solutions and no conversations."""
    head: HeadSettings = field(default_factory=HeadSettings)

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

    def tokens(self, tokenizer: Any, most_tokens: int) -> CorpusTokens:
        """Where its conversations are stored as tokens of a tokenizer."""
        store = open_store(self.store)
        masker: Masker | Passages
        if self.reward.reads:
            masker = Passages(tokenizer, self.reward)
        else:
            masker = masker_for(tokenizer, self.data.train_on_code_output)
        making = Making(masker, self.view, self.data, most_tokens, self.head)
        sources = self._sources(store)
        sets = [making.tokens(store, source) for source in sources]
        return CorpusTokens(making, Splitting(sources, sets, self.data.held_out, self.between))

    def _sources(self, store: ObjectStore) -> list[Source]:
        if self.file is not None:
            return [FileSource(store, self.run, self.file)]
        names = self.runs or (self.run,)
        digests = self.digests or (None,) * len(names)
        teach = teaching(self.reward, self.head)
        return [RunSource(store, *pair, teach) for pair in zip(names, digests, strict=True)]


@dataclass(frozen=True, slots=True)
class CorpusTokens:
    """The conversations of a source as stored tokens (`actors.training.job.Tokens`)."""

    making: Making
    splitting: Splitting

    def missing(self) -> Missing | None:
        """The shards that nobody stored yet; None: all are there, and divided."""
        if self.splitting.stored() is not None:
            return None
        pieces, of = [], 0
        for number, source in enumerate(self.splitting.sources):
            lacking = set(range(source.shards)) - self.splitting.sets[number].shards()
            pieces += [(number, shard) for shard in sorted(lacking)]
            of += source.shards
        return Missing(pieces, of)

    def make(self, pieces: Sequence[tuple[int, int]]) -> Iterator[None]:
        """Make and store some shards; yields after each."""
        for number, group in groupby(sorted(pieces), key=itemgetter(0)):
            source, tokens = self.splitting.sources[number], self.splitting.sets[number]
            yield from make_shards(self.making, tokens, source, [shard for _, shard in group])

    def divide(self) -> None:
        """Decide what is trained on, and store it. Raises InputError where that is nothing."""
        self.splitting.made()

    def corpus(self, folder: Path, place: Place) -> Corpus:
        """Everything to train on. Raises NothingFound where tokens are missing.

        folder: shared by the workers of a machine, for what is fetched.
        """
        sets, store = self.splitting.sets, self.splitting.sets[0].store
        split = by_first(place, self.splitting.stored)
        if split is None:
            raise NothingFound(
                "the tokens of this training were removed while it began: start it again"
            )
        there, files = folder / "split", split.files

        def fetch(moved: Any) -> None:
            if place.local_rank == 0:
                fetch_files(store, sets[0].prefix, files, there)

        together(place, fetch)
        prefixes = [tokens.prefix for tokens in sets]
        sharers = place.local_workers
        shards = Shards(store, prefixes, there / SHARDS, folder / "tokens", sharers)
        train, held_out = (Stored(there / side, shards) for side in (TRAIN, HELD_OUT))
        masker = self.making.masker
        yes, no = (masker.yes, masker.no) if isinstance(masker, Masker) else (0, 0)
        return Corpus(train, held_out, split.counts(COUNTS), yes, no)
