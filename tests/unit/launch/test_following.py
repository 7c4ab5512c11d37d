"""A job's log is followed as long as its head is heard of now and then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import ServerDisconnectedError

from launch.verbs.runs import submit
from storage.errors import InfrastructureError


class Jobs:
    """A head that hangs up after one more line of the log each time, or after none."""

    def __init__(self, lines: int, talks: bool = True) -> None:
        self.lines = lines
        self.talks = talks
        self.asked = 0

    async def tail_job_logs(self, identity: str) -> AsyncIterator[str]:
        self.asked += 1
        if self.talks:
            yield "".join(f"line {i}\n" for i in range(min(self.asked, self.lines)))
        if not self.talks or self.asked < self.lines:
            raise ServerDisconnectedError

    def get_job_info(self, identity: str) -> Any:
        status = type("Status", (str,), {"is_terminal": lambda self: True})("SUCCEEDED")
        return SimpleNamespace(status=status, driver_exit_code=0)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "RETRY_SECONDS", 0.0)


async def test_a_head_that_hangs_up_after_every_line_is_followed_to_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    jobs = Jobs(lines=2 * submit.RETRIES)
    assert await submit._follow(jobs, "job") == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [f"line {i}" for i in range(jobs.lines)], "each line once"


async def test_a_head_that_says_nothing_any_more_is_given_up() -> None:
    jobs = Jobs(lines=1, talks=False)
    with pytest.raises(InfrastructureError, match="lost sight of job job"):
        await submit._follow(jobs, "job")
    assert jobs.asked == submit.RETRIES
