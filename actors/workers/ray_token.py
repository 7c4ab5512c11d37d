"""The token by which a private Ray cluster knows its user.

Invariant: nobody else can read it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def have_token() -> None:
    """Have a token in the home directory that only its user reads; else one for this process."""
    if {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        return
    file = Path(os.environ.get("HOME", "/nonexistent"), ".ray", "auth_token")  # where Ray looks
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.exists():
            file.chmod(0o600)  # Ray itself lets everybody read it
        else:
            fresh = file.with_name(f"auth_token.{os.getpid()}")
            fresh.touch(0o600)
            fresh.write_text(secrets.token_hex(32))
            with contextlib.suppress(FileExistsError):  # another command was quicker
                os.link(fresh, file)
            fresh.unlink()
    if not file.exists():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
