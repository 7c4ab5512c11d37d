"""The door of a server: HTTP in front of the replicas.

    POST /v1/score       a solution, or many: rewards, analyses, code with what it printed
    POST /v1/openrlhf    the same for OpenRLHF's `--reward.remote_url`
    GET  /health         whether a replica is open; no token needed
    GET  /metrics        for Prometheus

Invariant: every answer is a score or a `Trouble`. A request that is taken back, or whose client
goes away, is withdrawn from the engine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from actors.serving.contract import Replicas
from workflows.serving import openrlhf
from workflows.serving.answers import score_json, trouble_json
from workflows.serving.gate import Room, body_of, check_token
from workflows.serving.metrics import Metrics
from workflows.serving.questions import (
    Asked,
    How,
    Question,
    Unasked,
    Usual,
    asked,
    check_many,
    question,
    valid,
)
from workflows.serving.streaming import Streamed, kind_of
from workflows.serving.troubles import Trouble, trouble_of

LOOKS_S = 1.0
"""Seconds for which the number of open replicas holds."""
Handler = Callable[[Request], Awaitable[Response]]


class ScoreDoor:
    """An implementation of `actors.serving.contract.Door`."""

    def __init__(self, usual: Usual, digest: str | None, replicas: Replicas) -> None:
        """`digest`: of the token (`workflows.serving.gate.digest_of`); None: none is asked for."""
        self._usual, self._digest, self._replicas = usual, digest, replicas
        self._room = Room(usual.limits.queue)
        self._metrics = Metrics(usual.limits.queue)
        self._looked, self._open = -LOOKS_S, 0
        self._app = Starlette(
            routes=[
                Route("/v1/score", self._handled(self._score), methods=["POST"]),
                Route("/v1/openrlhf", self._handled(self._openrlhf), methods=["POST"]),
                Route("/metrics", self._handled(self._measured), methods=["GET"]),
                Route("/health", self._health, methods=["GET"]),
            ],
            exception_handlers={HTTPException: _no_such},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `Door`."""
        await self._app(scope, receive, send)

    async def drained(self) -> None:
        """See `Door`."""
        await self._room.drained()

    def _handled(self, handler: Handler) -> Handler:
        async def handled(request: Request) -> Response:
            began, route, status = time.monotonic(), request.url.path, "gone"
            try:
                check_token(request.headers.get("authorization"), self._digest)
                response = await handler(request)
                status = str(response.status_code)
            except asyncio.CancelledError:
                self._metrics.gone.inc()
                raise
            except Exception as error:  # noqa: BLE001 - every error is an answer
                response = refused(trouble_of(error))
                status = str(response.status_code)
            finally:
                self._metrics.requests.labels(route, status).inc()
                self._metrics.seconds.labels(route).observe(time.monotonic() - began)
            return response

        return handled

    async def _score(self, request: Request) -> Response:
        body = await body_of(request, self._usual.limits.most_body_bytes)
        wanted = asked(body, self._usual)
        if wanted.how.stream:
            held = ExitStack()
            held.enter_context(self._room.entered(len(wanted.questions)))
            kind = kind_of(request.headers.get("accept", ""))
            return Streamed(wanted, self._replicas, self._metrics, self._usual.limits, kind, held)
        found = await self._answered(wanted)
        if wanted.many:
            return JSONResponse({"scores": found})
        return JSONResponse(found[0])

    async def _answered(self, wanted: Asked) -> list[dict[str, Any]]:
        """The answers to all questions, in order. Raises Trouble where a single one has none."""

        async def settled(each: Question | Unasked) -> dict[str, Any]:
            try:
                return await self._answer(each, wanted.how)
            except Trouble as trouble:
                if not wanted.many:
                    raise
                return trouble_json(each, trouble)

        with self._room.entered(len(wanted.questions)):
            return list(await asyncio.gather(*map(settled, wanted.questions)))

    async def _answer(self, each: Question | Unasked, how: How) -> dict[str, Any]:
        try:
            to_ask = valid(each)
            async with asyncio.timeout(self._usual.limits.answer_s):
                scored = await self._replicas.answer(to_ask)
        except Exception as error:
            trouble = trouble_of(error)
            self._metrics.failed(trouble)
            raise trouble from error
        self._metrics.scored(scored)
        return score_json(to_ask, scored, how)

    async def _openrlhf(self, request: Request) -> Response:
        body = await body_of(request, self._usual.limits.most_body_bytes)
        items, usual = openrlhf.items_of(body), self._usual
        check_many(len(items), usual)

        async def rewarded(item: Any) -> dict[str, Any] | None:
            if item is None:
                return None
            try:
                each = question(item, "the solution", usual.mode, usual.n, usual.seed)
                return await self._answer(each, How())
            except Trouble as trouble:
                if trouble.status != 422:
                    raise
                return None

        with self._room.entered(len(items)):
            scores = await asyncio.gather(*map(rewarded, items))
        return JSONResponse(openrlhf.rewards_json(scores))

    async def _measured(self, request: Request) -> Response:
        self._metrics.inside.set(self._room.taken)
        self._metrics.replicas.set(await self._opened())
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4")

    async def _health(self, request: Request) -> Response:
        opened, wanted = await self._opened(), self._usual.limits.replicas
        status = "stopping" if self._room.closing else "ok" if opened else "opening"
        return JSONResponse(
            {"status": status, "replicas": {"open": opened, "wanted": wanted}},
            200 if status == "ok" else 503,
        )

    async def _opened(self) -> int:
        now = time.monotonic()
        if now - self._looked >= LOOKS_S:
            self._open, self._looked = await self._replicas.running(), now
        return self._open


def refused(trouble: Trouble) -> Response:
    """The answer that a trouble makes."""
    return JSONResponse(trouble.body, trouble.status, trouble.headers)


async def _no_such(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    change = "POST /v1/score or /v1/openrlhf, GET /health or /metrics"
    said = f"{request.method} {request.url.path}: {error.detail}"
    return refused(Trouble(error.status_code, "no_such_route", said, change))
