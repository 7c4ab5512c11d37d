"""Finds the Ray cluster that an address means, and whether a head answers there.

Ray itself tries for more than a minute where nobody answers. Its `auto` takes any head that runs on
the machine, among them that of a private cluster, which another `stepmill build` started for
itself.

Invariant: no private cluster is found by `auto`. What can't be joined is known within seconds.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

from storage.errors import ConfigurationError, InfrastructureError

ANSWER_S = 3.0
MOST_PORT = 65_535
USUAL = Path("/tmp/ray/ray_current_cluster")
"""Where `ray start` writes the address of the head."""
PRIVATE = re.compile(rb"/stepmill-ray-[^/]{8}/")
"""The folder of a private cluster (`actors.owned_folder.ray_folder`), in its processes' words."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
SETTINGS = 4
"""HTTP/2's first frame, of this type from either side: a head speaks gRPC, its dashboard not."""


def head_of(address: str, processes: Path = Path("/proc"), usual: Path = USUAL) -> str:
    """HOST:PORT of the head that answers at `address`, which may be `auto`.

    Raises ConfigurationError with what to write instead, and InfrastructureError, within seconds,
    where no head answers: it may be about to start.
    """
    if address.startswith(("http://", "https://")):
        raise ConfigurationError(
            f"{address} is the address of jobs: `stepmill submit CONFIG --address {address}`, or "
            "name the head itself, HOST:6379"
        )
    head = _running(processes, usual) if address == "auto" else address
    host, _, port = head.rpartition(":")
    if not host or not port.isdigit() or int(port) > MOST_PORT or "/" in head:
        raise ConfigurationError(f"--address {address!r}: write HOST:PORT of a head, or auto")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S) as link:
            link.sendall(PREFACE)
            speaks = encrypted() or link.recv(len(PREFACE))[3:4] == bytes([SETTINGS])
    except OSError as error:
        reason = error.strerror or error
        raise InfrastructureError(
            f"no Ray head answers at {head}: {reason}; correct --address, or start one: ray start "
            "--head (without --address, the build starts a private cluster here)"
        ) from None
    if not speaks:
        raise InfrastructureError(
            f"what answers at {head} is no Ray head: name its own port, HOST:6379 where nothing "
            "else was said; 8265 is the port of jobs, for `stepmill submit`"
        )
    return head


def encrypted() -> bool:
    """Whether heads speak TLS, in which nothing plain is answered."""
    return os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true")


def _running(processes: Path, usual: Path) -> str:
    """The cluster that `auto` means. Raises ConfigurationError where there is none, or several."""
    if named := os.environ.get("RAY_ADDRESS", "").removeprefix("auto"):
        return head_of(named, processes, usual)
    public, private = _heads(processes)
    noted = usual.read_text(encoding="utf-8").strip() if usual.is_file() else ""
    if noted and (noted in public or not public):
        return noted
    if len(public) == 1:
        return public.pop()
    if public:
        raise ConfigurationError(
            f"--address auto: there are several clusters here, {', '.join(sorted(public))}: name "
            "one of them"
        )
    aside = ", but for a build's private one, which is not joined" if private else ""
    raise ConfigurationError(
        f"--address auto: no Ray cluster runs on this machine{aside}: start one with ray start, "
        "name HOST:PORT of its head, or leave --address out"
    )


def _heads(processes: Path) -> tuple[set[str], set[str]]:
    """Heads that processes of this machine belong to: (of clusters for all, of private ones)."""
    public: set[str] = set()
    private: set[str] = set()
    for file in processes.glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes()
        except OSError:
            continue  # ended meanwhile, or somebody else's
        if head := re.search(rb"(?:^|\0)--gcs-address=([^\0]+)", words):
            (private if PRIVATE.search(words) else public).add(head[1].decode())
    return public - private, private
