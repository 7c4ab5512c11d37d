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

from tests.support.hub_writing import (
    Written,
    batch,
    committed,
    front_matter,
    listed,
    upload_modes,
    wrong_in,
)


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
    written: Written = field(default_factory=Written)
    deaf: set[str] = field(default_factory=set)
    """Parts of paths to which a writer gets status 500."""

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
            return self._json(
                _tree(files, "/".join(asked[4:]), "recursive=true" in self.path.lower())
            )
        card = front_matter(files.get("README.md", b"").decode())
        self._json({"id": name, "sha": commit, "cardData": card,
                    "siblings": [{"rfilename": path} for path in files]})  # fmt: skip

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self._asked()
        if path is None:
            return None
        parts = path.strip("/").split("/")
        if path == "/api/validate-yaml":
            card = json.loads(body)
            errors = [{"message": text} for text in wrong_in(card["content"], card["repoType"])]
            return self._json({"errors": errors, "warnings": []}, 400 if errors else 200)
        if not self._may_write():
            return None
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._json(batch(json.loads(body), self.hub.written, self.hub.url))
        _, _, owner, own, what, revision = parts
        name = f"{owner}/{own}"
        if name not in self.hub.commits:
            return self._fail(404, "RepoNotFound")
        assert revision == "main"
        there = self.hub.commits[name][str(self.hub.commit(name, "main"))]
        if what == "preupload":
            return self._json(upload_modes(json.loads(body), there))
        assert what == "commit"
        try:
            files = committed(body, there, self.hub.written)
        except KeyError as error:
            return self._json({"error": f"{error} was not sent"}, 400)
        commit = self.hub.push(name, files)
        self._json({"commitOid": commit, "commitUrl": f"{self.hub.url}/{name}/commit/{commit}"})

    def do_PUT(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(iter(self._chunk, b""))
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        path = self._asked()
        if path is None:
            return None
        digest = path.rpartition("/")[2]
        if hashlib.sha256(body).hexdigest() != digest:
            return self._fail(400, "BadDigest")
        self.hub.written.large[digest] = body
        self._send(200, b"")

    def _asked(self) -> str | None:
        """The path, counted; None where this server is deaf to it."""
        path = unquote(urlsplit(self.path).path)
        self.hub.requests[self.command, path] += 1
        if any(part in path for part in self.hub.deaf):
            return self._fail(501, "Deaf")
        return path

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline(), 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def _may_write(self) -> bool:
        shown = self.headers.get("Authorization")
        if self.hub.token and shown == f"Bearer {self.hub.token}":
            return True
        self._fail(403 if shown else 401, "")
        return False

    def _create(self, asked: Any) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.commits:
            return self._json({"error": "there"}, 409)
        self.hub.push(name, {".gitattributes": b""})
        self.hub.written.visibility[name] = asked.get("visibility", "public")
        self._json({"url": f"{self.hub.url}/{'datasets/' * (asked['type'] == 'dataset')}{name}"})

    def _file(self, commit: str, files: Mapping[str, bytes], path: str) -> None:
        if path not in files:
            return self._fail(404, "EntryNotFound")
        if self.command == "GET":
            self.hub.sending.set()
            assert self.hub.open.wait(60)
        data = files[path]
        tag = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": commit}
        self._send(200, data, **tag)

    def _json(self, content: Any, status: int = 200) -> None:
        self._send(status, json.dumps(content).encode(), **{"Content-Type": "application/json"})

    def _fail(self, status: int, code: str) -> None:
        self._send(status, b"", **{"X-Error-Code": code})

    def _send(self, status: int, data: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _tree(files: Mapping[str, bytes], below: str, recursive: bool) -> list[dict[str, Any]]:
    """What lies below a folder of a commit: its files, or all files and no folders."""
    inside = {
        path: data for path, data in files.items() if path.startswith(f"{below}/" * bool(below))
    }
    if recursive:
        return [listed(path, data) for path, data in inside.items()]
    rest = {path: path[len(below) + bool(below) :] for path in inside}
    folders = {
        below + "/" * bool(below) + name.partition("/")[0] for name in rest.values() if "/" in name
    }
    here = [listed(path, inside[path]) for path, name in rest.items() if "/" not in name]
    return here + [
        {"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in folders
    ]


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
