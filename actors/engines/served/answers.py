"""What the two routes of OpenAI-compatible servers have in common: fields asked for, answers read.

Invariant: an answer is read only with exactly the samples asked for; anything else is `BadAnswer`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from actors.engines.contract import Sampling

STOP_NAMES = ("stop_reason", "matched_stop")
"""Where a server names the stop string that ended a text: vLLM, SGLang."""


class BadAnswer(Exception):
    """The server sent something that is not the answer to the request."""


def plain_sampling(sampling: Sampling) -> dict[str, Any]:
    """Fields that a server would take from the model's folder where a request leaves them out."""
    return {"top_k": sampling.top_k, "min_p": 0.0, "repetition_penalty": 1.0}


@contextmanager
def understood() -> Iterator[None]:
    """Make a BadAnswer of what reading a malformed answer raises."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadAnswer(f"a malformed answer: {type(error).__name__}: {error}") from error


def choices_of(answer: Any, count: int) -> list[Mapping[str, Any]]:
    """The samples of an answer, by their index. Raises BadAnswer unless there are `count`."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list):
        raise BadAnswer("an answer without choices")
    if len(choices) != count:
        raise BadAnswer(f"{len(choices)} samples where {count} were asked for")
    with understood():
        ordered = sorted(choices, key=lambda choice: choice["index"])
        if [choice["index"] for choice in ordered] != list(range(count)):
            raise BadAnswer("samples with the wrong indices")
    return ordered


def cached_tokens(usage: Mapping[str, Any]) -> int:
    """Tokens of a prompt that were in the server's cache; 0 where it does not say."""
    details = usage.get("prompt_tokens_details") or {}
    return details.get("cached_tokens") or 0


def named_stop(choice: Mapping[str, Any]) -> str | None:
    """The stop string that a server names."""
    named = (choice.get(name) for name in STOP_NAMES)
    return next((stop for stop in named if isinstance(stop, str)), None)
