"""The browser of this machine, headless, driven by playwright; absent, its tests say what lacks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def lacking() -> str | None:
    """What is missing to drive a browser; None: nothing."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed: DEV=1 ./install.sh"
    if executable() is None:
        return f"no browser ({', '.join(NAMES)}): apt-get install chromium"
    return None


def executable() -> str | None:
    """The browser's program."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def launched(playwright: Any) -> Iterator[Any]:
    """A headless browser."""
    # Its own sandbox needs user namespaces, which root in a container lacks.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    browser = playwright.chromium.launch(executable_path=executable(), args=arguments)
    try:
        yield browser
    finally:
        browser.close()
