"""An OpenAI-compatible server over HTTP: its keys, retries, and how much is asked of it at once.

Invariant: what another try may mend (a cut reply, 429, 5xx, a lost connection, silence) is tried
again with growing, jittered pauses, never sooner than the server asks (Retry-After), and is
EngineFailed in the end; what it refuses is the user's and is not tried again.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import aiohttp

from actors.engines.admission import Admission
from actors.engines.contract import EngineSettings, Refusal
from actors.engines.served.keys import Key, Keys, names_of
from actors.engines.served.pace import Pace
from storage.errors import ConfigurationError, EngineFailed, ItemError

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
CROWDED = frozenset({429, 503, 529})
"""What a server says that has too much to do."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 30.0
LONGEST_WISH_S = 600.0
"""Longest pause that a server may ask for."""
CONNECT_S = 10.0
TOO_LONG = ("context length", "model length", "max_model_len", "too long", "context size",
            "context window")  # fmt: skip
"""What a server says of a prompt that fills its context, where it did not tell the length."""
FILTERED = ("content_filter", "content filter", "content management policy")
"""What a server says of a prompt that its filter withholds from the model."""
JSON = {"Content-Type": "application/json"}
T = TypeVar("T")


class Again(Exception):
    """This try failed in a way that another may not."""

    def __init__(
        self, what: str, after_s: float = 0.0, crowded: bool = False, said: bool = False
    ) -> None:
        """`after_s`: what the server asks to wait; `crowded`: it has too much to do, which it
        itself `said`, or which its silence says.
        """
        super().__init__(what)
        self.after_s, self.crowded, self.said = after_s, crowded, said


class Refused(ConfigurationError):
    """The server understood and says no: the same request would be refused again."""

    def __init__(self, what: str, status: int) -> None:
        super().__init__(what)
        self.status = status


class Server:
    """One server, for one model; used inside of one event loop."""

    def __init__(
        self,
        settings: EngineSettings,
        *,
        start: int | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`start`: sequences in flight in the beginning; None: all that the settings allow.

        Raises ConfigurationError for a missing URL or key.
        """
        if not settings.url:
            raise ConfigurationError(
                f"`kind: {settings.kind}` needs the `url` of a server, e.g. http://host:8000/v1"
            )
        self.url = settings.url.rstrip("/")
        self._keys = Keys(names_of(settings.api_key_env))
        self._settings = settings
        self._pauses = random.Random()  # jitter only: no result depends on it
        self._sleep = sleep
        self._pace = Pace(settings.in_flight, start)
        self.admission = Admission(self._pace.allowed)
        self._answers = 0
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # admission bounds what is in flight
            timeout=aiohttp.ClientTimeout(total=settings.timeout_s, sock_connect=CONNECT_S),
        )

    async def close(self) -> None:
        """Close connections; requests in flight fail. Idempotent."""
        await self._session.close()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._session.closed

    async def post(self, route: str, body: dict[str, Any]) -> Any:
        """The answer to one request, with retries."""
        return await self.retried(lambda: self.request("POST", route, body))

    async def listed(self) -> dict[str, Any]:
        """What the server lists of the model.

        Raises ConfigurationError for a model that the server does not know.
        """
        known = await self.models()
        if self._settings.model not in known:
            names = ", ".join(sorted(map(str, known))[:20]) or "none"
            raise ConfigurationError(
                f"the server at {self.url} has no model {self._settings.model!r}, only: {names}"
            )
        return known[self._settings.model]

    async def models(self) -> dict[str, dict[str, Any]]:
        """Name -> what the server lists of each of its models."""
        answer = await self.retried(lambda: self.request("GET", "/models", None))
        models = answer.get("data")
        if not isinstance(models, list):
            raise EngineFailed(f"{self.url}/models is no list of models")
        return {str(model.get("id")): model for model in models if isinstance(model, dict)}

    async def retried(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Run `attempt` until it succeeds or the retries are spent.

        A server that has too much to do, and answers others meanwhile, is waited for.
        """
        tries = pauses = 0
        seen = self._answers
        while True:
            request = self._pace.begin()
            try:
                result = await attempt()
            except Again as trouble:
                if trouble.crowded:
                    self._pace.crowded(request)
                    self.admission.resize(self._pace.allowed)
                tries += not (trouble.said and self._answers > seen)
                pauses += 1
                seen = self._answers
                if tries > self._settings.retries:
                    raise EngineFailed(
                        f"{self.url} failed {tries} times, lastly: {trouble}"
                    ) from trouble
                pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(pauses - 1, 10))
                pause *= self._pauses.uniform(0.5, 1.5)
                await self._sleep(max(pause, trouble.after_s))
            else:
                self._answers += 1
                self._pace.answered()
                self.admission.resize(self._pace.allowed)
                return result

    async def request(self, method: str, route: str, body: dict[str, Any] | None) -> Any:
        """One try. Raises Again, Refused, ItemError and EngineFailed."""
        if self.closed:
            raise EngineFailed("the engine is closed")
        sent = None if body is None else json.dumps(body).encode()
        key = self._keys.next(asyncio.get_running_loop().time())
        key.in_flight += 1
        try:
            async with self._session.request(
                method, self.url + route, data=sent, headers=JSON | key.headers
            ) as response:
                if response.status != 200:
                    await self._refuse(response, key)
                content = json.loads(await response.read())
        except TimeoutError as error:
            said = f"no reply within {self._settings.timeout_s:g} s"
            raise Again(said, crowded=True) from error
        except (aiohttp.ClientError, ValueError, OSError) as error:
            raise Again(self._keys.hidden(f"{type(error).__name__}: {error}")) from error
        finally:
            key.in_flight -= 1
        if not isinstance(content, dict):
            raise Again("a reply that is not a JSON object")
        return content

    async def _refuse(self, response: aiohttp.ClientResponse, key: Key) -> None:
        said = self._keys.hidden((await response.text(errors="replace"))[:300])
        trouble = f"HTTP {response.status}: {said}"
        if response.status in RETRIED:
            after = _retry_after(response.headers.get("Retry-After", ""))
            if response.status == 429:
                after = self._keys.rest(key, asyncio.get_running_loop().time(), after)
            crowded = response.status in CROWDED
            raise Again(trouble, after, crowded, said=crowded)
        if response.status == 400 and any(sign in said.lower() for sign in TOO_LONG):
            raise ItemError(Refusal.TOO_LONG, trouble)
        if response.status == 400 and any(sign in said.lower() for sign in FILTERED):
            raise ItemError(Refusal.FILTERED, trouble)
        whose = f" (key: ${key.name})" if key.name and response.status in (401, 403) else ""
        raise Refused(f"{self.url} refuses the request{whose}: {trouble}", response.status)


def _retry_after(header: str) -> float:
    """Seconds that the server asks for (a number or a date); 0 where it asks for none."""
    try:
        seconds = float(header)
    except ValueError:
        try:
            then = parsedate_to_datetime(header)
        except ValueError:
            return 0.0
        if then.tzinfo is None:  # of a server that names no zone, or "-0000"
            then = then.replace(tzinfo=UTC)
        seconds = (then - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_WISH_S)
