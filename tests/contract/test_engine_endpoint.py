"""The endpoint engine against a server that misbehaves on purpose."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

import actors.engines.served.server
from actors.engines.contract import Chat, EngineSettings, Sampling
from actors.engines.rendering import ChatRenderer
from actors.engines.served.endpoint import EndpointEngine
from storage.errors import ConfigurationError, EngineFailed, ItemError
from storage.rows.records import Message

Answer = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


class Words:
    """A tokenizer of words."""

    chat_template = "x"

    def apply_chat_template(self, turns: list[dict[str, str]], **_: Any) -> str:
        return " ".join(turn["content"] for turn in turns) + " "

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [len(word) for word in re.findall(r"\S+", text)]}


CHAT = Chat((Message("user", "how much is it"),), "Step 1: ")


def sample(index: int, text: str = "fine", **more: Any) -> dict[str, Any]:
    return {
        "index": index, "text": text, "finish_reason": "stop", "stop_reason": None,
        "logprobs": None, "token_ids": [1, 2],
    } | more  # fmt: skip


def answer(*samples: dict[str, Any]) -> dict[str, Any]:
    return {"choices": list(samples), "usage": {"completion_tokens": 2 * len(samples)}}


async def good(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    return web.json_response(answer(*(sample(i) for i in range(body["n"]))))


def status(code: int, text: str = "no", **headers: str) -> Answer:
    async def refuse(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return web.Response(status=code, text=text, headers=headers)

    return refuse


def says(content: Any) -> Answer:
    async def send(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        text = content if isinstance(content, str) else json.dumps(content)
        return web.Response(text=text, content_type="application/json")

    return send


async def cut(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    whole = json.dumps(answer(sample(0))).encode()
    response = web.StreamResponse(headers={"Content-Length": str(len(whole))})
    await response.prepare(request)
    await response.write(whole[:40])
    assert request.transport is not None
    request.transport.close()
    return response


async def hangs(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]


async def drops(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


class Server:
    """Answers the k-th request with the k-th of its answers, the last one for ever."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.bodies: list[dict[str, Any]] = []
        self.pauses: list[float] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        act = self.answers[min(len(self.bodies), len(self.answers)) - 1]
        return await act(request, body)

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    @asynccontextmanager
    async def engine(self, **more: Any) -> AsyncIterator[EndpointEngine]:
        app = web.Application()
        app.router.add_post("/v1/completions", self.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.01)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        settings = EngineSettings(
            kind="endpoint", model="m", url=f"http://127.0.0.1:{port}/v1/",
            **({"retries": 2, "timeout_s": 60.0, "part": 4} | more),
        )  # fmt: skip
        link = actors.engines.served.server.Server(settings, sleep=self.pause)
        engine = EndpointEngine(link, ChatRenderer(Words()), settings)
        try:
            yield engine
        finally:
            await engine.close()
            await runner.cleanup()


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(status(500), id="500"),
        pytest.param(status(503), id="503"),
        pytest.param(status(429), id="429"),
        pytest.param(says(answer()), id="no_samples"),
        pytest.param(says(answer(sample(0), sample(1))), id="too_many_samples"),
        pytest.param(says(answer(sample(3))), id="a_wrong_index"),
        pytest.param(says(answer(sample(0, finish_reason=None))), id="an_unfinished_sample"),
        pytest.param(says(answer(sample(0, finish_reason="abort"))), id="an_aborted_sample"),
        pytest.param(says(answer({"index": 0, "finish_reason": "stop"})), id="no_text"),
        pytest.param(says(answer(sample(0, text=None))), id="a_null_text"),
        pytest.param(says("{"), id="broken_json"),
        pytest.param(says([1]), id="another_json"),
        pytest.param(says({"error": "x"}), id="an_error_with_200"),
        pytest.param(cut, id="a_cut_reply"),
        pytest.param(drops, id="a_lost_connection"),
    ],
)
async def test_trouble_is_tried_again_and_fails_in_the_end(trouble: Answer) -> None:
    server = Server(trouble, good)
    async with server.engine() as engine:
        reply = await engine.generate(CHAT, Sampling())
    assert [done.text for done in reply.completions] == ["fine"]
    server = Server(trouble)
    async with server.engine() as engine:
        with pytest.raises(EngineFailed, match="failed 3 times"):
            await engine.generate(CHAT, Sampling())
    assert len(server.bodies) == 3
    assert len({json.dumps(body) for body in server.bodies}) == 1, "the same request each time"


async def test_a_hung_server_is_given_up_after_the_timeout() -> None:
    server = Server(hangs)
    async with server.engine(timeout_s=1.0, retries=1) as engine:
        with pytest.raises(EngineFailed, match="no reply within"):
            await engine.generate(CHAT, Sampling())
    assert len(server.bodies) == 2


async def test_pauses_grow_are_jittered_and_honour_retry_after() -> None:
    server = Server(status(500))
    async with server.engine(retries=5) as engine:
        with pytest.raises(EngineFailed):
            await engine.generate(CHAT, Sampling())
    for number, pause in enumerate(server.pauses):
        assert 0.125 * 2**number <= pause <= 0.375 * 2**number
    server = Server(status(429, "slow down", **{"Retry-After": "7"}), good)
    async with server.engine() as engine:
        await engine.generate(CHAT, Sampling())
    assert server.pauses == [7.0]
    for zone in (" GMT", " -0000", ""):
        later = f"Fri, 01 Jan 2100 00:00:00{zone}"
        server = Server(status(503, "", **{"Retry-After": later}), good)
        async with server.engine() as engine:
            await engine.generate(CHAT, Sampling())
        assert server.pauses == [600.0], "never longer than the longest wish"


