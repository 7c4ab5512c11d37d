"""What a chat server can do, found by asking it: a dozen small requests, once.

A server that ignores a field says nothing of it, so each is tried by what comes back. Greedy
answers are compared with each other, so that any model will do.

Invariant: what can't be told from the answers counts as missing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, product
from typing import Any, get_args

from actors.engines.contract import Chat, Sampling
from actors.engines.served.answers import BadAnswer, named_stop
from actors.engines.served.capabilities import Capabilities, Continuing
from actors.engines.served.chat_api import logprobs_of, request_body, written
from actors.engines.served.server import Refused
from storage.errors import ConfigurationError, EngineFailed, ItemError
from storage.rows.records import Message

Post = Callable[[dict[str, Any]], Awaitable[Any]]
"""One request's body -> the answer. Raises Refused."""
COUNT = "Count from 1 to 40. Write the numbers in one line, with commas between them."
RANDOM = "Write one line of random letters and digits, and nothing else."
SUM, HEADER = "How much is 3 + 4? Write each step as `Step 1: `, `Step 2: `.", "Step 1:"
COUNTED = "1, 2, 3, 4, 5, 6, 7, 8, 9,"
"""What a model that can count will have written, where the greedy answer is not to be had."""
TOKENS, MORE_TOKENS = 40, 8
COMPARED = 8
"""Characters that two greedy answers must share."""
TOP = (20, 5)
"""Numbers of log-probabilities that are tried."""
NO = (400, 404, 422, 500, 501)
"""How servers refuse a field that they don't know."""


