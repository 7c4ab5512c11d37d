"""Runs model-written Python: a contract, two backends (containers, bubblewrap), one supervisor.

    Sandbox ── Pool ── Turnstile             fair places inside and slots, retries
                └── Box ── Link              one supervisor at the end of a byte stream
                     │      ├── ContainerLink   Docker Engine API, attached streams
                     │      └── ProcessLink     bubblewrap
                     └── guest/              what runs inside: supervisor, forked interpreters

Invariant: importing this package needs neither Ray nor an engine; `executor` alone imports Ray.
"""

from actors.sandbox.contract import (
    Backend,
    Execution,
    Limits,
    Request,
    RequestRejected,
    Sandbox,
    SandboxSettings,
    Session,
    SessionDead,
    Verdict,
)
from actors.sandbox.opening import open_sandbox, run_file
from actors.sandbox.self_check import CheckResult, self_check

__all__ = [
    "Backend",
    "CheckResult",
    "Execution",
    "Limits",
    "Request",
    "RequestRejected",
    "Sandbox",
    "SandboxSettings",
    "Session",
    "SessionDead",
    "Verdict",
    "open_sandbox",
    "run_file",
    "self_check",
]
