"""The attack table: every case on every backend, with its outcome and what it leaves."""

from __future__ import annotations

import attacks_on_counts
import attacks_on_host
import attacks_on_kernel
import attacks_on_room
import attacks_on_time
import attacks_on_us
import pytest
from case import Case
from conftest import Arena

TABLE = sorted(
    [
        case
        for table in (
            attacks_on_time,
            attacks_on_room,
            attacks_on_host,
            attacks_on_us,
            attacks_on_counts,
            attacks_on_kernel,
        )
        for case in table.CASES
    ],
    key=lambda case: case.number,
)
pytestmark = [pytest.mark.container, pytest.mark.asyncio(loop_scope="session")]


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.id)
async def test_the_attack_ends_as_promised_and_leaves_nothing(case: Case, arena: Arena) -> None:
    if reason := case.cannot.get(arena.name):
        pytest.skip(f"{arena.name} cannot promise this: {reason}")
    await arena.play(case)
