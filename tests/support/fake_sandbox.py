"""A sandbox in this process that dies and gets lost on demand, and a solution to write about."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from actors.sandbox.contract import Execution, Limits, Request, SessionDead, Verdict
from storage.errors import SandboxLost, SandboxUnavailable
from storage.rows.kinds import LABELS, PATHS, PROBLEMS, ShardRows
from storage.rows.records import Path, PathLabels, Problem

PROBLEM = Problem(
    problem_id="p",
    problem="What is 2 + 3?",
    answer="ANSWER-LEAK",
    reference_solution="REFERENCE-LEAK",
)


STEPS = ("2 + 3 = 5", "so \\boxed{5}")


def execution(verdict: Verdict = Verdict.OK, stdout: str = "", stderr: str = "") -> Execution:
    return Execution(
        verdict=verdict, exit_code=None, signal=None, stdout=stdout, stderr=stderr,
        stdout_truncated=False, stderr_truncated=False, wall_s=0.5, cpu_s=0.1,
        peak_memory_kb=1, queued_s=0.25, sandbox_id="fake",
    )  # fmt: skip


@dataclass
class FakeSession:
    """Runs the tests' own code in one namespace; `die` and `lost` end it."""

    owner: FakeSandbox
    names: dict[str, Any] = field(default_factory=dict)
    dead: bool = False

    async def run(self, code: str, limits: Limits | None = None) -> Execution:
        await asyncio.sleep(0)
        if self.dead:
            raise SessionDead
        self.owner.ran.append(code)
        if "lost" in code and self.owner.losses > 0:
            self.owner.losses -= 1
            raise SandboxLost("the container vanished")
        if "die" in code:
            self.dead = True
            return execution(Verdict.TIMEOUT, stdout="before\n")
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            try:
                exec(code, self.names)
            except Exception as error:  # noqa: BLE001 - as an interpreter does
                stderr = f"Traceback …\n{type(error).__name__}: {error}\n"
                return execution(Verdict.ERROR, out.getvalue(), stderr)
        return execution(stdout=out.getvalue())


@dataclass
class FakeSandbox:
    losses: int = 0
    ran: list[str] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    unavailable: bool = False
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1000))

    async def run(self, request: Request, limits: Limits | None = None) -> Execution:
        raise AssertionError("a rationale runs its code in a session")

    def session(self, key: str) -> AbstractAsyncContextManager[FakeSession]:
        return self._session(key)

    @asynccontextmanager
    async def _session(self, key: str) -> AsyncIterator[FakeSession]:
        if self.unavailable:
            raise SandboxUnavailable("no slot")
        async with self.room:
            self.opened.append(key)
            try:
                yield FakeSession(self)
            finally:
                self.closed.append(key)

    async def close(self) -> None:
        self.closed.append("sandbox")


def rows(*steps: str) -> ShardRows:
    path = Path(
        path_id="p#0", problem_id="p", index=0, round=0, text="", steps=list(steps or STEPS),
        finish_reason="stop", answer="ANSWER-LEAK", correct=True, valid=True,
        invalid_reason=None, duplicate_of=None, selected=True, tokens=1, seed=0,
    )  # fmt: skip
    labels = PathLabels(
        path_id="p#0", problem_id="p", mc=[0.123456, 1.0, 1.0], n=[4, 4, 0],
        value=[8.1, 1.0], labels=[True, True], first_error=None, form="ratio",
        threshold=0.8, policy_pass_at_1=0.5,
    )  # fmt: skip
    return ShardRows({PROBLEMS: (PROBLEM,), PATHS: (path,), LABELS: (labels,)})
