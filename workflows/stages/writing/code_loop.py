"""The loop in which a model writes a code block, reads what the block printed, and goes on.

Stages `rationalize` and `score` share it; each decides what one call is, and when a text is over.

Invariant: every output in a text is what its block printed. A block or output that was not run is
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
    """A text while it is written, with its code runs and its cost."""

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.settled = 0
        """Where the last block that was run begins; the text before it stays as it is."""
        self.ran = False
        """Whether any block was run."""
        self.executions: list[CodeRun] = []
        """In the order in which they were run."""
        self.backends: set[str] = set()
        """What enclosed them."""
        self.tokens = 0
        """Generated tokens."""
        self.size = 0
        """Tokens of the assistant's turn after the last call, with code outputs."""
        self.calls = 0
        self._prompt: int | None = None

    def note(self, written: Completion, prompt_tokens: int) -> None:
        """Count the cost of one call."""
        self._prompt = prompt_tokens if self._prompt is None else self._prompt
        self.size = prompt_tokens - self._prompt + written.tokens
        self.tokens += written.tokens
        self.calls += 1

    def settle(self, text: str) -> None:
        """Replace the text by `text`, which ends with a block or was cut short."""
        self.text = text


async def write_and_run(
    page: Page,
    form: Form,
    go_on: Callable[[], Awaitable[bool]],
    run: Callable[[str], Awaitable[object]] | None,
    cut: Callable[[], None] = lambda: None,
) -> None:
    """Write until the text is over; run each code block and put its output behind it.

    `go_on` writes the text of one call, and returns whether the text is over. `run` runs the block
    at the text's end (`execute`); None: code is not run. `cut` is called after an unrun block or
    output was cut off. An exception of any of them ends the loop.
    """
    while True:
        over = await go_on()
        tail = form.found(page.text[page.settled :], page.ran) if run else None
        if tail is None or run is None:
            if over:
                return
            continue
        page.settle(page.text[: page.settled] + tail.text)
        if tail.code is None:
            cut()
        else:
            await run(tail.code)


async def execute(
    page: Page, form: Form, interpreter: Interpreter, step: int, code: str, limits: Limits
) -> None:
    """Run the block that the text ends with and append its output."""
    run, block = await run_block(form, interpreter, step, code, limits)
    page.executions.append(run)
    page.backends |= interpreter.backends
    page.settled, page.ran = page.text.rindex(form.code_block(code)), True
    page.text += block


async def run_block(
    form: Form, interpreter: Interpreter, step: int, code: str, limits: Limits
) -> tuple[CodeRun, str]:
    """Run code and return (the run, the block that shows its output in the text)."""
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
