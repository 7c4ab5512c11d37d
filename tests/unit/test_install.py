"""install.sh: what can't work is one line and exit code 2, before anything is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "install.sh"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
NOTHING_INSTALLED = "#!/bin/sh\necho 'something was installed' >&2\nexit 9\n"


@dataclass
class Machine:
    """A folder of programs, all that the script finds, and what it is asked for."""

    programs: Path
    environment: Path

    def has(self, name: str, script: str) -> Path:
        """Put a program there."""
        program = self.programs / name
        program.write_text(script)
        program.chmod(0o755)
        return program

    def installs(self, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run the script."""
        return subprocess.run(
            ["/bin/sh", str(SCRIPT), str(self.environment)],
            env={"PATH": str(self.programs), **settings},
            capture_output=True,
            text=True,
            check=False,
        )

    def refuses(self, **settings: str) -> str:
        """Run the script; return the one line that it says instead of installing."""
        done = self.installs(**settings)
        assert (done.returncode, done.stdout) == (2, ""), done
        (line,) = done.stderr.splitlines()
        return line.removeprefix("install.sh: ")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("dirname", "grep"):
        program = shutil.which(name)
        assert program is not None
        (programs / name).symlink_to(program)
    one = Machine(programs, tmp_path / "environment")
    one.has("uv", NOTHING_INSTALLED)
    one.has("python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    return one


def _old(version: str) -> str:
    """A Python that does not fit."""
    return f'#!/bin/sh\nif [ "$1" = --version ]; then echo "Python {version}"; else exit 1; fi\n'


def _at_home_in(folder: str) -> str:
    """A Python that fits, has no pip, and says where it is from."""
    return (
        '#!/bin/sh\ncase "$*" in\n'
        f"*_base_executable*) echo {folder}/python3.12;;\n*pip*) exit 1;;\nesac\n"
    )


def test_a_python_that_is_not_there(machine: Machine) -> None:
    assert machine.refuses(PYTHON="python3.99") == "PYTHON=python3.99: no such program"


def test_a_python_of_another_version(machine: Machine) -> None:
    old = str(machine.has("old", _old("3.10.1")))
    line = machine.refuses(PYTHON=old)
    assert line == f"PYTHON={old} is Python 3.10.1: Stepmill needs Python 3.11 or 3.12"


def test_no_python_that_fits(machine: Machine) -> None:
    machine.has("python3", _old("3.13.0"))
    line = machine.refuses()
    assert line.startswith("no Python 3.11 or 3.12 here (python3 is Python 3.13.0): install one")


def test_a_set_that_there_is_not(machine: Machine) -> None:
    assert machine.refuses(GPU="7") == "GPU=7: 1 is the set for GPUs, 0 the one without"


def test_a_debian_python_without_its_package_for_environments(machine: Machine) -> None:
    bare = machine.has(
        "bare",
        '#!/bin/sh\ncase "$*" in *"import ensurepip"*) exit 1;; esac\n'
        f'exec {sys.executable} "$@"\n',
    )
    line = machine.refuses(PYTHON=str(bare), GPU="0")
    assert line.endswith(f"can't make virtual environments: apt-get install python{VERSION}-venv")
    assert not machine.environment.exists()


def test_an_environment_of_another_interpreter(machine: Machine) -> None:
    (machine.environment / "bin").mkdir(parents=True)
    machine.has("python", _at_home_in("/here")).rename(machine.environment / "bin/python")
    other = str(machine.has("other", _at_home_in("/elsewhere")))
    line = machine.refuses(PYTHON=other, GPU="0")
    assert line == (
        f"{machine.environment} was made with /here/python3.12: remove it to have one with {other}"
    )


def test_an_environment_that_uv_made_is_kept_where_uv_installs(machine: Machine) -> None:
    (machine.environment / "bin").mkdir(parents=True)
    machine.has("python", _at_home_in("/here")).rename(machine.environment / "bin/python")
    done = machine.installs(PYTHON="", GPU="0")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (9, "something was installed")
    assert [path.name for path in machine.environment.rglob("*")] == ["bin", "python"]
