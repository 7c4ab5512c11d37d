"""What a wheel holds: unpacked anywhere, in an empty folder, with the packages that are here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from launch.packaged import configurations, pages
from tests.support.commands import ROOT, environment

CLONE_ALONE = shutil.ignore_patterns(".*", "build", "tests", "benchmarks", "*.egg-info")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "clone", ignore=CLONE_ALONE)
    pip = [sys.executable, "-m", "pip", "wheel", "./clone", "-w", ".", "--no-deps"]
    made = subprocess.run(
        [*pip, "--no-build-isolation"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stdout + made.stderr
    shutil.rmtree(folder / "clone")
    (wheel,) = folder.glob("stepmill-*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


@pytest.fixture
def away(unpacked: Path, tmp_path: Path) -> Callable[..., str]:
    """What a verb prints in an empty folder, where only the wheel is."""

    def of(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "launch", *words], cwd=tmp_path,
            env=environment(PYTHONPATH=str(unpacked)), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    return of


def test_it_holds_every_configuration_page_and_licence(
    unpacked: Path, away: Callable[..., str]
) -> None:
    listed = away("init", "--list")
    assert all(name in listed for name in configurations())
    listed = away("docs")
    assert all(name in listed for name in pages())
    for page in pages().values():
        there = unpacked / "launch/packaged/docs" / page.file.name
        assert there.read_bytes() == page.file.read_bytes()
    assert away("docs", "words").startswith("# Words")
    licences = {file.name for file in unpacked.glob("*.dist-info/licenses/*")}
    assert licences == {"LICENSE", "NOTICE"}


def test_it_installs_only_packages_of_ours(unpacked: Path) -> None:
    packages = {path.name for path in unpacked.iterdir() if path.suffix != ".dist-info"}
    assert packages == {"actors", "demo", "launch", "stepmill", "storage", "workflows"}


@pytest.mark.container
def test_the_demos_configuration_is_written_and_the_doctor_accepts_it(
    unpacked: Path, away: Callable[..., str], tmp_path: Path
) -> None:
    assert "code runs in" in away("sandbox")
    assert away("init", "--from", "demo").splitlines()[-1] == "next: stepmill preview build.yaml"
    assert str(unpacked / "demo/models/policy") in (tmp_path / "build.yaml").read_text()
    found = json.loads(away("doctor", "build.yaml", "--json"))
    assert {"problems", "models.policy", "models.rationale"} <= {one["what"] for one in found}
    assert all(one["ok"] for one in found)
