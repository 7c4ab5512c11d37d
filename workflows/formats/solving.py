"""The chats in which a model writes a solution, or continues one."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from actors.engines.contract import Chat
from storage.rows.records import Message, Problem
from workflows.formats import prompts, steps
from workflows.formats.templates import AS_THEY_ARE, Texts
from workflows.formats.worked_examples import solution_turns
from workflows.settings.sampling import WorkedSolution


def policy_chat(
    system: str,
    problem: Problem,
    shown: tuple[Message, ...] = (),
    texts: Texts = AS_THEY_ARE,
) -> Chat:
    """A chat whose answer begins with the first step header; `shown`: turns before the problem."""
    return opened_chat(system, problem, steps.opening(()), shown, texts)


def opened_chat(
    system: str,
    problem: Problem,
    opening: str,
    shown: tuple[Message, ...] = (),
    texts: Texts = AS_THEY_ARE,
) -> Chat:
    """A chat whose answer continues `opening`, which ends with a step's header."""
    question = prompts.SOLVE.of(texts, problem=problem.problem)
    return Chat((Message("system", system), *shown, Message("user", question)), opening)


class Asking(Protocol):
    """The part of a stage's settings that says how a policy is asked."""

    @property
    def system(self) -> str:
        """System prompt."""
        ...

    @property
    def examples(self) -> tuple[WorkedSolution, ...]:
        """Worked examples before the problem."""
        ...


def first_chat(settings: Asking, texts: Texts = AS_THEY_ARE) -> partial[Chat]:
    """`policy_chat` with the settings filled in: a function of the problem."""
    shown = solution_turns(settings.examples, texts)
    return partial(policy_chat, _system(settings, texts), shown=shown, texts=texts)


def next_chat(settings: Asking, texts: Texts = AS_THEY_ARE) -> partial[Chat]:
    """`opened_chat` with the settings filled in: a function of the problem and the opening."""
    shown = solution_turns(settings.examples, texts)
    return partial(opened_chat, _system(settings, texts), shown=shown, texts=texts)


def _system(settings: Asking, texts: Texts) -> str:
    return prompts.SOLVER.of(texts) if prompts.SOLVER.name in texts else settings.system
