"""The Pythons that people have: copies of them run code, or are refused in one line."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from actors.sandbox import Request, SandboxSettings, Verdict
from actors.sandbox.bubblewrap import BubblewrapBoxes
from actors.sandbox.docker.box import DockerBoxes, try_image
from actors.sandbox.docker.engine import Engine, find_engine, remove
from actors.sandbox.docker.image import REPOSITORY, ensure_image
from actors.sandbox.image.interpreter import ask, running
from actors.sandbox.image.rootfs import RootFolder, build_root, recipe, state_dir
from actors.sandbox.image.trial import BLOCK, PATIENCE, try_root
from actors.sandbox.pool import BoxSource, Pool
from storage.errors import SandboxUnavailable

pytestmark = pytest.mark.container
SYSTEMS = "/usr/bin/python3"
"""Debian's or Ubuntu's own, where there is one; it reads `dist-packages`."""
NOWHERE = "unix:///nowhere.sock"
ROOT = Path(__file__).resolve().parents[2]
Source = Callable[[SandboxSettings, str], BoxSource]


def _systems_python() -> str:
    code = "import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))"
    if not Path(SYSTEMS).exists() or subprocess.run([SYSTEMS, "-c", code], check=False).returncode:
        pytest.skip(f"{SYSTEMS} is not 3.11 or 3.12 here")
    return SYSTEMS


@pytest.mark.timeout(900)  # the first time it is copied, and its packages are downloaded
@pytest.mark.parametrize("source", [DockerBoxes, BubblewrapBoxes])
async def test_a_block_runs_in_a_copy_of_the_systems_own_python(source: Source) -> None:
    python = _systems_python()
    settings = SandboxSettings(slots=1)
    pool = Pool(settings, source(settings, python))
    try:
        await pool.start()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    try:
        where = "import os, sys\nprint(sys.version)\nprint(os.path.dirname(numpy.__path__[0]))"
        seen = await pool.run(Request(BLOCK + where), PATIENCE)
        assert seen.verdict is Verdict.OK, seen
        told = ask(python)
        assert seen.stdout.splitlines() == ["[-2, 2] 1", told.version, f"/{told.packages}"]
    finally:
        await pool.close()


@pytest.fixture(scope="module")
def copy() -> Iterator[Path]:
    """A root folder that may be damaged; its files are those of the real one."""
    finished = build_root(state_dir())
    with tempfile.TemporaryDirectory(dir=state_dir(), prefix="test-") as folder:
        root = Path(folder) / "root"
        shutil.copytree(finished.path, root, symlinks=True, copy_function=os.link)
        yield root


@pytest.mark.parametrize(
    ("taken", "said"),
    [
        pytest.param("{packages}/stepmill_guest", "No module named 'stepmill_guest'", id="guest"),
        pytest.param("{packages}/numpy", "No module named 'numpy'", id="package"),
        pytest.param("{library}/decimal.py", ", 'decimal', 'statistics'", id="standard library"),
        pytest.param("lib/libm.so.6", "not copied: libm.so.6", id="library of the system"),
    ],
)
def test_a_copy_that_misses_something_is_refused_in_one_line(
    copy: Path, taken: str, said: str
) -> None:
    interpreter = ask(running())
    try_root(copy, interpreter, recipe()["modules"])
    part = copy / taken.format(packages=interpreter.packages, library=interpreter.library)
    part.rename(copy.parent / "taken")
    try:
        with pytest.raises(SandboxUnavailable) as refused:
            try_root(copy, interpreter, recipe()["modules"])
    finally:
        (copy.parent / "taken").rename(part)
    line = str(refused.value)
    assert said in line and running() in line and len(line.splitlines()) == 1


@pytest.fixture
async def engine() -> Engine:
    try:
        return await find_engine(state_dir())
    except SandboxUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture
def hollow(tmp_path: Path) -> RootFolder:
    """A root folder that holds next to nothing."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root/nothing").write_bytes(content := secrets.token_bytes(8))
    return RootFolder(tmp_path / "root", f"sha256:{hashlib.sha256(content).hexdigest()}")


async def _tags(engine: Engine, root: RootFolder) -> list[str]:
    listed = await engine.ask(lambda docker: docker.images())
    ours = [image for image in listed if root.digest in (image["Labels"] or {}).values()]
    return [tag for image in ours for tag in image["RepoTags"]]


async def test_an_image_in_which_no_block_runs_is_not_kept(
    engine: Engine, hollow: RootFolder
) -> None:
    with pytest.raises(SandboxUnavailable, match="no block runs in a container of it"):
        await ensure_image(engine, hollow, partial(try_image, engine, "runc"))
    assert await _tags(engine, hollow) == []


async def test_an_image_gets_its_tag_after_its_block_and_is_not_tried_again(
    engine: Engine, hollow: RootFolder
) -> None:
    tagged_before = []

    async def run_block(image: str) -> None:
        tagged_before.append(await _tags(engine, hollow))

    tag = f"{REPOSITORY}:{hollow.digest[7:23]}"
    try:
        image = await ensure_image(engine, hollow, run_block)
        assert await _tags(engine, hollow) == [image.tag] == [tag]
        assert await ensure_image(engine, hollow, run_block) == image
        assert len(tagged_before) == 1 and tag not in tagged_before[0]
    finally:
        await engine.ask(lambda docker: remove(docker.remove_image, tag))


@pytest.mark.parametrize("bubblewrap", [True, False])
def test_building_ends_well_only_where_something_can_run_code(
    bubblewrap: bool, tmp_path: Path
) -> None:
    digest = build_root(state_dir()).digest
    environment = {**os.environ, "DOCKER_HOST": NOWHERE, "PATH": str(tmp_path)}
    if bubblewrap:
        if (program := shutil.which("bwrap")) is None:
            pytest.skip("bubblewrap is not installed")
        environment["PATH"] = str(Path(program).parent)
    command = [sys.executable, "-m", "launch", "sandbox"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    said = done.stderr.splitlines()
    assert len(said) == 1, done.stderr
    if bubblewrap:
        wanted = f"code runs in bubblewrap, image {digest}\n"
        assert (done.returncode, done.stdout) == (0, wanted)
        assert said[0].startswith("no container image: docker: no Docker Engine")
    else:
        assert (done.returncode, done.stdout) == (2, "")
        assert "docker: no Docker Engine" in said[0] and "bubblewrap is not installed" in said[0]
