"""What a kill costs, and what cards a game is played with."""

from __future__ import annotations

import random

import pytest

from benchmarks.chaos import WEIGHTS, deck
from tests.faults.chaos_ledger import Ledger


def test_a_workers_time_is_shared_by_what_it_has_in_flight() -> None:
    ledger = Ledger()
    ledger.advance(10.0)
    ledger.start(1, "sample", 0)
    ledger.advance(12.0)
    ledger.start(1, "sample", 1)
    ledger.start(2, "estimate", 7)
    ledger.advance(16.0)
    ledger.commit(1, "sample", 0, tokens=400)
    ledger.advance(17.0)
    lost = ledger.lose_workers([1])
    assert (lost.seconds, lost.shards) == (2.0 + 1.0, 1)
    assert ledger.tokens_of(lost) == 400 * 3.0 / 4.0
    assert ledger.lose_workers([1]).shards == 0, "counted once"
    assert ledger.lose(2, "estimate", 7).seconds == 5.0


def test_a_worker_that_was_idle_loses_nothing() -> None:
    ledger = Ledger()
    ledger.advance(1.0)
    ledger.start(1, "sample", 0)
    ledger.advance(2.0)
    ledger.commit(1, "sample", 0, tokens=1)
    ledger.advance(50.0)
    assert ledger.lose_workers([1]).seconds == 0.0


@pytest.mark.parametrize("kills", [3, 12, 100])
def test_every_kind_comes_at_least_once_where_there_are_enough(kills: int) -> None:
    cards = deck(kills, WEIGHTS, random.Random(7))
    assert len(cards) == kills
    assert kills < len(WEIGHTS) or set(cards) == set(WEIGHTS)
    assert cards == deck(kills, WEIGHTS, random.Random(7))
