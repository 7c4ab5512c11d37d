"""The verb `sandbox`: builds what model-written code runs in, from the recipe that is installed.

Invariant: a second call finds what the first one built.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from actors.sandbox.image.building import build_sandbox
from launch.shown.text import json_line, say


def prepare_sandbox(as_json: bool) -> None:
    """Build it, and print its backend and digest. Raises ConfigurationError."""
    built = asyncio.run(build_sandbox())
    if as_json:
        return say(json_line(asdict(built)))
    for reason in built.lacking:
        say(f"no container image: {reason}", err=True)
    say(f"code runs in {built.backend}, image {built.digest}")
