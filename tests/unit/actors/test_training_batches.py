"""What an update sees: every conversation once an epoch, whatever the workers and the packing."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.training.batches import IGNORED, Conversation, StepPlan, deal, tensors
from actors.training.settings import LearningSettings

ROW = 40


def plan(lengths: tuple[int, ...], micro: int = 60, **learning: object) -> StepPlan:
    return StepPlan(np.array(lengths), LearningSettings(**learning), micro)  # type: ignore[arg-type]


some_lengths = st.lists(st.integers(1, ROW), min_size=1, max_size=30).map(tuple)


@given(some_lengths, st.integers(1, 9), st.sampled_from([0.5, 1.0, 2.5]), st.integers(0, 3))
def test_every_conversation_is_seen_once_an_epoch_in_an_order_that_the_seed_gives(
    lengths: tuple[int, ...], batch: int, epochs: float, seed: int
) -> None:
    made = plan(lengths, batch=batch, epochs=epochs, seed=seed)
    seen = [member for step in range(made.steps) for member in made.members(step)]
    assert len(seen) == max(1, round(epochs * len(lengths)))
    for epoch in range(len(seen) // len(lengths)):
        part = seen[epoch * len(lengths) : (epoch + 1) * len(lengths)]
        assert sorted(part) == list(range(len(lengths)))
    assert all(len(made.members(step)) == batch for step in range(made.steps - 1))
    again = plan(lengths, batch=batch, epochs=epochs, seed=seed)
    assert again.members(made.steps - 1) == made.members(made.steps - 1)


@given(some_lengths, st.integers(1, 12), st.integers(1, 4), st.booleans(), st.integers(ROW, 200))
def test_workers_share_an_update_without_loss_or_double(
    lengths: tuple[int, ...], batch: int, workers: int, packing: bool, micro: int
) -> None:
    made = plan(lengths, micro, batch=batch, packing=packing)
    for step in range(made.steps):
        shares = [made.share(step, worker, workers) for worker in range(workers)]
        assert len({len(share) for share in shares}) == 1, "a worker would wait for ever"
        batches = [one for share in shares for one in share if one]
        assert Counter(member for one in batches for member in one) == Counter(made.members(step))
        for one in batches:
            assert len(one) == 1 or packing
            assert sum(lengths[member] for member in one) <= micro


def test_packing_fills_a_pass() -> None:
    made = plan((20, 20, 10, 30), micro=40, batch=4, packing=True)
    assert sorted(map(sorted, made.share(0, 0, 1))) == [[0, 1], [2, 3]]


def test_a_conversation_longer_than_a_pass_is_one_by_itself() -> None:
    made = plan((90, 20, 10), micro=40, batch=3, packing=True)
    assert sorted(map(sorted, made.share(0, 0, 1))) == [[0], [1, 2]]


def test_dear_micro_batches_are_dealt_out_first() -> None:
    costs = {(0,): 8, (1,): 5, (2,): 4, (3,): 1}
    assert deal(list(costs), costs.__getitem__, 2) == [((0,), (3,)), ((1,), (2,))]


def conversation(ids: list[int], own: list[int]) -> Conversation:
    mask = np.isin(np.arange(len(ids)), own)
    nothing = np.array([], dtype=np.int32)
    return Conversation("a#0", "a", np.array(ids), mask, nothing, nothing.astype(bool))


def test_conversations_stand_one_behind_the_other_and_own_tokens_are_learnt() -> None:
    made = [conversation([5, 6, 7], [1, 2]), conversation([8, 9], [1]), conversation([4], [0])]
    found = tensors((0, 1, 2), made, pad=0)
    assert found.ids.tolist() == [5, 6, 7, 8, 9, 4]
    assert found.positions.tolist() == [0, 1, 2, 0, 1, 0]
    assert found.starts.tolist() == [0, 3, 5, 6]
    assert found.longest == 3
    # A first token is never learnt: before it stands another conversation.
    assert found.places.tolist() == [0, 1, 3]
    assert found.targets.tolist() == [6, 7, 9]


def test_an_empty_micro_batch_teaches_nothing() -> None:
    found = tensors((), [], pad=3)
    assert found.ids.tolist() == [3]
    assert found.starts.tolist() == [0, 1]
    assert found.targets.tolist() == [IGNORED]


@pytest.mark.parametrize("seed", [0, 1])
def test_epochs_differ(seed: int) -> None:
    made = plan(tuple(range(1, 30)), batch=29, epochs=2, seed=seed)
    assert made.members(0) != made.members(1)
    assert sorted(made.members(0)) == sorted(made.members(1))


def test_the_order_is_the_one_that_trainings_began_in() -> None:
    order = list(range(1000))
    random.Random("stepmill training/7/2").shuffle(order)
    made = plan((5,) * 1000, batch=64, epochs=3, seed=7)
    seen = [member for step in range(made.steps) for member in made.members(step)]
    assert seen[2000:] == order
