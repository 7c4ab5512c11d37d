"""The settings of `stepmill serve`: a verifier as for scoring, and what its server takes and bears.

Invariant: none of `ServeSettings` changes a reward.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, get_args

from pydantic import Field

from storage.bounds import STRICT, Positive, Seconds
from workflows.formats.verification import EXECUTING, READ, Mode
from workflows.scoring.settings import ScoreConfig

LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
MODES: tuple[Mode, ...] = get_args(Mode)
Port = Annotated[int, Field(ge=1, le=65535)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """What a server takes and bears."""

    __pydantic_config__ = STRICT

    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0`: all of the machine's. One that others can reach needs a
    token."""
    port: Port = 8000
    """Port to listen on."""
    replicas: Positive = 1
    """Engines that answer; each takes what one worker of a score run takes of the cluster."""
    token_env: str = "STEPMILL_TOKEN"
    """Environment variable that holds the token that every request must show."""
    token_file: str | None = None
    """File that holds it instead."""
    queue: Positive = 2048
    """Solutions that are waiting or at work at once; further ones are refused with 429."""
    most_items: Positive = 512
    """Solutions of one request."""
    most_histories: Positive = 64
    """Histories (`n`) of one solution."""
    most_body_bytes: Positive = 8 << 20
    """Bytes of one request; a larger one is refused with 413."""
    answer_s: Seconds = 900.0
    """Longest wait for the answer to one solution, its time in the queue included; then 504."""
    grace_s: Seconds = 120.0
    """When it is told to stop, it waits so long for what is at work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig(ScoreConfig):
    """The configuration of a server."""

    __pydantic_config__ = STRICT

    responses: str = ""
    """Not used: requests bring the solutions."""
    serve: ServeSettings = field(default_factory=ServeSettings)

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The modes that may be asked for: without a sandbox, those that run no code; of a model
        that reads, its one.
        """
        if self.reads:
            return (READ,)
        written = (mode for mode in MODES if mode != READ)
        return tuple(mode for mode in written if self.runs_code or mode not in EXECUTING)
