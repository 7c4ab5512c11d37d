"""The chat route of OpenAI-compatible servers: one request's body, one answer's meaning.

Invariant: pure; an answer is read only with exactly the samples asked for, each with its text and a
finish reason that ends it; anything else is `BadAnswer`. Texts, stop strings and tokens mean what
they mean on every backend, whatever the server can do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from actors.engines.contract import Chat, Completion, Refusal, Reply, Sampling, TokenLogprob
from actors.engines.served.answers import (
    BadAnswer,
    cached_tokens,
    choices_of,
    named_stop,
    plain_sampling,
    understood,
)
from actors.engines.served.capabilities import Capabilities, Continuing
from storage.errors import ItemError

GO_ON = (
    "Go on with your answer exactly where it stops. Write only what comes next, without repeating "
    "anything that you have written and without a remark about it."
)
CHARACTERS = 4
"""Of a token, where nobody counts."""
_ENDS = {"stop": "stop", "eos": "stop", "length": "length"}


def messages_of(chat: Chat, continues: Continuing) -> list[dict[str, Any]]:
    """The turns of a request, the begun answer among them."""
    turns: list[dict[str, Any]] = list(chat.turns())
    if chat.prefill:
        begun: dict[str, Any] = {"role": "assistant", "content": chat.prefill}
        turns.append(begun | {"prefix": True} if continues == "prefix" else begun)
        if continues == "user":
            turns.append({"role": "user", "content": GO_ON})
    return turns


def request_body(
    model: str,
    chat: Chat,
    sampling: Sampling,
    found: Capabilities,
    more: Mapping[str, str | int | float | bool],
) -> dict[str, Any]:
    """The JSON body that asks for `sampling.n` samples; `more`: further fields, with dots in the
    names of nested ones.
    """
    body: dict[str, Any] = {
        "model": model,
        "messages": messages_of(chat, found.continues),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        found.limit: sampling.max_tokens,
    }
    if sampling.n > 1:
        body["n"] = sampling.n
    if found.takes_seed:
        body["seed"] = sampling.seed
    if found.takes_more:
        body |= plain_sampling(sampling)
    if sampling.stop and found.stops != "cut":
        body["stop"] = list(sampling.stop)
        if found.stops == "kept":
            body["include_stop_str_in_output"] = True
    if sampling.logprobs:
        body |= {"logprobs": True, "top_logprobs": sampling.logprobs}
    if chat.prefill and found.continues == "continue_final_message":
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    for name, value in more.items():
        _put(body, name.split("."), value)
    return body


def _put(body: dict[str, Any], path: Sequence[str], value: object) -> None:
    for part in path[:-1]:
        body = body.setdefault(part, {})
    body[path[-1]] = value


def read_answer(answer: Any, chat: Chat, sampling: Sampling, found: Capabilities) -> Reply:
    """Read a server's answer. Raises BadAnswer, and ItemError `filtered`."""
    ordered = choices_of(answer, sampling.n)
    with understood():
        usage = answer.get("usage") or {}
        texts = [_behind(chat.prefill, written(choice), found) for choice in ordered]
        counts = _counts(ordered, texts, usage.get("completion_tokens"))
        return Reply(
            completions=tuple(
                _completion(choice, text, count, sampling, found)
                for choice, text, count in zip(ordered, texts, counts, strict=True)
            ),
            prompt_tokens=usage.get("prompt_tokens") or estimated_prompt(chat),
            cached_tokens=cached_tokens(usage),
        )


