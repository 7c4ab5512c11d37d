"""Has a rationale writer verify solutions: code rounds in child processes, the index by a vote.

Invariant: code runs in one child process per solution, each block under a time limit. Only
``workflows.formats.prompts`` builds what the writer reads.
"""

import json
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from workflows.formats import prompts

_CHILD = """
import contextlib, io, json, sys
variables = {}
for line in sys.stdin:
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            exec(json.loads(line), variables)
        reply = [True, out.getvalue()]
    except BaseException as error:
        reply = [False, type(error).__name__, str(error)]
    print(json.dumps(reply), flush=True)
"""
_MOST_ROUNDS = 24


class Interpreter:
    """One child process that runs the code blocks of one solution."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, code: str, limit: float = 5.0) -> tuple[bool, str]:
        """Whether the code ran, and what stands in the output block."""
        assert self._child.stdin is not None and self._child.stdout is not None
        try:
            self._child.stdin.write(json.dumps(code) + "\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            return False, prompts.code_error("SystemExit", "the interpreter has ended")
        if not select.select([self._child.stdout], [], [], limit)[0]:
            self._child.kill()
            return False, f"Code execute time out: {limit} s"
        line = self._child.stdout.readline()
        if not line:
            return False, prompts.code_error("SystemExit", "the interpreter has ended")
        ran, *rest = json.loads(line)
        return (True, rest[0]) if ran else (False, prompts.code_error(rest[0], rest[1]))

    def close(self) -> None:
        """End the interpreter."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()


class Writer(Protocol):
    """A model that continues rendered chats."""

    def render(self, chat: prompts.Chat) -> str:
        """The chat as text, its prefill last."""

    def write(
        self, texts: Sequence[str], seed: int, count: int = 1, **sampling: Any
    ) -> list[list[tuple[str, str, str]]]:
        """Per text ``count`` times: reply, finish reason, stop string."""


@dataclass
class Verdict:
    """A verification in the making, and what became of it."""

    text: str
    finished: bool = False
    runs: list[bool] = field(default_factory=list)
    index: int | None = None


def rationalize(
    writer: Writer, asked: Sequence[prompts.Chat], seed: int, execute: bool
) -> list[Verdict]:
    """Verify each path, code executed or its output imagined; the index by a vote of four."""
    opened = [writer.render(chat) for chat in asked]
    verdicts = [Verdict(text) for text in opened]
    interpreters = [Interpreter() for _ in asked] if execute else []
    stops = [*([prompts.CODE_CLOSE] if execute else []), prompts.THINK_CLOSE]
    style: dict[str, Any] = {"temperature": 0.6, "top_p": 0.95, "top_k": 40}
    for turn in range(_MOST_ROUNDS if execute else 1):
        active = [index for index, verdict in enumerate(verdicts) if not verdict.finished]
        if not active:
            break
        texts = [verdicts[index].text for index in active]
        written = writer.write(
            texts, seed + turn, stop=stops, max_tokens=256 if execute else 900, **style
        )
        for index, ((reply, _, stop),) in zip(active, written, strict=True):
            verdict = verdicts[index]
            verdict.text += reply
            verdict.finished = stop != prompts.CODE_CLOSE
            if verdict.finished:
                continue
            verdict.text += prompts.CODE_CLOSE
            ran, output = interpreters[index].run(prompts.last_code(verdict.text) or "")
            verdict.runs.append(ran)
            verdict.text += prompts.code_output(output)
    for interpreter in interpreters:
        interpreter.close()
    concluded = [index for index, each in enumerate(verdicts) if prompts.VERIFY_CLOSE in each.text]
    texts = [prompts.conclude(verdicts[index].text) for index in concluded]
    votes = writer.write(texts, seed, 4, stop=[prompts.INDEX_STOP], max_tokens=8, **style)
    for index, replies in zip(concluded, votes, strict=True):
        read = [prompts.index_vote(reply) for reply, _, _ in replies]
        counted = Counter(vote for vote in read if vote is not None)
        verdicts[index].index = counted.most_common(1)[0][0] if counted else None
    for verdict, text in zip(verdicts, opened, strict=True):
        verdict.text = verdict.text[len(text) :]
    return verdicts


def parses(verdict: Verdict, count: int) -> bool:
    """Each paragraph once and in order, both parts and a code block in each, a readable index."""
    whole = prompts.paragraph_heading(1) + prompts.ANALYZE_OPEN + "\n" + verdict.text
    parts = whole.split("### Paragraph ")[1:]
    return (
        verdict.index is not None
        and len(parts) == count
        and all(
            part.startswith(f"{number}\n{prompts.ANALYZE_OPEN}\n")
            and all(part.count(tag) == 1 for tag in ("</analyze>", "<verify>", "</verify>"))
            and prompts.CODE_OPEN in part
            for number, part in enumerate(parts, start=1)
        )
    )
