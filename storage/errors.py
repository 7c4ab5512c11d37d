"""The three families of errors, and who may decide them.

    StepmillError
    ├── UserError                what a person must change; before work is paid for; exit code 2
    │   ├── ConfigurationError       a setting is unknown, missing or impossible
    │   │   └── EngineRefused            a model can't be run there so, however often it is tried
    │   ├── InputError               a problem, answer, file or model folder is not what it must be
    │   │   └── UnusualAnswer            a reference that nothing can be compared with
    │   ├── BelowFloor               hardly any text that a model writes can be used
    │   ├── SpecMismatch             the run was started with another configuration or input
    │   └── NothingFound             a run, file or object that was asked for does not exist
    ├── ItemError                one item can't be processed: dropped and counted, with `reason`
    └── InfrastructureError      the world failed, not the data: retried, then stop; exit code 3
        ├── StoreUnavailable         the object store does not answer
        ├── StoreRefused             the object store says no (credentials, permissions): no retry
        ├── CommitUnknown            a commit could neither be confirmed nor excluded
        ├── ObjectCorrupt            bytes differ from the digest that was committed
        ├── EngineFailed             a model engine crashed or answered with something else
        ├── WorkerLost               the process of a worker died, with everything that ran in it
        ├── RunStopped               a run can't go on here and now; resuming continues it
        ├── SandboxUnavailable       no sandbox can be had
        └── SandboxLost              a sandbox died under a run, through no act of that run

Invariant: an infrastructure error never becomes a verdict, an answer, a label or a drop that
looks like the item's own fault. `except` stands only where one of the families is decided.
"""

from __future__ import annotations

from enum import StrEnum


class StepmillError(Exception):
    """Root of every error that Stepmill raises on purpose."""


class UserError(StepmillError):
    """Something that the person who started the command must change."""


class ConfigurationError(UserError):
    """A setting is unknown, missing or impossible."""


class EngineRefused(ConfigurationError):
    """A model can't be run on a machine as it is asked for, however often it is tried."""


class InputError(UserError):
    """An input file, problem, answer or model folder is not what it must be."""


class UnusualAnswer(InputError):
    """An answer that a person can read, and that no other answer can be compared with."""


class BelowFloor(UserError):
    """Hardly any text of a stage is of use: going on would spend the budget on nothing."""


class SpecMismatch(UserError):
    """The stored run has another configuration or input than the one asked for."""


class NothingFound(UserError):
    """What was asked for does not exist."""


class ItemError(StepmillError):
    """One item can't be processed. `reason` is a short snake_case word that is counted."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[ItemError], tuple[str, str]]:
        """Survive pickling between processes (the default would lose `detail`)."""
        return type(self), (self.reason, self.detail)


class Broken(StrEnum):
    """Why an item of any stage is dropped for what is not its own fault; closed."""

    EXCEPTION = "exception"
    """A bug that showed on this item; the detail says which."""
    POISON = "poison"
    """Three workers died while they worked on it."""
    SANDBOX_LOST = "sandbox_lost"
    """Its sandbox was lost again and again."""


class InfrastructureError(StepmillError):
    """The world failed, not the data."""


class StoreUnavailable(InfrastructureError):
    """The object store did not answer within the retry budget."""


class StoreRefused(InfrastructureError):
    """The object store refused (credentials, permissions, an unsafe store): retrying is no use."""


class CommitUnknown(InfrastructureError):
    """A commit could neither be confirmed nor excluded; nothing was deleted."""


class ObjectCorrupt(InfrastructureError):
    """Stored bytes differ from the digest under which they were committed."""


class EngineFailed(InfrastructureError):
    """A model engine crashed, or its server answered with something that is not a reply."""


class WorkerLost(InfrastructureError):
    """The process of a worker died, with everything that ran in it."""


class RunStopped(InfrastructureError):
    """A run can't go on here and now; what is committed stays, and resuming continues it."""


class SandboxUnavailable(InfrastructureError):
    """No sandbox can be had: no engine, no image, no slot within the retry budget."""


class SandboxLost(InfrastructureError):
    """A sandbox died under a run, through no act of the code in it."""


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
