"""Which enclosure runs: the one that is configured, or an error of one line."""

from __future__ import annotations

import asyncio
import resource
from dataclasses import replace

import pytest

from actors.sandbox import opening
from actors.sandbox.box import Box
from actors.sandbox.contract import Backend, SandboxSettings
from actors.sandbox.docker.box import DockerBoxes
from storage.errors import SandboxUnavailable

NOWHERE = "unix:///nonexistent/docker.sock"


class Opened(Exception):
    """Bubblewrap was asked for a box."""


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    async def opened(self: object) -> Box:
        raise Opened

    async def unavailable(self: DockerBoxes) -> Box:
        raise SandboxUnavailable("no Docker Engine answers")

    monkeypatch.setattr(opening.BubblewrapBoxes, "open", opened)
    monkeypatch.setattr(opening.DockerBoxes, "open", unavailable)
    monkeypatch.delenv("DOCKER_HOST", raising=False)


def _opens(settings: SandboxSettings) -> str:
    """`bubblewrap`, or why no box opens."""
    source = opening.open_sandbox(settings).source
    try:
        asyncio.run(source.open())
    except Opened:
        return "bubblewrap"
    except SandboxUnavailable as error:
        assert "\n" not in str(error)
        return str(error)
    raise AssertionError("a box opened")


@pytest.mark.parametrize("backend", [Backend.AUTO, Backend.DOCKER])
def test_an_engine_that_is_named_is_used_or_an_error(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no Docker Engine answers" in _opens(SandboxSettings(backend, docker_host=NOWHERE))
    monkeypatch.setenv("DOCKER_HOST", NOWHERE)
    assert "no Docker Engine answers" in _opens(SandboxSettings(backend))


def test_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", NOWHERE)
    said = _opens(SandboxSettings())
    assert "DOCKER_HOST" in said and "sandbox.fallback: true" in said


@pytest.mark.parametrize("backend", [Backend.AUTO, Backend.DOCKER])
def test_only_the_setting_lets_bubblewrap_take_an_engines_place(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", NOWHERE)
    assert _opens(SandboxSettings(backend, fallback=True)) == "bubblewrap"


def test_where_no_engine_is_named_auto_takes_bubblewrap_and_docker_is_docker() -> None:
    settings = SandboxSettings()
    assert _opens(settings) == "bubblewrap"
    assert "no Docker Engine answers" in _opens(replace(settings, backend=Backend.DOCKER))


@pytest.mark.parametrize(
    ("limits", "raised"),
    [
        pytest.param((1024, 1 << 20), (8 * 600 + 512, 1 << 20), id="as many as boxes need"),
        pytest.param((1024, 4096), (4096, 4096), id="no more than it may"),
        pytest.param((1 << 20, 1 << 20), None, id="never lowered"),
        pytest.param((resource.RLIM_INFINITY, resource.RLIM_INFINITY), None, id="no limit at all"),
    ],
)
def test_a_process_may_open_the_files_of_all_its_boxes(
    limits: tuple[int, int], raised: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda what: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda what, to: said.append(to))
    opening.open_sandbox(SandboxSettings(slots=4, sessions=600))
    assert said == ([] if raised is None else [raised])
