"""Which head an address means, and what is said where none answers. No Ray is started."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.workers.ray_address import PREFACE, head_of
from storage.errors import ConfigurationError, InfrastructureError

SPEAKS_GRPC = PREFACE[-9:]
A_PAGE = b"HTTP/1.1 400 Bad Request\r\n\r\n"


@pytest.fixture
def listening() -> Iterator[list[str]]:
    """Addresses of a head, of another one, and of a page for browsers."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]

    def answer(server: socket.socket, first: bytes) -> None:
        while True:
            try:
                link, _ = server.accept()
            except OSError:
                return
            with link:
                link.sendall(first)

    for server, first in zip(servers, (SPEAKS_GRPC, SPEAKS_GRPC, A_PAGE), strict=True):
        threading.Thread(target=answer, args=(server, first), daemon=True).start()
    yield [f"127.0.0.1:{server.getsockname()[1]}" for server in servers]
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", "RAY_USE_TLS"):
        monkeypatch.delenv(name, raising=False)


def machine(folder: Path, *commands: str) -> Path:
    """A machine's processes, as /proc shows them."""
    for number, words in enumerate(commands, start=1):
        process = folder / "proc" / str(number)
        process.mkdir(parents=True)
        (process / "cmdline").write_bytes(words.replace(" ", "\0").encode())
    return folder / "proc"


def public(address: str) -> str:
    return f"raylet --gcs-address={address} --session-dir=/tmp/ray/session_1"


def private(address: str) -> str:
    return f"raylet --gcs-address={address} --session-dir=/tmp/stepmill-ray-a1_b2c3d/0/session_1"


def test_a_head_that_answers_is_taken_as_it_is_written(listening: list[str]) -> None:
    assert head_of(listening[0]) == listening[0]


def test_auto_finds_the_only_cluster_and_no_private_one(
    listening: list[str], tmp_path: Path
) -> None:
    processes = machine(tmp_path, "bash", private(listening[1]), public(listening[0]))
    assert head_of("auto", processes, tmp_path / "none") == listening[0]


def test_auto_prefers_what_the_environment_and_then_ray_start_named(
    listening: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = machine(tmp_path, public(listening[0]), public(listening[1]))
    usual = tmp_path / "ray_current_cluster"
    usual.write_text(f"{listening[1]}\n")
    assert head_of("auto", processes, usual) == listening[1]
    monkeypatch.setenv("RAY_ADDRESS", listening[0])
    assert head_of("auto", processes, usual) == listening[0]


def test_auto_where_builds_alone_have_clusters_joins_none(
    listening: list[str], tmp_path: Path
) -> None:
    processes = machine(tmp_path, private(listening[0]))
    with pytest.raises(ConfigurationError, match="but for a build's private one, which is not"):
        head_of("auto", processes, tmp_path / "none")


def test_auto_among_several_clusters_asks_for_one(listening: list[str], tmp_path: Path) -> None:
    processes = machine(tmp_path, public(listening[0]), public(listening[1]))
    with pytest.raises(ConfigurationError, match=r"there are several clusters here, .*: name one"):
        head_of("auto", processes, tmp_path / "none")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://head:8265", "is the address of jobs: `stepmill submit CONFIG --address http://"),
        ("https://head", "is the address of jobs"),
        ("ray://head:10001", "write HOST:PORT of a head, or auto"),
        ("head", "write HOST:PORT of a head, or auto"),
        ("head:", "write HOST:PORT of a head, or auto"),
        ("head:70000", "write HOST:PORT of a head, or auto"),
        ("127.0.0.1:9", "no Ray head answers at 127.0.0.1:9: Connection refused; correct"),
        ("head.invalid:6379", "no Ray head answers at head.invalid:6379: "),
    ],
)
def test_what_can_not_be_joined_says_what_to_write(address: str, said: str) -> None:
    with pytest.raises((ConfigurationError, InfrastructureError)) as refused:
        head_of(address)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_port_of_a_page_is_no_head(listening: list[str]) -> None:
    with pytest.raises(InfrastructureError, match="is no Ray head: name its own port, HOST:6379"):
        head_of(listening[2])


def test_a_head_that_does_not_answer_yet_may_be_waited_for() -> None:
    with pytest.raises(InfrastructureError, match="no Ray head answers"):
        head_of("127.0.0.1:9")
