"""OmegaPRM's tree policy by hand."""

from __future__ import annotations

import math

import pytest

from workflows.estimation.omega import Candidate, choose, exploration, middle, quality
from workflows.settings import SearchSettings

PAPER = SearchSettings()


def test_the_value_of_a_rollout_by_hand() -> None:
    """alpha .5, beta .9, L 500: MC 1 and no words is 1; MC 0 halves it, 500 words take a tenth."""
    assert quality(1.0, 0, PAPER) == 1.0
    assert quality(0.0, 0, PAPER) == 0.5
    assert quality(1.0, 500, PAPER) == pytest.approx(0.9)
    assert quality(0.5, 250, PAPER) == pytest.approx(math.sqrt(0.5) * math.sqrt(0.9))


def test_the_exploration_of_a_state_by_hand() -> None:
    assert exploration(0, 0, PAPER) == 0.0
    assert exploration(0, 16, PAPER) == pytest.approx(0.125 * 4)
    assert exploration(3, 16, PAPER) == pytest.approx(0.125)


@pytest.mark.parametrize(
    ("candidates", "total", "chosen"),
    [
        pytest.param([(0.2, 0, 50), (0.9, 0, 50)], 0, 1, id="nearly solved first"),
        pytest.param([(0.9, 0, 400), (0.9, 0, 40)], 0, 1, id="short first"),
        pytest.param([(0.9, 9, 50), (0.7, 0, 50)], 16, 1, id="seldom chosen first"),
        pytest.param([(0.9, 9, 50), (0.7, 0, 50)], 0, 0, id="unless nothing was chosen yet"),
        pytest.param([(0.5, 1, 50), (0.5, 1, 50)], 2, 0, id="the earlier of two equal ones"),
    ],
)
def test_what_is_searched_next(
    candidates: list[tuple[float, int, int]], total: int, chosen: int
) -> None:
    assert choose([Candidate(*each) for each in candidates], total, PAPER) == chosen


@pytest.mark.parametrize(
    ("lengths", "live", "dead", "cut"),
    [
        pytest.param([1] * 8, 0, 8, 4, id="steps: the middle one"),
        pytest.param([1] * 7, 2, 7, 4, id="steps: the earlier of two"),
        pytest.param([1, 1, 9, 1], 0, 4, 2, id="tokens: before the long word, earlier of two"),
        pytest.param([9, 1, 1, 1], 0, 4, 1, id="tokens: behind the long word"),
        pytest.param([1, 5, 5, 1, 1], 1, 4, 2, id="tokens: of the open part alone"),
    ],
)
def test_where_a_search_cuts(lengths: list[int], live: int, dead: int, cut: int) -> None:
    assert middle(lengths, live, dead) == cut
