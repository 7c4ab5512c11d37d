"""A stand-in of the hub over HTTP: what huggingface_hub asks of it, with every request counted."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Hub:
    """Models by name: commits in their order, the last of which is `main`."""

    commits: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    tags: dict[tuple[str, str], str] = field(default_factory=dict)
    token: str = ""
    """What must be shown; empty: nothing."""
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(method, path without query) -> how often."""
    open: threading.Event = field(default_factory=threading.Event)
    """No file is sent before it is set."""
    sending: threading.Event = field(default_factory=threading.Event)
    """Set once a file is asked for."""
    url: str = ""

    def __post_init__(self) -> None:
        self.open.set()

    def push(self, name: str, files: Mapping[str, bytes], tag: str = "") -> str:
        """Add a commit; returns it."""
        listed = sorted((path, hashlib.sha1(data).hexdigest()) for path, data in files.items())
        commit = hashlib.sha1(json.dumps([name, listed]).encode()).hexdigest()
        self.commits.setdefault(name, {})[commit] = dict(files)
        if tag:
            self.tags[name, tag] = commit
        return commit

    def push_folder(self, name: str, folder: Path) -> str:
        """Add a commit of a folder's files."""
        files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
        return self.push(name, files)

    def downloads(self) -> dict[str, int]:
        """File -> how often it was sent."""
        return {
            path.rpartition("/")[2]: count
            for (method, path), count in self.requests.items()
            if method == "GET" and "/resolve/" in path
        }

    def commit(self, name: str, revision: str) -> str | None:
        """The commit of a revision."""
        commits = self.commits[name]
        if revision == "main":
            return list(commits)[-1]
        return revision if revision in commits else self.tags.get((name, revision))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests[self.command, path] += 1
        parts = path.strip("/").removeprefix("datasets/").split("/")
        if path == "/":
            return self._send(200, b"the hub")
        if self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self._fail(403, "GatedRepo")
        asked = parts[2:] if parts[0] == "api" else parts
        name = "/".join(asked[:2])
        if name not in self.hub.commits:
            return self._fail(404, "RepoNotFound")
        commit = self.hub.commit(name, asked[3] if len(asked) > 3 else "main")
        if commit is None:
            return self._fail(404, "RevisionNotFound")
        files = self.hub.commits[name][commit]
        if parts[0] != "api":
            return self._file(commit, files, "/".join(asked[4:]))
        if asked[2:3] == ["tree"]:
            return self._json(_tree(files, "/".join(asked[4:]), "recursive=True" in self.path))
        self._json({"id": name, "sha": commit, "siblings": [{"rfilename": path} for path in files]})

    def _file(self, commit: str, files: Mapping[str, bytes], path: str) -> None:
        if path not in files:
            return self._fail(404, "EntryNotFound")
        if self.command == "GET":
            self.hub.sending.set()
            assert self.hub.open.wait(60)
        data = files[path]
        tag = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": commit}
        self._send(200, data, **tag)

    def _json(self, content: Any) -> None:
        self._send(200, json.dumps(content).encode(), **{"Content-Type": "application/json"})

    def _fail(self, status: int, code: str) -> None:
        self._send(status, b"", **{"X-Error-Code": code})

    def _send(self, status: int, data: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)


def _tree(files: Mapping[str, bytes], below: str, recursive: bool) -> list[dict[str, Any]]:
    """What lies below a folder of a commit: its files, or all files and no folders."""
    inside = {
        path: data for path, data in files.items() if path.startswith(f"{below}/" * bool(below))
    }
    if recursive:
        return [_listed(path, data) for path, data in inside.items()]
    rest = {path: path[len(below) + bool(below) :] for path in inside}
    folders = {
        below + "/" * bool(below) + name.partition("/")[0] for name in rest.values() if "/" in name
    }
    here = [_listed(path, inside[path]) for path, name in rest.items() if "/" not in name]
    return here + [
        {"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in folders
    ]


def _listed(path: str, data: bytes) -> dict[str, Any]:
    oid = hashlib.sha1(data).hexdigest()
    return {"type": "file", "path": path, "size": len(data), "oid": oid}


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve on a free port of this machine."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        hub.open.set()
        server.shutdown()
        server.server_close()
        thread.join()