class Probe:
    """Asks one server about one model."""

    def __init__(
        self, post: Post, model: str, more: Mapping[str, str | int | float | bool]
    ) -> None:
        self._post = post
        self._model = model
        self._more = more
        self._found = Capabilities()
        self._ends: list[int] = []
        """Where the tokens of the greedy answer end, where that is known."""

    async def found(self, continues: Continuing | None = None) -> Capabilities:
        """What the server can do; `continues`: how it is known to go on with an answer.

        Raises ConfigurationError for a server that refuses a plain request.
        """
        first = await self._first()
        greedy = _text(first)
        usage = first.get("usage") or {}
        self._found = replace(self._found, usage=isinstance(usage.get("completion_tokens"), int))
        await self._fields()
        await self._seeds()
        await self._stops(greedy)
        await self._logprobs()
        await self._continues(greedy, continues)
        return self._found

    async def _first(self) -> dict[str, Any]:
        try:
            return await self._ask(_chat(COUNT), GREEDY)
        except Refused as refused:
            if "max_completion_tokens" not in str(refused):
                raise
        self._found = replace(self._found, limit="max_completion_tokens")
        return await self._ask(_chat(COUNT), GREEDY)

    async def _fields(self) -> None:
        """`top_k` and its like: with the likeliest token alone, the greedy answer comes back, where
        others would be as likely.
        """
        asked = replace(self._found, takes_more=True)
        likeliest = replace(GREEDY, temperature=1.0, top_k=1, seed=3)
        answer = await self._tried(_chat(RANDOM), likeliest, asked)
        if answer is not None:
            greedy = _text(await self._ask(_chat(RANDOM), GREEDY))
            same = len(greedy) >= COMPARED and _text(answer)[:COMPARED] == greedy[:COMPARED]
            self._found = replace(asked, top_k=same)

    async def _seeds(self) -> None:
        hot = Sampling(temperature=1.0, max_tokens=TOKENS, seed=11)
        asked = replace(self._found, takes_seed=True)
        one = await self._tried(_chat(RANDOM), hot, asked)
        texts: list[str] = []
        if one is not None:
            self._found = asked
            again = await self._ask(_chat(RANDOM), hot)
            other = await self._ask(_chat(RANDOM), replace(hot, seed=12))
            texts = [_text(one), _text(other)]
            seeded = _text(again) == texts[0] != texts[1]
            self._found = replace(asked, seed=seeded)
        both = await self._tried(_chat(RANDOM), replace(hot, n=2), self._found)
        choices = both.get("choices", []) if both else []
        if len(choices) == 2:
            samples = [_text_of(choice) for choice in choices]
            many = samples == texts if self._found.seed else samples[0] != samples[1]
            self._found = replace(self._found, many=many)

    async def _stops(self, greedy: str) -> None:
        """A few letters of the greedy answer as the stop string."""
        at = next((i for i in range(4, len(greedy) - 2) if greedy.find(greedy[i : i + 3]) == i), 0)
        if not at:
            return
        stopping = replace(GREEDY, stop=(greedy[at : at + 3],), include_stop=True)
        for way in ("kept", "named"):
            asked = replace(self._found, stops=way)
            answer = await self._tried(_chat(COUNT), stopping, asked)
            if answer is None or len(answer.get("choices", [])) != 1:
                continue
            (choice,) = answer["choices"]
            text, stop = _text_of(choice), stopping.stop[0]
            if text.removesuffix(stop) != greedy[:at]:
                continue
            if named_stop(choice) == stop:
                self._found = replace(self._found, stops="named")
            elif text.endswith(stop):
                self._found = replace(self._found, stops="kept")
            return

    async def _logprobs(self) -> None:
        for top in TOP:
            answer = await self._tried(_chat(COUNT), replace(GREEDY, logprobs=top), self._found)
            try:
                rows = logprobs_of(answer["choices"][0], top) if answer else ()
            except (KeyError, TypeError, IndexError):
                rows = ()
            if rows:
                self._found = replace(self._found, logprobs=min(len(row.top) for row in rows))
                self._ends = list(accumulate(len(row.token) for row in rows))
                return

    async def _continues(self, greedy: str, known: Continuing | None) -> None:
        if known == "user":
            return
        ways = [known] if known else [way for way in get_args(Continuing) if way != "user"]
        for way, (begun, rest) in product(
            ways, _cuts(greedy, self._ends) or [(COUNTED, " 10, 11")]
        ):
            asked = replace(self._found, continues=way)
            answer = await self._tried(
                _chat(COUNT, begun), replace(GREEDY, max_tokens=MORE_TOKENS), asked
            )
            text = _text(answer) if answer else ""
            echoes = len(text) > len(begun) and text.startswith(begun)
            text = text.removeprefix(begun) if echoes else text
            goes_on = _agree(text, rest) and not (begun + rest).startswith(text)
            if known or goes_on:
                self._found = replace(asked, echoes=echoes)
                await self._thoughts(begun)
                await self._blanks()
                return

    async def _thoughts(self, begun: str) -> None:
        """A thought that reaches the model costs it tokens of the prompt."""
        if self._found.continues == "user" or not self._found.usage:
            return
        short = replace(GREEDY, max_tokens=1)
        plain = await self._tried(_chat(COUNT, begun), short, self._found)
        thought = f"<think>\n{COUNT * 4}\n</think>\n\n{begun}"
        longer = await self._tried(_chat(COUNT, thought), short, self._found)
        if plain and longer:
            sizes = [answer["usage"]["prompt_tokens"] for answer in (plain, longer)]
            self._found = replace(self._found, thoughts=sizes[1] - sizes[0] > len(COUNT) // 4)

    async def _blanks(self) -> None:
        """A tokenizer that joins a blank to the word behind it makes its model write the blank; for
        one that joins it to the colon, "Step 1:" without it is another beginning.
        """
        answer = await self._tried(_chat(SUM, HEADER), replace(GREEDY, max_tokens=2), self._found)
        text = _text(answer) if answer else ""
        text = text.removeprefix(HEADER) if self._found.echoes else text
        self._found = replace(self._found, blanks=bool(text) and not text.startswith(" "))

    async def _ask(
        self, chat: Chat, sampling: Sampling, found: Capabilities | None = None
    ) -> dict[str, Any]:
        body = request_body(self._model, chat, sampling, found or self._found, self._more)
        answer: dict[str, Any] = await self._post(body)
        return answer

    async def _tried(
        self, chat: Chat, sampling: Sampling, found: Capabilities
    ) -> dict[str, Any] | None:
        """The answer; None where the server refuses the request."""
        try:
            return await self._ask(chat, sampling, found)
        except Refused as refused:
            if refused.status not in NO:
                raise
        except (ItemError, EngineFailed):
            pass
        return None


GREEDY = Sampling(temperature=0.0, max_tokens=TOKENS)


def _chat(asked: str, begun: str = "") -> Chat:
    return Chat((Message("user", asked),), begun)


def _cuts(greedy: str, ends: Sequence[int]) -> list[tuple[str, str]]:
    """A text cut in two, in several ways: where tokens end, or else behind a line, before a blank
    and in its middle.

    A beginning is tokenized anew: where its end falls into a token, the model may go on otherwise.
    """
    first, last = COMPARED, len(greedy) - COMPARED
    if first >= last:
        return []
    middle = len(greedy) // 2
    line, blank = greedy.rfind("\n", first, last) + 1, greedy.find(" ", middle, last)
    places = [line, blank, greedy.rfind(" ", first, middle), middle]
    within = [end for end in ends if first <= end <= last]
    if within:
        places = [within[len(within) * part // 8] for part in (4, 2, 6, 7)]
    return [(greedy[:at], greedy[at:]) for at in dict.fromkeys(places) if at > 0]


def _agree(text: str, rest: str) -> bool:
    """Whether two texts begin with the same letters; a template may take the blank before them."""
    text, rest = text.lstrip(), rest.lstrip()
    size = min(len(text), len(rest), COMPARED)
    return size > 0 and text[:size] == rest[:size]


def _text(answer: dict[str, Any]) -> str:
    try:
        return _text_of(answer["choices"][0])
    except (KeyError, TypeError, IndexError) as error:
        raise ConfigurationError(
            f"the server's answer is not one of a chat route ({type(error).__name__}: {error})"
        ) from error


def _text_of(choice: Mapping[str, Any]) -> str:
    try:
        return written(choice)
    except BadAnswer:
        return ""
