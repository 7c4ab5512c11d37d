"""Opens the store that a URL names.

Invariant: only this module names the kinds of store; a new kind is one branch here.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from storage.errors import ConfigurationError
from storage.objects.local import LocalStore
from storage.objects.memory import memory_store
from storage.objects.store import ObjectStore
from storage.secrecy import shown_url


def open_store(url: str) -> ObjectStore:
    """A store from `file:///folder`, a folder, `memory://name` or `s3://bucket/prefix`."""
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return memory_store(parts.netloc + parts.path)
    if parts.scheme == "s3":
        from storage.objects.s3 import S3Store  # boto3 takes a while to import

        return S3Store.at(url)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise ConfigurationError(
                f"store {shown_url(url)!r}: write file:/// and an absolute folder"
            )
        if parts.query or parts.fragment:
            raise ConfigurationError(
                f"store {shown_url(url)!r}: name the folder itself, or write %23 for # and %3F "
                "for ?"
            )
        return LocalStore.at(Path(unquote(parts.path)))
    if "://" in url:
        raise ConfigurationError(
            f"store {shown_url(url)!r}: {parts.scheme}:// is not known; use file:///folder or "
            "s3://bucket/prefix"
        )
    if not url:
        raise ConfigurationError("store: empty; use file:///folder or s3://bucket/prefix")
    return LocalStore.at(Path(url).expanduser().absolute())