def estimated_prompt(chat: Chat) -> int:
    """Tokens of a prompt that nobody counted."""
    said = len(chat.prefill) + sum(len(turn.content) for turn in chat.messages)
    return -(-said // CHARACTERS)


def written(choice: Mapping[str, Any]) -> str:
    """The text of a sample as it was sent; thoughts that the server keeps apart are not in it."""
    message = choice["message"]
    text = message.get("content")
    if text is None and thought(choice):
        return ""  # cut in the middle of its thoughts
    if not isinstance(text, str):
        raise BadAnswer("a sample without a text")
    return text


def thought(choice: Mapping[str, Any]) -> str:
    """The thoughts of a sample that the server keeps apart; empty where it sends none."""
    message = choice["message"]
    said = message.get("reasoning") or message.get("reasoning_content")
    return said if isinstance(said, str) else ""


def _completion(
    choice: Mapping[str, Any], text: str, tokens: int, sampling: Sampling, found: Capabilities
) -> Completion:
    """A sample of so many tokens; of a text that is cut here, those of the part that is kept."""
    reason = choice["finish_reason"]
    if reason == "content_filter":
        raise ItemError(Refusal.FILTERED, "the server withheld the answer")
    if reason not in _ENDS:
        raise BadAnswer(f"a sample that ended with {reason!r}")
    finish, stop, logprobs = _ENDS[reason], None, logprobs_of(choice, sampling.logprobs)
    if found.stops == "cut":
        kept, stop = _cut(text, sampling)
        if stop is not None:
            finish, tokens = "stop", -(-tokens * len(kept) // max(1, len(text)))
            text, logprobs = kept, _of_text(logprobs, len(kept))
    elif finish == "stop":
        text, stop = _stopped(choice, text, sampling, found)
    return Completion(
        text, finish, stop, len(logprobs) or tokens, logprobs, thought=thought(choice)
    )


def _behind(begun: str, text: str, found: Capabilities) -> str:
    """What was written behind the beginning. Raises BadAnswer for another beginning."""
    if not begun:
        return text
    if found.continues == "user":
        last = begun.rpartition("\n")[2].strip()
        for repeated in (begun.strip(), last):
            if repeated and text.lstrip().startswith(repeated):
                text = text.lstrip().removeprefix(repeated)
                break
        return text.lstrip(" ") if begun.endswith(" ") else text
    if not found.echoes:
        return text
    for repeated in (begun, begun.rstrip()):
        if text.startswith(repeated):
            return text.removeprefix(repeated)
    raise BadAnswer("a text that does not begin with what it should go on from")


def _cut(text: str, sampling: Sampling) -> tuple[str, str | None]:
    """The text up to its first stop string."""
    stops = [(at, stop) for stop in sampling.stop if (at := text.find(stop)) >= 0]
    if not stops:
        return text, None
    at, stop = min(stops)
    return text[: at + (len(stop) if sampling.include_stop else 0)], stop


def _stopped(
    choice: Mapping[str, Any], text: str, sampling: Sampling, found: Capabilities
) -> tuple[str, str | None]:
    """The text and the stop string that ended it, as the server says."""
    if found.stops == "named":
        reason = named_stop(choice)
        stop = reason if reason in sampling.stop else None
    else:
        stop = next((stop for stop in sampling.stop if text.endswith(stop)), None)
    if stop is None:
        return text, None
    bare = text.removesuffix(stop)
    return (bare + stop if sampling.include_stop else bare), stop


def logprobs_of(choice: Mapping[str, Any], top: int) -> tuple[TokenLogprob, ...]:
    """Sampled tokens with their `top` most likely alternatives, most likely first."""
    if not top:
        return ()
    return tuple(
        TokenLogprob(
            row["token"],
            float(row["logprob"]),
            tuple(
                sorted(
                    ((one["token"], float(one["logprob"])) for one in row["top_logprobs"]),
                    key=lambda pair: -pair[1],
                )[:top]
            ),
        )
        for row in choice["logprobs"]["content"]
    )


def _of_text(logprobs: Sequence[TokenLogprob], size: int) -> tuple[TokenLogprob, ...]:
    """Those of the first `size` characters."""
    ends = accumulate(len(row.token) for row in logprobs)
    return tuple(
        row for row, end in zip(logprobs, ends, strict=True) if end - len(row.token) < size
    )


def _counts(
    choices: Sequence[Mapping[str, Any]], texts: Sequence[str], total: int | None
) -> list[int]:
    """Tokens of each text: as the server counts them, shared by length where it counts all
    together, estimated where it does not count.
    """
    if all(isinstance(choice.get("token_ids"), list) for choice in choices):
        return [len(choice["token_ids"]) for choice in choices]
    if total is None:
        return [-(-len(text) // CHARACTERS) for text in texts]
    whole = sum(map(len, texts))
    if len(texts) == 1 or not whole:
        return [total, *([0] * (len(texts) - 1))]
    counts = [total * len(text) // whole for text in texts]
    for number in range(total - sum(counts)):
        counts[number] += 1
    return counts
