"""What holds for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import setuptools
from hypothesis import settings

from actors.owned_folder import ray_folder

# Ray reads it when it is imported: which test does that first must not matter.
os.environ.setdefault("RAY_AUTH_MODE", "token")

# Once in a run setuptools, which torch imports for vLLM, found Python's own distutils in the way
# and refused: here nothing was imported or changed before it.
assert setuptools.__version__

# How long one example takes says how busy the machine is, and nothing about us.
settings.register_profile("stepmill", deadline=None)
settings.load_profile("stepmill")


@pytest.fixture(scope="session", autouse=True)
def _no_ray_was_ever_here() -> Iterator[None]:
    """Ray's default folder is one that is not there yet, whatever ran on this machine before."""
    with ray_folder() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(folder))
        yield


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Floating-point sums depend on the number of threads; several of them wait for busy cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
