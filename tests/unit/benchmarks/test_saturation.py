"""The rate of a full engine ends where it can no longer be filled."""

from __future__ import annotations

import pytest

from benchmarks.saturation import Span, full_rate


def test_the_rate_of_a_full_engine_leaves_the_last_requests_out() -> None:
    alike = [Span(owner, float(at), at + 1.0, 10) for at in range(4) for owner in ("a", "b")]
    alone = [Span("c", float(at), at + 1.0, 10) for at in range(4, 100)]
    late = [Span("c", 0.5, 4.0, 10)]
    assert full_rate([*alike, *late, *alone], 2) == pytest.approx((80 + 10) / 4)


def test_what_is_under_way_when_the_engine_falls_empty_counts_half() -> None:
    spans = [Span(at, 0.0, float(at + 1), 8) for at in range(3)]
    assert full_rate(spans, 2) == pytest.approx((8 + 8 + 4) / 2)
    assert full_rate(spans, 16) == pytest.approx(8 + 4 + 4)
