"""The completions route of OpenAI-compatible servers: one request's body, one answer's meaning.

Invariant: pure; an answer is read only with exactly the samples asked for, each with its text, a
finish reason that ends it and a count of tokens; anything else is `BadAnswer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from actors.engines.contract import Completion, Reply, Sampling, TokenLogprob


class BadAnswer(Exception):
    """The server sent something that is not the answer to the request."""


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
        # Said explicitly: a server may otherwise take them from the model's folder.
        "top_k": sampling.top_k,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "return_token_ids": True,
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
    if not isinstance(answer, dict) or not isinstance(answer.get("choices"), list):
        raise BadAnswer("an answer without choices")
    choices = answer["choices"]
    if len(choices) != sampling.n:
        raise BadAnswer(f"{len(choices)} samples where {sampling.n} were asked for")
    try:
        ordered = sorted(choices, key=lambda choice: choice["index"])
        if [choice["index"] for choice in ordered] != list(range(sampling.n)):
            raise BadAnswer("samples with the wrong indices")
        usage = answer.get("usage") or {}
        total = usage.get("completion_tokens") if sampling.n == 1 else None
        details = usage.get("prompt_tokens_details") or {}
        return Reply(
            completions=tuple(
                _completion(choice, sampling, total, count_tokens) for choice in ordered
            ),
            prompt_tokens=prompt_tokens,
            cached_tokens=details.get("cached_tokens") or 0,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadAnswer(f"a malformed answer: {type(error).__name__}: {error}") from error


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


NAMES = ("stop_reason", "matched_stop")
"""Where a server names the stop string that ended a text: vLLM, SGLang."""


def named_stop(choice: Mapping[str, Any]) -> str | None:
    """The stop string that a server names."""
    named = (choice.get(name) for name in NAMES)
    return next((stop for stop in named if isinstance(stop, str)), None)


def _stop_string(choice: Mapping[str, Any], text: str, sampling: Sampling) -> str | None:
    """Which stop string ended the text; servers that don't say are believed by the text's end.

    Raises BadAnswer where the text has none at its end although it should be kept: then the turn
    may have ended, or the server left the stop string out, and nobody can tell.
    """
    if choice["finish_reason"] != "stop":
        return None
    if any(name in choice for name in NAMES):
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
