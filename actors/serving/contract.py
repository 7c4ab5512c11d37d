"""What a service is made of: answerers behind a door. What is asked and answered lives above.

Invariant: a question is answered as often as asked with the same answer, so that one whose replica
died may be put to another replica.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

from starlette.types import Receive, Scope, Send

from actors.sandbox.contract import Sandbox


class Answerer(Protocol):
    """Answers questions in the process of a replica, many at once."""

    mortal: bool
    """Whether a failed engine is mended only by another process of the replica."""

    async def answer(self, question: Any) -> Any:
        """The whole answer. Raises StepmillError; cancelling it withdraws the question."""
        ...

    def stream(self, question: Any) -> AsyncIterator[Any]:
        """What is said of it, part by part; the answer is the last part. Raises as `answer`."""
        ...

    async def close(self) -> None:
        """Release the engine and everything that it started."""
        ...


MakeAnswerer = Callable[[Sandbox | None], Awaitable[Answerer]]
"""Opens an answerer inside of its replica; pickled. Raises UserError and InfrastructureError."""


class Replicas(Protocol):
    """The answerers of all replicas, as the door asks them."""

    async def answer(self, question: Any) -> Any:
        """As `Answerer.answer`, by any replica; by another one where one dies."""
        ...

    def stream(self, question: Any) -> AsyncIterator[Any]:
        """As `Answerer.stream`; where a replica dies, another one begins anew."""
        ...

    async def running(self) -> int:
        """How many replicas are open."""
        ...


class Door(Protocol):
    """An ASGI application before the replicas."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        ...

    async def drained(self) -> None:
        """Refuse what comes from now on, and return once all that came before is answered."""
        ...


MakeDoor = Callable[[Replicas], Door]
"""Makes the door inside of its process; pickled."""
