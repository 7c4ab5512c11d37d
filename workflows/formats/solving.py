"""The chats in which solutions are written and gone on with."""

from __future__ import annotations

from functools import partial

from actors.engines.contract import Chat
from storage.rows.records import Message, Problem
from workflows.formats import steps
from workflows.formats.worked_examples import solution_turns
from workflows.settings import SampleSettings


def policy_chat(system: str, problem: Problem, shown: tuple[Message, ...] = ()) -> Chat:
    """The chat that forces the first step header; `shown`: turns before the problem."""
    return opened_chat(system, problem, steps.opening(()), shown)


def opened_chat(
    system: str, problem: Problem, opening: str, shown: tuple[Message, ...] = ()
) -> Chat:
    """The chat that continues a solution after `opening`, which ends with a step's header."""
    asked = (Message("system", system), *shown, Message("user", problem.problem))
    return Chat(asked, opening)


def first_chat(asked: SampleSettings) -> partial[Chat]:
    """`policy_chat` as the settings ask for it: a function of the problem."""
    return partial(policy_chat, asked.system, shown=solution_turns(asked.examples))


def next_chat(asked: SampleSettings) -> partial[Chat]:
    """`opened_chat` as the policy was asked: a function of the problem and the opening."""
    return partial(opened_chat, asked.system, shown=solution_turns(asked.examples))
