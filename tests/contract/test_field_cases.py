"""Every case of the field goes through the product.

FIELD_CASES names further files of the same form (paths joined by `:`). Matters of taste are counted
and not demanded. The numbers are printed at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.contract.field_cases import DATA, TALLY, Case, Unknown, cases, further_files, pool

OURS = ("field_cases.jsonl", "real_cases.jsonl")


def _parameters() -> list[object]:
    files = [*(DATA / name for name in OURS), *further_files()]
    return [
        pytest.param(case, id=f"{case.name} {case.kind}") for file in files for case in cases(file)
    ]


@pytest.fixture(scope="module", autouse=True)
def _one_grader() -> Iterator[None]:
    yield
    asyncio.run(pool().close())


@pytest.mark.parametrize("case", _parameters())
def test_what_the_field_knows_stays_known(case: Case) -> None:
    try:
        case.run()
    except Unknown as unknown:
        TALLY.unknown[str(unknown)] += 1
        pytest.skip(str(unknown))
    except Exception:
        if case.taste:
            TALLY.taste["otherwise"] += 1
            return
        TALLY.failed[case.kind] += 1
        raise
    if case.taste:
        TALLY.taste["as expected"] += 1
    else:
        TALLY.passed[case.kind] += 1
