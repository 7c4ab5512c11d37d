"""The completions route of OpenAI-compatible servers: one request's body, one answer's meaning.

Invariant: pure; an answer is read only with exactly the samples asked for, each with its text, a
finish reason that ends it and a count of tokens; anything else is `BadAnswer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from actors.engines.contract import Completion, Reply, Sampling, TokenLogprob
from actors.engines.served.answers import (
    STOP_NAMES,
    BadAnswer,
    cached_tokens,
    choices_of,
    named_stop,
    plain_sampling,
    understood,
)


def request_body(
    model: str, prompt: list[int], sampling: Sampling, max_tokens: int
) -> dict[str, Any]:
    """The JSON body that asks for `sampling.n` samples after the tokens of `prompt`."""
    body: dict[str, Any] = {
        "model": model,
        "prompt": prompt,
        "n": sampling.n,
        "seed": sampling.seed,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": max_tokens,
        "return_token_ids": True,
        **plain_sampling(sampling),
    }
    if sampling.stop:
        body["stop"] = list(sampling.stop)
        body["include_stop_str_in_output"] = sampling.include_stop
    if sampling.logprobs:
        body["logprobs"] = sampling.logprobs
    return body


def read_answer(
    answer: Any, sampling: Sampling, prompt_tokens: int, count_tokens: Callable[[str], int]
) -> Reply:
    """Read a server's answer; `count_tokens` stands in where the server does not count.

    Raises BadAnswer.
    """
    choices = choices_of(answer, sampling.n)
    with understood():
        usage = answer.get("usage") or {}
        total = usage.get("completion_tokens") if sampling.n == 1 else None
        return Reply(
            completions=tuple(
                _completion(choice, sampling, total, count_tokens) for choice in choices
            ),
            prompt_tokens=prompt_tokens,
            cached_tokens=cached_tokens(usage),
        )


def _completion(
    choice: Mapping[str, Any],
    sampling: Sampling,
    total: int | None,
    count_tokens: Callable[[str], int],
) -> Completion:
    text, finish = choice["text"], choice["finish_reason"]
    if not isinstance(text, str) or finish not in ("stop", "length"):
        raise BadAnswer(f"a sample that ended with {finish!r}")
    logprobs = _logprobs(choice["logprobs"], sampling.logprobs) if sampling.logprobs else ()
    if isinstance(choice.get("token_ids"), list):
        tokens = len(choice["token_ids"])
    elif total is not None:
        tokens = total
    else:
        tokens = len(logprobs) or count_tokens(text)
    stop = _stop_string(choice, text, sampling)
    if stop is not None and sampling.include_stop:
        text = text.removesuffix(stop) + stop  # SGLang names it, and knows no such field
    return Completion(text, finish, stop, tokens, logprobs)


def _stop_string(choice: Mapping[str, Any], text: str, sampling: Sampling) -> str | None:
    """Which stop string ended the text; servers that don't say are believed by the text's end.

    Raises BadAnswer where the text has none at its end although it should be kept: then the turn
    may have ended, or the server left the stop string out, and nobody can tell.
    """
    if choice["finish_reason"] != "stop":
        return None
    if any(name in choice for name in STOP_NAMES):
        return named_stop(choice)
    found = next((stop for stop in sampling.stop if text.endswith(stop)), None)
    if found is None and sampling.stop and sampling.include_stop:
        raise BadAnswer(
            "it does not say what ended a text (no stop_reason), and a stop string that it was "
            "asked to keep (include_stop_str_in_output) is not there"
        )
    return found


def _logprobs(sent: Mapping[str, Any], top: int) -> tuple[TokenLogprob, ...]:
    """Sampled tokens with their `top` most likely alternatives, most likely first.

    A server may add the sampled token to its alternatives, and it keys them by text.
    """
    rows = zip(sent["tokens"], sent["token_logprobs"], sent["top_logprobs"], strict=True)
    return tuple(
        TokenLogprob(
            token,
            float(logprob),
            tuple(sorted(choices.items(), key=lambda item: -item[1])[:top]),
        )
        for token, logprob, choices in rows
    )
