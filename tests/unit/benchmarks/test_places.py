"""Places of engines at work, by the real stages in virtual time: what `benchmarks.places` shows.

Shards of 16, quota rounds and the engines' places are those of `configs/genprm.yaml`; rollouts are
fewer, so that a build takes seconds.
"""

from __future__ import annotations

import pytest

from benchmarks.places import Shape, measured

FEW_ROLLOUTS = {"estimate": {"k_hard": 8, "k_medium": 8, "k_easy": 8, "probe": 8}}
SMALL = FEW_ROLLOUTS | {"sample": {"cap": 64}}
ENOUGH = 0.97


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.2, 0.9, None])
def test_places_work_until_the_queue_runs_dry_however_lengths_spread(sigma: float | None) -> None:
    found = measured(16 * 24, Shape(sigma), FEW_ROLLOUTS)
    assert {stage: round(of.at_work, 3) for stage, of in found.items() if of.at_work < ENOUGH} == {}
    assert all(0 < of.tail < 0.5 for of in found.values()), "reported apart"


@pytest.mark.parametrize("block_s", [pytest.param(0.1, marks=pytest.mark.slow), 5.0])
def test_places_work_however_long_code_runs(block_s: float) -> None:
    found = measured(16 * 24, Shape(0.5, block_s), SMALL)["rationalize"]
    assert found.at_work >= ENOUGH
    assert 128 <= found.most_sessions <= 2 * 128
    assert (found.most_sessions > 160) == (block_s > 1), "more than places only where code is slow"


def test_as_it_was_places_stood_empty_while_requests_waited_for_their_longest_sample() -> None:
    found = measured(16 * 12, Shape(0.9, 5.0, before=True), SMALL)
    assert found["sample"].at_work < 0.5
    assert found["estimate"].at_work < 0.5
    assert found["rationalize"].at_work < 0.9
    assert found["sample"].most == 4
