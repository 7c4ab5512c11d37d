"""The image's parts: what an interpreter is asked, who installs its packages, what is left of a
build that failed.
"""

from __future__ import annotations

import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from actors.sandbox.image import packages, rootfs
from actors.sandbox.image.interpreter import Interpreter, ask, running
from storage.errors import SandboxUnavailable

SOME = Interpreter(
    program="/usr/bin/python3.11",
    name="python3.11",
    version="3.11.2 (main)",
    machine="x86_64",
    libc="glibc-2.36",
    standard="/usr/lib/python3.11",
    folder="lib",
    searched=("/usr/local/lib/python3.11/site-packages",),
)
DEBIAN = (
    "/usr/local/local/lib/python3.11/dist-packages",
    "/usr/local/lib/python3/dist-packages",
    "/usr/local/lib/python3.11/dist-packages",
)


@pytest.mark.parametrize(
    ("told", "packages"),
    [
        pytest.param(SOME, "usr/local/lib/python3.11/site-packages", id="a built one"),
        pytest.param(
            replace(SOME, searched=DEBIAN),
            "usr/local/lib/python3.11/dist-packages",
            id="Debian's",
        ),
        pytest.param(
            replace(SOME, searched=DEBIAN[:2]),
            "usr/local/local/lib/python3.11/dist-packages",
            id="one that has no folder in its own library",
        ),
        pytest.param(
            replace(
                SOME,
                folder="lib64",
                searched=(
                    "/usr/local/lib64/python3.11/site-packages",
                    "/usr/local/lib/python3.11/site-packages",
                ),
            ),
            "usr/local/lib64/python3.11/site-packages",
            id="one with lib64",
        ),
    ],
)
def test_packages_go_where_the_copy_will_look(told: Interpreter, packages: str) -> None:
    assert told.packages == packages


def test_a_virtual_environment_is_asked_for_the_interpreter_behind_it() -> None:
    assert ask(sys.executable) == ask(running())
    assert Path(ask(running()).standard, "os.py").exists()


@pytest.mark.parametrize("script", [None, "#!/bin/sh\necho 'no such luck' >&2\nexit 1\n", ""])
def test_an_interpreter_that_does_not_answer_is_named_in_one_line(
    script: str | None, tmp_path: Path
) -> None:
    program = tmp_path / "python3"
    if script is not None:
        program.write_text(script)
        program.chmod(0o755)
    with pytest.raises(SandboxUnavailable) as refused:
        ask(str(program))
    said = str(refused.value)
    assert str(program) in said and len(said.splitlines()) == 1


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_machine_gets_each_package_once_in_one_version(machine: str) -> None:
    required = [Requirement(line) for line in rootfs.recipe()["packages"]]
    here = [
        one
        for one in required
        if not one.marker or one.marker.evaluate({"platform_machine": machine})
    ]
    assert sorted(one.name for one in here) == ["mpmath", "numpy", "scipy", "sympy", "z3-solver"]
    assert all(str(one.specifier).startswith("==") for one in here)


def _wheel(folder: Path) -> Path:
    wheel = folder / "tiny-1.0-py3-none-any.whl"
    about = {
        "METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "entry_points.txt": "[console_scripts]\ntiny = tiny:main\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny/__init__.py", "def main(): ...\n")
        archive.writestr("tiny/tests/__init__.py", "")
        for name, text in about.items():
            archive.writestr(f"tiny-1.0.dist-info/{name}", text)
    return wheel


def test_pips_settings_do_not_say_where_the_packages_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    settings = tmp_path / "pip.conf"
    settings.write_text(
        f"[global]\nrequire-virtualenv = true\n[install]\nuser = true\n"
        f"prefix = {elsewhere}\nroot = {elsewhere}\ntarget = {elsewhere}\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    for name in ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"):
        monkeypatch.setenv(name, str(elsewhere))
    monkeypatch.setenv("PIP_USER", "1")
    target = tmp_path / "target"
    packages.install([str(_wheel(tmp_path))], target, ask(running()))
    files = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    about = {f"tiny-1.0.dist-info/{name}" for name in ("METADATA", "WHEEL", "entry_points.txt")}
    # No note of who installed it, and no script, which would name the installing interpreter.
    assert files == {"tiny/__init__.py", *about}
    assert not elsewhere.exists()


def test_packages_that_can_not_be_had_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailable) as refused:
        packages.install([str(tmp_path / "none.whl")], tmp_path / "target", ask(running()))
    assert "none.whl" in str(refused.value) and len(str(refused.value).splitlines()) == 1


def test_an_environment_without_pip_installs_with_uv_or_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxUnavailable, match="-m ensurepip"):
        packages.install(["tiny"], tmp_path / "target", SOME)
    uv = tmp_path / "uv"
    uv.write_text('#!/bin/sh\necho "$@" >&2\nexit 1\n')
    uv.chmod(0o755)
    with pytest.raises(SandboxUnavailable, match=r"--python /usr/bin/python3\.11 .* tiny$"):
        packages.install(["tiny"], tmp_path / "target", SOME)


def test_nothing_is_left_of_a_build_in_which_no_block_runs_or_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy_nothing(root: Path, interpreter: Interpreter) -> None:
        (root / interpreter.packages).mkdir(parents=True)

    monkeypatch.setattr(rootfs, "_fill_base", copy_nothing)
    (tmp_path / "roots/building-by-one-that-was-killed/place").mkdir(parents=True)
    for _ in range(2):  # nothing of the first time counts the second time
        with pytest.raises(SandboxUnavailable, match=r"image: .* names no loader"):
            rootfs.build_root(tmp_path)
        assert [path.name for path in (tmp_path / "roots").iterdir()] == ["lock"]
