"""What exported rows show: asked of every row by the audit, and run again where that is wanted."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from actors.sandbox.session import ATTEMPTS
from launch.verbs.runs.status import audit_run
from storage.audit import audit
from storage.errors import ConfigurationError, SandboxLost, SandboxUnavailable
from storage.objects.memory import MemoryStore
from storage.rows.kinds import EXAMPLES
from storage.rows.records import CodeRun, Example, Message
from storage.runs.run import Run
from tests.support.altered import recommit
from tests.support.scripted_world import InProcessSandbox, InProcessSession
from tests.support.whole_run import finished
from workflows.builds.rerun import run_again
from workflows.formats import prompts
from workflows.formats.executed import shown_unrun

CODE = ("x = 4\nprint(x)", "print(x * 3)")


def whole(example: Example, outputs: tuple[str, str] = ("4", "12")) -> Example:
    """The row with two turns, each with a block that was run."""
    turns = [Message("system", "You check.")]
    for code, output in zip(CODE, outputs, strict=True):
        shown = prompts.code_block(code) + prompts.code_output(output)
        turns += [Message("user", "?"), Message("assistant", f"<verify>\n{shown}</verify>")]
    runs = [
        CodeRun(step, code, output, "ok", 0.01, 0.0)
        for step, (code, output) in enumerate(zip(CODE, outputs, strict=True))
    ]
    return dataclasses.replace(example, conversations=turns, executions=runs)


def invented(example: Example) -> Example:
    """The row with an output in its text that is not that of its execution."""
    turns = [
        dataclasses.replace(turn, content=turn.content.replace("\n12\n", "\n13\n"))
        for turn in whole(example).conversations
    ]
    return dataclasses.replace(whole(example), conversations=turns)


def exported(change: Callable[[Example], Example], first_only: bool = False) -> Run:
    """A finished run, its exported rows changed."""
    run = finished(MemoryStore())
    for shard in range(run.spec.plan.shards):
        rows = run.read_rows(EXAMPLES, shard)
        made = [
            whole(row) if first_only and (at or shard) else change(row)
            for at, row in enumerate(rows)
        ]
        recommit(run, "export", shard, made, [])
    return run


def kinds(run: Run) -> set[str]:
    """Findings about rows, the commits that the test replaced apart."""
    return {finding.kind for finding in audit(run, shown_unrun).findings} - {"success", "dataset"}


def test_every_exported_row_is_asked_and_those_that_show_more_than_was_run_are_counted() -> None:
    clean = audit(exported(whole), shown_unrun)
    assert clean.exported > 2 and clean.not_executed == 0
    assert kinds(exported(whole)) == set()
    one = audit(exported(invented, first_only=True), shown_unrun)
    assert (one.exported, one.not_executed) == (clean.exported, 1)
    (finding,) = [each for each in one.findings if each.kind == "not_executed"]
    assert "paragraph 2" in finding.detail and "'print(x * 3)'" in finding.detail


def test_rows_whose_code_was_not_run_say_so_and_are_no_finding() -> None:
    def ablated(example: Example) -> Example:
        return dataclasses.replace(invented(example), executions=[], executed=False)

    assert kinds(exported(ablated)) == set()


async def test_code_that_prints_what_is_shown_runs_again_without_a_finding() -> None:
    run = exported(whole)
    again = await run_again(run, 1.0, InProcessSandbox())
    assert again.rows == audit(run, shown_unrun).exported
    assert again.blocks == 2 * again.rows
    assert again.findings == ()


async def test_an_output_that_code_does_not_print_is_found_by_running_it_again() -> None:
    run = exported(lambda example: whole(example, ("4", "13")), first_only=True)
    assert kinds(run) == set(), "text and execution agree with each other"
    (finding,) = (await run_again(run, 1.0, InProcessSandbox())).findings
    assert finding.kind == "runs_otherwise"
    assert "paragraph 2: '12' where '13' is shown" in finding.detail


async def test_a_share_takes_the_same_rows_each_time() -> None:
    run = exported(whole)
    few, more, every = [
        (await run_again(run, share, InProcessSandbox())).rows for share in (0.01, 0.6, 1.0)
    ]
    assert few <= more <= every
    assert (await run_again(run, 0.6, InProcessSandbox())).rows == more


class FailingSandbox(InProcessSandbox):
    """The second session can't be had, the others wait for ever."""

    def __init__(self) -> None:
        self.asked = self.open = 0
        self.left: int | None = None
        """Sessions that were open when the sandbox was closed."""

    @asynccontextmanager
    async def session(self, key: str) -> AsyncIterator[InProcessSession]:
        self.asked += 1
        if self.asked == 2:
            raise SandboxUnavailable("no slot")
        self.open += 1
        try:
            await asyncio.Event().wait()
            yield InProcessSession()
        finally:
            self.open -= 1

    async def close(self) -> None:
        self.left = self.open


async def test_nothing_is_under_way_any_more_when_the_sandbox_closes() -> None:
    sandbox = FailingSandbox()
    with pytest.raises(SandboxUnavailable):
        await run_again(exported(whole), 1.0, sandbox)
    assert sandbox.asked > 1 and sandbox.left == 0


class LosingSandbox(InProcessSandbox):
    """The first sessions are lost."""

    def __init__(self, losses: int) -> None:
        self.losses = losses

    @asynccontextmanager
    async def session(self, key: str) -> AsyncIterator[InProcessSession]:
        if self.losses:
            self.losses -= 1
            raise SandboxLost("the container vanished")
        yield InProcessSession()


async def test_a_row_whose_sandbox_was_lost_is_run_again_until_its_tries_are_used_up() -> None:
    run = exported(whole)
    assert (await run_again(run, 1.0, LosingSandbox(ATTEMPTS - 1))).findings == ()
    with pytest.raises(SandboxLost):
        await run_again(run, 1.0, LosingSandbox(1_000))


def test_a_share_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="between 0 and 1"):
        audit_run(exported(whole), as_json=False, replay=2.0)
