"""Every case of the field goes through the product; what fails today is named in one table.

FIELD_CASES names further files of the same form (paths joined by `:`); none of their lines is
expected to fail. Matters of taste are counted and not demanded. The numbers are printed at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.contract.field_cases import DATA, TALLY, Case, Unknown, cases, further_files, pool

OURS = ("field_cases.jsonl", "real_cases.jsonl")

OPEN: dict[str, tuple[int, tuple[int, ...]]] = {
    "field_cases.jsonl index_vote": (
        2,
        (
            136,
            138,
            139,
        ),
    ),
    "field_cases.jsonl judge_align": (
        2,
        (
            156,
            157,
        ),
    ),
    "field_cases.jsonl judge_read": (
        2,
        (
            143,
            144,
            145,
            146,
            147,
            149,
            151,
            152,
        ),
    ),
    "field_cases.jsonl rationale_paragraphs": (
        2,
        (
            124,
            126,
            128,
            129,
        ),
    ),
    "field_cases.jsonl split_steps": (
        4,
        (
            117,
            118,
            119,
            120,
        ),
    ),
    "real_cases.jsonl rationale/fence_spelling": (
        1,
        (
            5,
            15,
            29,
        ),
    ),
    "real_cases.jsonl rationale/heading": (
        2,
        (
            1,
            6,
        ),
    ),
    "real_cases.jsonl rationale/index_vote": (
        2,
        (
            2,
            7,
            30,
        ),
    ),
    "real_cases.jsonl rationale/open_fence_reason": (
        1,
        (
            3,
            16,
        ),
    ),
    "real_cases.jsonl rationale/unexecuted_output": (
        1,
        (
            4,
            14,
            18,
            32,
        ),
    ),
    "real_cases.jsonl steps/empty": (4, (26,)),
    "real_cases.jsonl steps/split": (
        4,
        (
            10,
            17,
            19,
            21,
            25,
            27,
            31,
            33,
            34,
        ),
    ),
}
"""File and kind -> section of the work that mends it, and its lines that fail today.

Strict: a line that passes must be taken out.
"""


def _parameters() -> list[object]:
    found = []
    for file in [*(DATA / name for name in OURS), *further_files()]:
        for case in cases(file):
            marks = []
            section, lines = OPEN.get(f"{file.name} {case.kind}", (0, ()))
            if file.parent == DATA and int(case.name.rpartition(":")[2]) in lines:
                marks = [pytest.mark.xfail(strict=True, reason=f"section {section}")]
            found.append(pytest.param(case, id=f"{case.name} {case.kind}", marks=marks))
    return found


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
