"""What is answered where there is no score: JSON that says what is wrong and what to change.

    {"error": "too_long", "reason": "2310 tokens in a context of 2048", "change": "...",
     "retry": false}

Invariant: every refusal has this form, whatever its cause; `error` is a word of a closed list for
each status, and no text of a refusal holds the token.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from actors.engines.contract import Refusal
from actors.sandbox.contract import Rejected
from storage.errors import (
    Broken,
    EngineFailed,
    InfrastructureError,
    ItemError,
    SandboxLost,
    SandboxUnavailable,
    StepmillError,
    UserError,
    WorkerLost,
    first_line,
)
from workflows.votes.rewards import Unscored

AGAIN = "ask again in a while"
IN_FORM = "give the whole solution in the form that the verifier was trained on, or leave it out"
CHANGES: dict[str, str] = {
    Refusal.TOO_LONG: "shorten the problem or the steps, or serve with a larger max_model_len",
    Refusal.CONTROL_TOKEN: "take the model's control tokens out of the problem and the steps",
    Refusal.FILTERED: "the model's server withholds this text: leave it out",
    Unscored.NO_VERDICT: IN_FORM,
    Rejected.REQUEST_REJECTED: "the code that the model wrote can't be run: ask with another seed",
    Broken.SANDBOX_LOST: AGAIN,
}
"""Reason of an ItemError -> what to change."""
LATER_S = 5


class Trouble(Exception):
    """A request, or one of its solutions, that gets no score."""

    def __init__(
        self, status: int, error: str, reason: str, change: str, again_s: int | None = None
    ) -> None:
        """`again_s`: seconds after which it may be asked again; None: as it is, never."""
        super().__init__(reason)
        self.status, self.error, self.reason, self.change = status, error, reason, change
        self.again_s = again_s

    @property
    def body(self) -> dict[str, Any]:
        """The JSON of the answer."""
        return {
            "error": self.error,
            "reason": self.reason,
            "change": self.change,
            "retry": self.again_s is not None,
        }

    @property
    def headers(self) -> dict[str, str]:
        """Further headers of the answer."""
        again = {} if self.again_s is None else {"Retry-After": str(self.again_s)}
        return again | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})


def invalid(reason: str, change: str, error: str = "invalid") -> Trouble:
    """A request that is not what it must be."""
    return Trouble(422, error, reason, change)


def of_validation(error: ValidationError) -> Trouble:
    """What pydantic found, each with its place."""
    found = []
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        place = ".".join(str(part) for part in each["loc"]) or "the body"
        unknown = each["type"] == "extra_forbidden"
        found.append(f"`{place}`: {'is not known' if unknown else each['msg']}")
    more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
    return invalid(
        "; ".join(found[:5]) + more,
        "send problem with steps or solution, or items of such; `stepmill docs serving`",
    )


def trouble_of(error: BaseException) -> Trouble:
    """The answer to an error that scoring a solution ended with."""
    match error:
        case Trouble():
            return error
        case ItemError(reason=Broken.SANDBOX_LOST):
            return Trouble(503, "sandbox_lost", error.detail, AGAIN, LATER_S)
        case ItemError():
            return invalid(
                error.detail or error.reason, CHANGES.get(error.reason, IN_FORM), error.reason
            )
        case TimeoutError():
            change = "ask for fewer solutions at once, or serve with more replicas or answer_s"
            return Trouble(504, "too_slow", "its time is over (serve.answer_s)", change, LATER_S)
        case UserError():
            return invalid(first_line(error), "see the reason")
        case SandboxUnavailable() | SandboxLost():
            change = (
                "start the container engine of the server; `stepmill doctor` says what it lacks"
            )
            return Trouble(503, "sandbox_unavailable", first_line(error), change, LATER_S)
        case EngineFailed():
            return Trouble(503, "engine_failed", first_line(error), AGAIN, LATER_S)
        case WorkerLost():
            return Trouble(503, "replica_lost", first_line(error), AGAIN, LATER_S)
        case InfrastructureError() | StepmillError():
            return Trouble(503, "infrastructure", first_line(error), AGAIN, LATER_S)
    name = type(error).__name__
    change = "report it with the request that caused it"
    return Trouble(500, "exception", f"{name}: {first_line(error)}", change)
