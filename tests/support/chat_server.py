"""A chat server that lacks what real ones lack: a stand-in with a script for its model.

LLAMA    llama.cpp: no n, no names of stop strings, repeats what it goes on from
OLLAMA   Ollama: ignores n, log-probabilities and top_k, goes on with an assistant's turn
OPENAI   OpenAI: refuses fields that it doesn't know, goes on with nothing, names no stop string
MISTRAL  Mistral: goes on where the last message has `prefix: true`, and repeats it
BARE     answers, and that is all
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

from actors.engines.contract import Chat, Completion, EngineSettings, Sampling
from actors.engines.scripted import Script, ScriptedEngine
from storage.errors import ItemError
from storage.rows.records import Message

Act = Callable[[web.Request], Awaitable[web.StreamResponse]]
PLAIN = frozenset({"model", "messages", "temperature", "top_p", "max_tokens", "stop"})
OPENAI_KNOWS = PLAIN | {"n", "seed", "logprobs", "top_logprobs"}


WORDS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen " * 2


def script(asked: Chat, seed: int) -> str:
    """Numbers in words from where the beginning ends; others with another seed."""
    words = WORDS if seed == 0 else " ".join(f"w{seed * 31 + i}" for i in range(30))
    if asked.prefill.endswith("Step 1:"):
        return f" {words}"
    said = asked.prefill.removeprefix("Step 1: ")
    return words.removeprefix(said) if words.startswith(said) else words


@dataclass(frozen=True)
class Manner:
    """What a server can do."""

    n: bool = True
    seed: bool = True
    top_k: bool = True
    stop: Literal["stop_reason", "matched_stop", "kept", "unnamed"] = "stop_reason"
    logprobs: int = 20
    continues: Literal["continue_final_message", "prefix", "assistant", "nothing"] = (
        "continue_final_message"
    )
    echoes: bool = False
    usage: bool = True
    knows: frozenset[str] | None = None
    """Fields that it takes; None: all, the others are ignored."""


FULL = Manner()
LLAMA = Manner(n=False, stop="unnamed", continues="assistant", echoes=True)
OLLAMA = Manner(n=False, top_k=False, stop="unnamed", logprobs=0, continues="assistant")
OPENAI = Manner(top_k=False, stop="unnamed", continues="nothing", knows=OPENAI_KNOWS)
MISTRAL = Manner(top_k=False, stop="unnamed", logprobs=0, continues="prefix", echoes=True)
BARE = Manner(
    n=False, seed=False, top_k=False, stop="unnamed", logprobs=0, continues="nothing", usage=False
)


@dataclass
class ChatServer:
    """Serves one model, `m`, in one manner."""

    manner: Manner
    script: Script
    context: int | None = None
    troubles: list[Act] = field(default_factory=list)
    """What the next requests meet, one each."""
    key: str | None = None
    """What it wants; None: nothing."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    asked: int = 0
    url: str = ""

    async def pause(self, seconds: float) -> None:
        """Takes note of what a client waits, and takes no time."""
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    async def models(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/models."""
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.key not in (None, key):
            return refusal(401, f"no such key: {key}")
        model = {"id": "m"} | ({"max_model_len": self.context} if self.context else {})
        return web.json_response({"data": [model]})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions."""
        body = await request.json()
        self.bodies.append(body)
        self.keys.append(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if self.key is not None and self.keys[-1] != self.key:
            return refusal(401, f"no such key: {self.keys[-1]}")
        if self.troubles:
            return await self.troubles.pop(0)(request)
        unknown = set(body) - (self.manner.knows or set(body))
        if "max_tokens" in unknown:
            return refusal(400, "Unsupported parameter: use 'max_completion_tokens' instead.")
        if unknown:
            return refusal(400, f"Unrecognized request argument: {', '.join(sorted(unknown))}")
        try:
            return web.json_response(await self._answer(body))
        except ItemError as error:
            said = f"This model's maximum context length is {self.context} tokens ({error})"
            return refusal(400, said)

    async def _answer(self, body: Mapping[str, Any]) -> dict[str, Any]:
        manner, turns = self.manner, body["messages"]
        last, begun = turns[-1], ""
        goes_on = {
            "continue_final_message": body.get("continue_final_message"),
            "prefix": last.get("prefix"),
            "assistant": True,
            "nothing": False,
        }[manner.continues]
        if last["role"] == "assistant" and goes_on:
            begun, turns = last["content"], turns[:-1]
        messages = tuple(Message(turn["role"], turn["content"]) for turn in turns)
        self.asked += 1
        likeliest = manner.top_k and body.get("top_k") == 1
        sampling = Sampling(
            n=body.get("n", 1) if manner.n else 1,
            temperature=0.0 if likeliest else body["temperature"],
            max_tokens=body.get("max_tokens") or body["max_completion_tokens"],
            stop=tuple(body.get("stop", ())),
            include_stop=manner.stop == "kept" and body.get("include_stop_str_in_output", False),
            seed=body["seed"] if manner.seed and "seed" in body else self.asked,
            logprobs=min(body.get("top_logprobs", 0), manner.logprobs),
        )
        settings = EngineSettings(kind="scripted", max_model_len=self.context)
        engine = ScriptedEngine(self.script, settings)
        if self.context is not None:  # as vLLM: what would not fit is refused, not cut
            size = (
                await engine.generate(Chat(messages, begun), Sampling(max_tokens=1))
            ).prompt_tokens
            if size + sampling.max_tokens > self.context:
                raise ItemError("too_long", f"{sampling.max_tokens} more than {size}")
        reply = await engine.generate(Chat(messages, begun), sampling)
        answer: dict[str, Any] = {
            "choices": [
                self._choice(index, begun, done, sampling)
                for index, done in enumerate(reply.completions)
            ]
        }
        if manner.usage:
            total = sum(done.tokens for done in reply.completions)
            answer["usage"] = {
                "prompt_tokens": reply.prompt_tokens, "completion_tokens": total,
            }  # fmt: skip
        return answer

    def _choice(
        self, index: int, begun: str, done: Completion, sampling: Sampling
    ) -> dict[str, Any]:
        text = begun + done.text if self.manner.echoes else done.text
        choice: dict[str, Any] = {
            "index": index,
            "message": {"role": "assistant", "content": text},
            "finish_reason": done.finish_reason,
        }
        if self.manner.stop in ("stop_reason", "matched_stop"):
            choice[self.manner.stop] = done.stop_string
        if sampling.logprobs:
            others = [{"token": f"<{i}>", "logprob": -1.0 - i} for i in range(sampling.logprobs)]
            choice["logprobs"] = {
                "content": [
                    {
                        "token": row.token, "logprob": row.logprob,
                        "top_logprobs": [
                            {"token": row.token, "logprob": row.logprob}, *others[1:],
                        ],
                    }
                    for row in done.logprobs
                ]
            }  # fmt: skip
        return choice

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """The URL of its API, while it serves."""
        app = web.Application()
        app.router.add_get("/v1/models", self.models)
        app.router.add_post("/v1/chat/completions", self.chat)
        runner = web.AppRunner(app, shutdown_timeout=0.01)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        finally:
            await runner.cleanup()


def refusal(status: int, said: str, **headers: str) -> web.Response:
    """What a server says that refuses."""
    text = json.dumps({"error": {"message": said}})
    return web.Response(status=status, text=text, headers=headers)


def refuses(status: int, said: str = "no", **headers: str) -> Act:
    """A refusal."""

    async def act(request: web.Request) -> web.StreamResponse:
        return refusal(status, said, **headers)

    return act


async def cut(request: web.Request) -> web.StreamResponse:
    """Half an answer, and the connection is gone."""
    response = web.StreamResponse(headers={"Content-Length": "400"})
    await response.prepare(request)
    await response.write(b'{"choices": [{"index": 0, "message"')
    assert request.transport is not None
    request.transport.close()
    return response


async def gone(request: web.Request) -> web.StreamResponse:
    """No answer, and the connection is gone."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()


def says(answer: Any) -> Act:
    """An answer that is not the model's."""

    async def act(request: web.Request) -> web.StreamResponse:
        return web.json_response(answer)

    return act


@contextmanager
def serving(manner: Manner, key: str | None = None, model: Script = script) -> Iterator[ChatServer]:
    """A server in a thread of its own; `url` is its address."""
    server = ChatServer(manner, model, key=key)
    ready, over = threading.Event(), threading.Event()

    async def serve() -> None:
        async with server.serving() as url:
            server.url = url
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield server
    finally:
        over.set()
        thread.join()
