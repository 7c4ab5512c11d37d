"""Answers that no S3 server gives: a proxy's, a damaged gateway's, somebody's who is not one.

Each is unavailable or refused, never a traceback, and nothing is believed of it.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import pytest

from storage.errors import ConfigurationError, InfrastructureError, StoreUnavailable
from storage.objects import client
from storage.objects.patience import Patience
from storage.objects.s3 import S3Store
from storage.objects.store import Put
from storage.runs.removal import Tombstone, remove

QUICK = Patience(tries=2, sleep=lambda _: None, deadline_s=20)
SENT = re.compile(rb"(?i)content-length: (\d+)")


class Server:
    """Answers whatever it is asked with the same bytes, and counts."""

    def __init__(self) -> None:
        self.answer = b""
        self.asked: list[bytes] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

        port = self._listening.getsockname()[1]
        self.url = f"s3://bucket/p?endpoint=http://127.0.0.1:{port}"

    @cached_property
    def store(self) -> S3Store:
        return S3Store.at(self.url, QUICK)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                with connection, contextlib.suppress(OSError):
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        came = b""
        while b"\r\n\r\n" not in came:
            if not (more := connection.recv(65_536)):
                return
            came += more
        head, _, body = came.partition(b"\r\n\r\n")
        if b"100-continue" in head:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = SENT.search(head)
        while length and len(body) < int(length[1]):
            body += connection.recv(65_536)
        self.asked.append(head)
        connection.sendall(self.answer)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    running = Server()
    yield running
    running.close()


def answer(body: str = "", *headers: str, status: str = "200 OK", length: str = "") -> bytes:
    data = body.encode()
    head = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {length or len(data)}", "", ""]
    return "\r\n".join(head).encode("latin-1") + data


def page(inner: str, more: str = "false") -> bytes:
    return answer(f"<ListBucketResult><IsTruncated>{more}</IsTruncated>{inner}</ListBucketResult>")


ENTRY = "<Contents><Key>p/runs/a</Key><Size>{}</Size>{}</Contents>"
TAGGED = ('ETag: "x"',)
OBJECTS = {
    "a length that is no number": answer("x", *TAGGED, length="abc"),
    "two lengths": answer("x", *TAGGED, length="1, 1"),
    "a length of 5,000 digits": answer("x", *TAGGED, length="9" * 5_000),
    "a length that no memory has": answer("x", *TAGGED, length="9" * 30),
    "no length after its name": b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: \r\n\r\nx',
    "a chunk that no memory has": (
        b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n'
        b"ffffffffffffffffff\r\nx\r\n0\r\n\r\n"
    ),
    "a date that is none": answer("x", *TAGGED, "Last-Modified: yesterday"),
    "a date beyond all years": answer("x", *TAGGED, "Last-Modified: 99999999999999999"),
    "a number of parts that is none": answer("x", *TAGGED, "x-amz-mp-parts-count: many"),
}  # fmt: skip
ERRORS = {
    "an error within its code": "<Error><Code><a>x</a></Code></Error>",
    "two codes": "<Error><Code>A</Code><Code>B</Code></Error>",
    "an error without an end of depth": "<Error>" + "<a>" * 3_000 + "</a>" * 3_000 + "</Error>",
}
PAGES = {
    "no size": "<Contents><Key>p/runs/a</Key></Contents>",
    "no name": "<Contents><Size>1</Size></Contents>",
    "a folder without a name": "<CommonPrefixes></CommonPrefixes>",
    "a size that is no number": ENTRY.format("abc", ""),
    "a size of 5,000 digits": ENTRY.format("9" * 5_000, ""),
    "a date that is none": ENTRY.format(1, "<LastModified>yesterday</LastModified>"),
    "a date beyond all years": ENTRY.format(1, "<LastModified>99999-13-45T00:00</LastModified>"),
    "no name, encoded": "<EncodingType>url</EncodingType><Contents><Size>1</Size></Contents>",
    "somebody else's object": "<Contents><Key>p/trainings/a</Key><Size>1</Size></Contents>",
    "an object of another prefix": "<Contents><Key>other/runs/a</Key><Size>1</Size></Contents>",
    "somebody else's folder": "<CommonPrefixes><Prefix>p/other/</Prefix></CommonPrefixes>",
}  # fmt: skip
LISTINGS: list[Callable[[S3Store], object]] = [
    lambda store: list(store.list("runs/")),
    lambda store: list(store.files("runs/")),
    lambda store: list(store.folders("runs/")),
]


@pytest.mark.parametrize("named", OBJECTS)
def test_an_object_in_an_answer_that_can_not_be_read_is_unavailable(
    named: str, server: Server
) -> None:
    server.answer = OBJECTS[named]
    with pytest.raises(StoreUnavailable, match="GET a: "):
        server.store.get("a")
    assert server.store.put_new("a", b"x") is Put.UNKNOWN


@pytest.mark.parametrize("named", ERRORS)
def test_an_error_that_can_not_be_read_is_no_traceback(named: str, server: Server) -> None:
    server.answer = answer(ERRORS[named], status="400 Bad Request")
    store = server.store
    asked: list[Callable[[], object]] = [
        lambda: store.get("a"), lambda: store.modified("a"), lambda: store.delete("a"),
        lambda: list(store.list("runs/")),
    ]  # fmt: skip
    for ask in asked:
        with pytest.raises(InfrastructureError):
            ask()
    with contextlib.suppress(InfrastructureError):
        assert store.put_new("a", b"x") is Put.UNKNOWN


@pytest.mark.parametrize("named", PAGES)
def test_a_listing_that_can_not_be_one_is_unavailable(named: str, server: Server) -> None:
    server.answer = page(PAGES[named])
    for listed in LISTINGS:
        with pytest.raises(StoreUnavailable, match=r"LIST runs/: "):
            listed(server.store)


def test_what_a_server_lists_that_was_not_asked_for_is_not_removed(server: Server) -> None:
    # Everything is answered with a listing of the whole bucket, as by one that ignores `prefix`.
    server.answer = page("<Contents><Key>p/runs/other/spec.json</Key><Size>1</Size></Contents>")
    with pytest.raises(StoreUnavailable):
        remove(server.store, "runs/mine/", Tombstone("ann", ""), patience=QUICK)
    assert not [head for head in server.asked if head.startswith(b"DELETE")]


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"])
def test_a_redirect_without_an_end_costs_two_requests(status: str, server: Server) -> None:
    server.answer = answer("", "Location: http://127.0.0.1:1/", status=status)
    with pytest.raises(InfrastructureError):
        server.store.get("a")
    assert len(server.asked) <= 2


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_a_key_with_an_end_of_line_is_named_before_anything_is_asked(
    name: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "hidden\n")
    with pytest.raises(ConfigurationError, match=f"store: {name} holds a blank") as caught:
        S3Store.at(server.url)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[default\n", "Unable to parse config file"),
        ("[default]\ncredential_process = sh -c 'echo hidden >&2; exit 3'\n", "custom-process"),
        ("[default]\ncredential_process = sleep 1000\n", "custom-process"),
        ("[default]\ncredential_process = echo hidden\n", "check AWS"),
        ("[default]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = none\n", "source_profile"),
    ],
)
def test_settings_of_aws_that_are_wrong_are_one_line_without_what_a_program_said(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "config"
    file.write_text(text)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    monkeypatch.setattr(client, "HELPER_S", 1.0)
    with pytest.raises(ConfigurationError, match=said) as caught:
        S3Store.at("s3://bucket/p?endpoint=http://127.0.0.1:1")
    assert "hidden" not in str(caught.value)
