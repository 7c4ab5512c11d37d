"""What the contract tests print when they are done."""

from __future__ import annotations

import pytest

from tests.contract import own_replies
from tests.contract.field_cases import TALLY


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What became of the replies of our own; the cases of the field: failures by kind, and how many
    there are of each outcome.
    """
    if own_replies.TALLY:
        terminalreporter.section(f"{own_replies.TALLY.total()} replies of our own")
        for became, count in own_replies.TALLY.most_common():
            terminalreporter.line(f"{became}: {count}")
    passed, failed = TALLY.passed.total(), TALLY.failed.total()
    if not passed + failed:
        return
    terminalreporter.section("cases of the field")
    for kind, count in sorted(TALLY.failed.items()):
        terminalreporter.line(f"{kind}: {count} failed, {TALLY.passed[kind]} passed")
    for reason, count in sorted(TALLY.unknown.items()):
        terminalreporter.line(f"skipped ({count}): {reason}")
    terminalreporter.line(
        f"{passed + failed} cases: {passed} passed, {failed} failed; of taste "
        f"{TALLY.taste['as expected']} as expected, {TALLY.taste['otherwise']} otherwise"
    )
