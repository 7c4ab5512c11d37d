"""Answers that come step by step: JSON lines, or server-sent events where a client accepts them.

    {"event": "step", "id": ..., "history": 0, "step": 0, "reward": 0.93, ...}
    {"event": "score", "id": ..., "rewards": [...], ...}     or {"event": "error", ...}
    {"event": "end"}

Invariant: each question has exactly one `score` or `error`, and each step of each history is told
at most once, also where a history was begun anew.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any, Literal

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from actors.serving.contract import Replicas
from workflows.serving.answering import StepJudged
from workflows.serving.answers import SCORE, score_json, step_json, trouble_json
from workflows.serving.metrics import Metrics
from workflows.serving.questions import Asked, Question, Unasked, valid
from workflows.serving.settings import ServeSettings
from workflows.serving.troubles import trouble_of

QUIET_S = 15.0
"""Seconds without an event after which a sign of life is sent."""
Kind = Literal["text/event-stream", "application/x-ndjson"]


def kind_of(accept: str) -> Kind:
    """The form that an `Accept` header asks for."""
    return "text/event-stream" if "text/event-stream" in accept else "application/x-ndjson"


class Streamed(StreamingResponse):
    """An answer in parts, which holds its room until it ends, however it does."""

    def __init__(
        self,
        wanted: Asked,
        replicas: Replicas,
        metrics: Metrics,
        limits: ServeSettings,
        kind: Kind,
        held: ExitStack,
    ) -> None:
        self._wanted, self._replicas, self._metrics = wanted, replicas, metrics
        self._limits, self._held = limits, held
        self._whole = False
        self._lines = kind == "application/x-ndjson"
        super().__init__(self._parts(), media_type=kind, headers={"Cache-Control": "no-store"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._held:
            try:
                await super().__call__(scope, receive, send)
            finally:  # a client that goes away cancels this, or ends it without a word
                if not self._whole:
                    self._metrics.gone.inc()

    async def _parts(self) -> AsyncIterator[bytes]:
        events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        asking = [asyncio.create_task(self._ask(each, events)) for each in self._wanted.questions]
        waiting = len(asking)
        try:
            while waiting:
                try:
                    event = await asyncio.wait_for(events.get(), QUIET_S)
                except TimeoutError:
                    yield b"\n" if self._lines else b":\n\n"
                    continue
                if event is None:
                    waiting -= 1
                else:
                    yield self._encoded(event)
            self._whole = True
            yield self._encoded({"event": "end"})
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    async def _ask(
        self, each: Question | Unasked, events: asyncio.Queue[dict[str, Any] | None]
    ) -> None:
        how, told = self._wanted.how, set[tuple[int, int]]()
        try:
            question = valid(each)
            async with asyncio.timeout(self._limits.answer_s):
                async for part in self._replicas.stream(question):
                    if not isinstance(part, StepJudged):
                        self._metrics.scored(part)
                        events.put_nowait({"event": SCORE, **score_json(question, part, how)})
                    elif (place := (part.row.history, part.step)) not in told:
                        told.add(place)
                        events.put_nowait({"event": "step", **step_json(question, part, how)})
        except Exception as error:  # noqa: BLE001 - every error is an answer
            trouble = trouble_of(error)
            self._metrics.failed(trouble)
            events.put_nowait({"event": "error", **trouble_json(each, trouble)})
        finally:
            events.put_nowait(None)

    def _encoded(self, event: dict[str, Any]) -> bytes:
        text = json.dumps(event, ensure_ascii=False)
        form = f"{text}\n" if self._lines else f"event: {event['event']}\ndata: {text}\n\n"
        return form.encode()
