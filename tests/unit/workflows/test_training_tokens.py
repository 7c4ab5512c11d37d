"""Tokens are made once, shard by shard, and read from files that are mapped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from actors.training import conversations
from actors.training.batches import Corpus
from actors.training.conversations import Conversation, conversation_of, mapped, table_of
from actors.training.events import Place
from actors.training.ray_tokens import ranges
from storage.audit import audit
from storage.errors import NothingFound, ObjectCorrupt, Removed
from storage.objects.local import LocalStore
from storage.runs.removal import Tombstone, remove
from storage.runs.run import Run
from tests.support.training_world import demo_tokenizer, examples, loaded, taught_run
from workflows.training import sources, tokenised
from workflows.training.corpus import CorpusSource
from workflows.training.mask import masker_for
from workflows.training.settings import DataSettings

COUNT = 24


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "SHARD_ROWS", 8)  # two export shards


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return taught_run(LocalStore.at(tmp_path / "store"), COUNT)


def source(run: Run, **data: object) -> CorpusSource:
    settings = DataSettings(**{"held_out": 0.25, **data})  # type: ignore[arg-type]
    return CorpusSource(run.store.url, run.name, "genprm", settings, None)


def both(corpus: Corpus) -> Iterator[Conversation]:
    yield from corpus.train
    yield from corpus.held_out


def stored(run: Run, what: str) -> list[str]:
    keys = [entry.key for entry in run.store.list(f"runs/{run.name}/tokens/")]
    return sorted(key for key in keys if f"/{what}/" in key)


def test_what_is_read_from_shards_is_what_the_mask_makes_of_each_example(run: Run) -> None:
    masker = masker_for(demo_tokenizer(), False)
    wanted = {one.path_id: masker.conversation(one, 2048) for one in examples(COUNT)}
    corpus = loaded(source(run))
    assert len(stored(run, "shards")) == 3
    made = list(both(corpus))
    assert sorted(one.name for one in made) == sorted(wanted)
    for one in made:
        other = wanted[one.name]
        assert (one.problem_id, one.targets, one.weights) == (other.problem_id, None, None)
        for name in ("ids", "own", "verdicts", "labels"):
            mine, its = getattr(one, name), getattr(other, name)
            assert mine.dtype == its.dtype and mine.tolist() == its.tolist(), name
    for side in (corpus.train, corpus.held_out):
        assert side.lengths.tolist() == [len(one.ids) for one in side]
        assert side.own.tolist() == [one.own_tokens for one in side]


def test_the_order_is_that_of_the_run_without_what_is_held_out(run: Run) -> None:
    corpus = loaded(source(run))
    held = {one.problem_id for one in corpus.held_out}
    names = [one.path_id for one in examples(COUNT) if one.problem_id not in held]
    assert [one.name for one in corpus.train] == names


def test_a_second_training_makes_nothing_and_reads_no_row_of_the_run(run: Run) -> None:
    first = loaded(source(run))
    for shard in range(run.spec.plan.shards):
        run.store.delete(run.commit("export", shard).data_key)
    made = loaded(replace(source(run), digests=(sources.RunSource(run.store, run.name).digest,)))
    assert [one.ids.tolist() for one in both(made)] == [one.ids.tolist() for one in both(first)]
    assert made.counts == first.counts


def test_tokens_are_shared_by_trainings_that_hold_out_other_problems(run: Run) -> None:
    loaded(source(run))
    before = stored(run, "shards")
    other = loaded(source(run, held_out=0.5))
    assert stored(run, "shards") == before
    assert len(stored(run, "splits")) == 2
    assert other.counts["problems_held_out"] == 6
    loaded(source(run), 512)
    loaded(source(run, train_on_code_output=True))
    loaded(replace(source(run), view="cot"))
    assert len(stored(run, "shards")) == 4 * len(before)


def test_a_killed_tokenisation_goes_on_with_the_shard_that_was_missing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = loaded(source(run))
    last = stored(run, "shards")[-1]
    for key in (last, *stored(run, "splits")):
        run.store.delete(key)
    asked: list[int] = []
    make = tokenised.table_of

    def noted(made: list[Conversation]) -> pa.Table:
        asked.append(len(made))
        return make(made)

    monkeypatch.setattr(tokenised, "table_of", noted)
    again = loaded(source(run))
    assert asked == [8]
    assert last in stored(run, "shards")
    assert [one.name for one in both(again)] == [one.name for one in both(whole)]


def test_processes_share_what_is_missing_and_each_shard_is_told_once_it_is_stored(
    run: Run,
) -> None:
    tokens = source(run).tokens(demo_tokenizer(), 2048)
    missing = tokens.missing()
    assert missing == ([(0, 0), (0, 1), (0, 2)], 3)
    for at, _ in enumerate(tokens.make(missing.pieces[:2]), start=1):
        assert len(stored(run, "shards")) == at
    assert tokens.missing() == ([(0, 2)], 3)
    list(source(run).tokens(demo_tokenizer(), 2048).make([(0, 1), (0, 2)]))
    assert tokens.missing() == ([], 3), "all are there, and not divided"
    tokens.divide()
    assert tokens.missing() is None


def test_a_worker_makes_no_tokens(run: Run, tmp_path: Path) -> None:
    tokens = source(run).tokens(demo_tokenizer(), 2048)
    with pytest.raises(NothingFound, match="start it again"):
        tokens.corpus(tmp_path, Place())
    assert not stored(run, "shards")


@pytest.mark.parametrize(
    ("shards", "tasks", "lengths"),
    [(10, 4, [2, 3, 2, 3]), (2, 8, [1, 1]), (1, 1, [1]), (0, 4, []), (3, 0, [3])],
)
def test_shards_are_cut_into_ranges_of_nearly_equal_length(
    shards: int, tasks: int, lengths: list[int]
) -> None:
    pieces = [(0, number) for number in range(shards)]
    cut = ranges(pieces, tasks)
    assert [len(part) for part in cut] == lengths
    assert [piece for part in cut for piece in part] == pieces


def test_tokens_that_were_altered_are_refused(run: Run) -> None:
    corpus = loaded(source(run))
    for key in stored(run, "parts"):
        data = run.store.get(key)
        if data.startswith(b"ARROW1") and b"verdicts" in data:
            run.store.delete(key)
            run.store.put_new(key, data[:-60] + bytes(60))
    with pytest.raises(ObjectCorrupt, match="is damaged"):
        list(both(corpus))


def test_files_that_were_not_asked_for_lately_make_room_and_come_again(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [one.ids.tolist() for one in loaded(source(run)).train]
    monkeypatch.setattr(conversations, "DISK_SHARE", 0.0)
    monkeypatch.setattr(conversations, "OPEN", 1)
    corpus = loaded(source(run), folder=tmp_path)
    for _ in range(2):
        corpus.train.bring(range(len(corpus.train)))
        assert [one.ids.tolist() for one in corpus.train] == whole
    assert len(list((tmp_path / "tokens").iterdir())) == 1


def test_tokens_go_with_their_run_and_an_audit_does_not_mind_them(run: Run) -> None:
    before = audit(run).findings
    loaded(source(run))
    assert audit(run).findings == before
    remove(run.store, f"runs/{run.name}/", Tombstone("a test", ""))
    assert not stored(run, "shards")
    with pytest.raises(Removed):
        loaded(source(run))


def test_targets_and_weights_of_verdicts_are_kept(tmp_path: Path) -> None:
    plain = masker_for(demo_tokenizer(), False).conversation(examples(4)[3], 2048)
    soft = np.linspace(0, 1, len(plain.verdicts), dtype=np.float32)
    made = [plain, replace(plain, targets=soft, weights=1 - soft)]
    conversations.write_arrow(table_of(made), tmp_path / "tokens.arrow")
    (batch,) = mapped(tmp_path / "tokens.arrow").to_batches()
    first, second = (conversation_of(batch, row) for row in range(2))
    assert (first.targets, first.weights) == (None, None)
    assert second.targets is not None and second.targets.tolist() == soft.tolist()
    assert second.weights is not None and second.weights.tolist() == (1 - soft).tolist()
