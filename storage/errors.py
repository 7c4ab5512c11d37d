"""The three families of errors; each family says who handles it.

    StepmillError
    ├── UserError                what a person must change; before work is paid for; exit code 2
    │   ├── ConfigurationError       a setting is unknown, missing or impossible
    │   │   └── EngineRefused            a model can't run there as configured: no retry
    │   ├── InputError               a problem, answer, file or model folder is not what it must be
    │   │   └── UnusualAnswer            a reference that nothing can be compared with
    │   ├── BelowFloor               hardly any text that a model writes can be used
    │   ├── LimitReached             the run has cost all that its owner allowed
    │   ├── SpecMismatch             the run was started with another configuration or input
    │   ├── NothingFound             a run, file or object that was asked for does not exist
    │   └── Removed                  a run or training that was taken out of its store
    ├── ItemError                one item can't be processed: dropped and counted, with `reason`
    └── InfrastructureError      the world failed, not the data: retried, then stop; exit code 3
        ├── StoreUnavailable         the object store does not answer
        ├── StoreRefused             the object store says no (credentials, permissions): no retry
        ├── CommitUnknown            a commit could neither be confirmed nor excluded
        ├── ObjectCorrupt            bytes differ from the digest that was committed
        │   └── ObjectTooLarge           an object has more bytes than any of its kind
        ├── EngineFailed             a model engine crashed or answered with something else
        ├── WorkerLost               the process of a worker died, with everything that ran in it
        ├── RunStopped               a run can't go on here and now; resuming continues it
        │   └── StopAsked                somebody asked for it by `stepmill stop`; exit code 130
        ├── SandboxUnavailable       no sandbox can be had
        └── SandboxLost              a sandbox died under a run, through no act of that run

Invariant: an infrastructure error never becomes a verdict, an answer, a label or a drop that
looks like the item's own fault. Code catches an error only where its family is handled.
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
    """This machine can't run the model as configured. Trying again is no use."""


class InputError(UserError):
    """An input file, problem, answer or model folder is not what it must be."""


class UnusualAnswer(InputError):
    """A reference answer that people can read, but that code can't compare with another."""


class BelowFloor(UserError):
    """Hardly any text of a stage is usable: going on would waste the budget."""


class LimitReached(UserError):
    """A run has cost what its owner allowed. A raised limit continues it."""


class SpecMismatch(UserError):
    """The stored run has another configuration or input than the one asked for."""


class NothingFound(UserError):
    """What was asked for does not exist."""


class Removed(UserError):
    """The run or training was removed. Its name is not free, since a writer may be alive."""


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
    """Why an item of any stage is dropped through no fault of its own. A closed list."""

    EXCEPTION = "exception"
    """A bug that showed on this item; the detail says which."""
    POISON = "poison"
    """Three workers died while working on it."""
    SANDBOX_LOST = "sandbox_lost"
    """Its sandbox was lost again and again."""


class InfrastructureError(StepmillError):
    """The store, an engine, a sandbox or a node failed, not the data."""


class StoreUnavailable(InfrastructureError):
    """The object store did not answer within the retry budget."""


class StoreRefused(InfrastructureError):
    """The object store refused (credentials, permissions, an unsafe store): no retry."""


class CommitUnknown(InfrastructureError):
    """It is unknown whether a commit was stored. Nothing was deleted."""


class ObjectCorrupt(InfrastructureError):
    """Stored bytes differ from the digest under which they were committed."""


class ObjectTooLarge(ObjectCorrupt):
    """A stored object has more bytes than any of its kind. It is not read; no retry helps."""


class EngineFailed(InfrastructureError):
    """A model engine crashed, or its server sent an unreadable reply."""


class WorkerLost(InfrastructureError):
    """A worker's process died."""


class RunStopped(InfrastructureError):
    """The run can't go on now. Committed shards stay; resume to continue."""


class StopAsked(RunStopped):
    """Somebody asked the build to stop. Resuming continues it."""


class SandboxUnavailable(InfrastructureError):
    """No sandbox could be opened within the retry budget (no engine, image or slot)."""


class SandboxLost(InfrastructureError):
    """A sandbox died during a run; its code was not the cause."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message; the name of its class if it has no message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