@pytest.mark.parametrize("code", [400, 401, 403, 404, 422])
async def test_a_refusal_is_the_users_and_is_not_tried_again(code: int) -> None:
    server = Server(status(code, "bad key"))
    async with server.engine() as engine:
        with pytest.raises(ConfigurationError, match=f"HTTP {code}: bad key"):
            await engine.generate(CHAT, Sampling())
    assert len(server.bodies) == 1


async def test_a_prompt_that_the_server_finds_too_long_is_the_items_trouble() -> None:
    server = Server(status(400, "This model's maximum context length is 512 tokens"))
    async with server.engine() as engine:
        with pytest.raises(ItemError, match="too_long"):
            await engine.generate(CHAT, Sampling())


async def test_a_request_says_every_parameter_and_sends_the_rendered_prompt() -> None:
    server = Server(good)
    wanted = Sampling(
        n=2, temperature=0.7, top_p=0.9, max_tokens=99, stop=("a", "b"), include_stop=True, seed=5
    )
    async with server.engine(max_model_len=50) as engine:
        await engine.generate(CHAT, wanted)
    assert server.bodies == [
        {
            "model": "m", "prompt": [3, 4, 2, 2, 4, 2], "n": 2, "seed": 5, "temperature": 0.7,
            "top_p": 0.9, "max_tokens": 44, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0,
            "return_token_ids": True, "stop": ["a", "b"], "include_stop_str_in_output": True,
        }
    ]  # fmt: skip


async def test_parts_keep_order_and_seeds_and_only_the_failed_part_is_tried_again() -> None:
    server = Server(status(500), good)
    async with server.engine() as engine:
        reply = await engine.generate(CHAT, Sampling(n=10, seed=100))
    assert len(reply.completions) == 10
    asked = [(body["seed"], body["n"]) for body in server.bodies]
    assert sorted(set(asked)) == [(100, 4), (104, 4), (108, 2)]
    assert len(asked) == 4


async def test_samples_are_put_in_the_order_of_their_indices() -> None:
    server = Server(says(answer(sample(1, "second"), sample(0, "first"))))
    async with server.engine() as engine:
        reply = await engine.generate(CHAT, Sampling(n=2))
    assert [done.text for done in reply.completions] == ["first", "second"]


@pytest.mark.parametrize(
    ("sent", "stop_string"),
    [
        pytest.param({"stop_reason": "b"}, "b", id="named"),
        pytest.param({"stop_reason": None}, None, id="end_of_turn"),
        pytest.param({"matched_stop": "b", "stop_reason": None}, "b", id="named_as_sglang_does"),
        pytest.param({"stop_reason": 7}, None, id="a_token"),
        pytest.param({"finish_reason": "length", "stop_reason": None}, None, id="cut"),
    ],
)
async def test_the_stop_string_is_the_one_the_server_names(
    sent: dict[str, Any], stop_string: str | None
) -> None:
    server = Server(says(answer(sample(0, "a b", **sent))))
    async with server.engine() as engine:
        reply = await engine.generate(CHAT, Sampling(stop=("a", "b")))
    assert reply.completions[0].stop_string == stop_string


async def test_a_stop_string_that_is_named_and_not_kept_is_kept_here() -> None:
    named = {"index": 0, "text": "a ", "finish_reason": "stop", "matched_stop": "b"}
    server = Server(says({"choices": [named]}))
    async with server.engine() as engine:
        reply = await engine.generate(CHAT, Sampling(stop=("b",), include_stop=True))
    assert (reply.completions[0].text, reply.completions[0].stop_string) == ("a b", "b")


async def test_a_text_that_may_have_lost_its_stop_string_is_no_reply() -> None:
    plain = {"index": 0, "text": "```python\nprint(1)", "finish_reason": "stop"}
    server = Server(says({"choices": [plain]}))
    async with server.engine() as engine:
        reply = await engine.generate(CHAT, Sampling(stop=("b",)))
        assert reply.completions[0].stop_string is None
        with pytest.raises(EngineFailed, match="does not say what ended a text"):
            await engine.generate(CHAT, Sampling(stop=("\n```\n",), include_stop=True))


async def test_tokens_are_counted_here_where_the_server_does_not_count_per_sample() -> None:
    plain = [
        {"index": i, "text": "one two three"[: 7 + 6 * i], "finish_reason": "stop"}
        for i in range(2)
    ]
    server = Server(says({"choices": plain}))
    async with server.engine() as engine:
        reply = await engine.generate(CHAT, Sampling(n=2))
    assert [done.tokens for done in reply.completions] == [2, 3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": None}, "needs the `url`"),
        ({"url": "http://x", "api_key_env": "STEPMILL_NO_SUCH_KEY"}, "STEPMILL_NO_SUCH_KEY"),
    ],
)
async def test_what_is_missing_is_said_before_anything_is_asked(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        await EndpointEngine.open(EngineSettings(kind="endpoint", model="m", **settings))
