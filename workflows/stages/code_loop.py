"""The model writes, pauses behind a block of code, reads what it printed, and goes on.

Shared by whoever writes rationales and whoever verifies responses; what a call is, and when a text
is over, is theirs to say.

Invariant: an output in a text is what its block printed; a block or an output that was not run is
cut off, or ends the text.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from actors.engines.contract import Completion
from actors.sandbox.contract import Limits
from actors.sandbox.session import Interpreter
from storage.rows.records import CodeRun
from workflows.formats.paper_form import PaperForm
from workflows.formats.verification import TrainingForm

Form = PaperForm | TrainingForm


class Page:
    """A text while it is written, what was run for it, and what it cost."""

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.settled = 0
        """Where the last block that was run begins; up to there nothing is to be settled."""
        self.ran = False
        """Whether a block was run, which begins there."""
        self.executions: list[CodeRun] = []
        """In the order in which they were run."""
        self.tokens = 0
        """Generated."""
        self.size = 0
        """Tokens of the assistant's turn, code outputs included, as of the last call."""
        self.calls = 0
        self._prompt: int | None = None

    def note(self, written: Completion, prompt_tokens: int) -> None:
        """Count what one call cost."""
        self._prompt = prompt_tokens if self._prompt is None else self._prompt
        self.size = prompt_tokens - self._prompt + written.tokens
        self.tokens += written.tokens
        self.calls += 1

    def settle(self, text: str) -> None:
        """Put `text` in the place of what was written: its end is a block, or was cut off."""
        self.text = text


async def write_and_run(
    page: Page,
    form: Form,
    go_on: Callable[[], Awaitable[bool]],
    run: Callable[[str], Awaitable[object]] | None,
    cut: Callable[[], None] = lambda: None,
) -> None:
    """Write until the text is over, each block of code followed by what it printed.

    `go_on` writes one call's text, and says whether the text is over with it. `run` runs a block
    that the text ends with (`execute`); None: code is not run. `cut` hears that something that
    can't stay was cut off. What any of them raises ends the text.
    """
    while True:
        over = await go_on()
        found = form.found(page.text[page.settled :], page.ran) if run else None
        if found is None or run is None:
            if over:
                return
            continue
        page.settle(page.text[: page.settled] + found.text)
        if found.code is None:
            cut()
        else:
            await run(found.code)


async def execute(
    page: Page, form: Form, interpreter: Interpreter, step: int, code: str, limits: Limits
) -> None:
    """Run the block that the text ends with and append its output."""
    run, block = await run_block(form, interpreter, step, code, limits)
    page.executions.append(run)
    page.settled, page.ran = page.text.rindex(form.code_block(code)), True
    page.text += block


async def run_block(
    form: Form, interpreter: Interpreter, step: int, code: str, limits: Limits
) -> tuple[CodeRun, str]:
    """(what happened, the block that shows the output)."""
    execution = await interpreter.run(code, limits)
    output, block = form.code_output(execution, limits)
    run = CodeRun(
        step=step,
        code=code,
        output=output,
        verdict=str(execution.verdict),
        wall_s=execution.wall_s,
        queued_s=execution.queued_s,
    )
    return run, block
