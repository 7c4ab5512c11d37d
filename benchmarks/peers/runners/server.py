"""An OpenAI-compatible server that answers every request after 20 ms and remembers its prompt.

    python server.py PORT [--delay 0.02]

Routes: /v1/models, /v1/completions, /v1/chat/completions; GET /seen says how many requests came
and how many different prompts; POST /forget starts anew.

Invariant: a prompt is what a request asks, whatever else it says; nothing is cached.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

MODEL = "m"
ANSWER = (
    "Step 1: Take the first number and the second one, and add them as the problem asks.\n\n"
    "Step 2: The sum is what was asked for, so the answer is \\boxed{17}."
)
TOKENS = 40


class Seen:
    """Prompts in the order in which they came."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def note(self, asked: Any) -> None:
        """One request."""
        self.prompts.append(hashlib.sha1(json.dumps(asked).encode()).hexdigest())


@web.middleware
async def hung_up(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Whoever is killed while asking gets no answer, and is no error of the server."""
    try:
        return await handler(request)
    except ConnectionResetError:
        return web.Response(status=400)


def application(delay: float) -> web.Application:
    """The routes."""
    seen = Seen()
    usage = {"prompt_tokens": 30, "completion_tokens": TOKENS, "total_tokens": 30 + TOKENS}

    async def answer(
        request: web.Request, kind: str, asks: str, said: dict[str, Any]
    ) -> web.Response:
        body = await request.json()
        seen.note(body[asks])
        await asyncio.sleep(delay)
        choices = [
            {"index": i, **said, "finish_reason": "stop", "logprobs": None}
            for i in range(body.get("n") or 1)
        ]
        head = {"id": "c", "object": kind, "created": 1, "model": MODEL}
        return web.json_response({**head, "choices": choices, "usage": usage})

    async def completions(request: web.Request) -> web.Response:
        return await answer(request, "text_completion", "prompt", {"text": ANSWER})

    async def chat(request: web.Request) -> web.Response:
        message = {"role": "assistant", "content": ANSWER}
        return await answer(request, "chat.completion", "messages", {"message": message})

    async def models(request: web.Request) -> web.Response:
        listed = [{"id": MODEL, "object": "model", "created": 1, "owned_by": "x"}]
        return web.json_response({"object": "list", "data": listed})

    async def count(request: web.Request) -> web.Response:
        return web.json_response({"requests": len(seen.prompts), "prompts": len({*seen.prompts})})

    async def forget(request: web.Request) -> web.Response:
        seen.prompts.clear()
        return web.json_response({})

    async def health(request: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application(client_max_size=2**26, middlewares=[hung_up])
    app.router.add_post("/v1/completions", completions)
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_get("/v1/models", models)
    app.router.add_get("/seen", count)
    app.router.add_post("/forget", forget)
    app.router.add_get("/health", health)
    return app


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--delay", type=float, default=0.02)
    given = parser.parse_args()
    web.run_app(
        application(given.delay), host="127.0.0.1", port=given.port, access_log=None, print=None
    )


if __name__ == "__main__":
    main()
