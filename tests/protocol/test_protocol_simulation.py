"""Thousands of seeded worlds: the protocol holds, and each thing it relies on is shown to matter.

One seed again: `STEPMILL_SEED=17 python -m pytest tests/protocol -k no_seeded_world`
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import pytest

from storage import sweep as sweeping
from storage.errors import CommitUnknown, StoreUnavailable
from storage.objects.patience import Patience
from storage.objects.store import ObjectStore, Put
from storage.runs import commits
from storage.runs.commits import Commit
from storage.runs.run import Run
from tests.protocol import protocol_simulation
from tests.protocol.protocol_simulation import Simulation, Violation
from tests.support import faulty_store

SEEDS = int(os.environ.get("STEPMILL_SEEDS", "5000"))
pytestmark = pytest.mark.timeout(300 + SEEDS // 10)
BROKE = (31224,)
"""Seeds that broke an invariant once: three PUTs of the same rows were stored with other bytes."""


def play(seeds: Iterable[int]) -> None:
    """Play every seed; the first violation says how to see it again."""
    for seed in seeds:
        try:
            Simulation(seed).play()
        except Violation as violation:
            raise Violation(
                f"seed {seed}: {violation}\n"
                f"again: STEPMILL_SEED={seed} python -m pytest tests/protocol -k no_seeded_world"
            ) from violation


def violations(seeds: Iterable[int]) -> int:
    """How many of the seeds break an invariant."""
    found = 0
    for seed in seeds:
        try:
            Simulation(seed).play()
        except Violation:
            found += 1
    return found


def test_no_seeded_world_breaks_an_invariant() -> None:
    asked = os.environ.get("STEPMILL_SEED")
    play([int(asked)] if asked else [*range(SEEDS), *BROKE])


def trusting(store: ObjectStore, key: str, commit: Commit, patience: Patience) -> Commit:
    """No read-back: whatever the answer, our commit must be there by now."""
    for _ in patience.attempts():
        try:
            if store.put_new(key, commits.commit_bytes(commit)) is not Put.UNKNOWN:
                return commit
        except StoreUnavailable:
            continue
    raise CommitUnknown(key)


def tidy(store: ObjectStore, key: str, commit: Commit, patience: Patience) -> Commit:
    """No read-back: anything but a success means that we lost, so we remove our data."""
    try:
        if store.put_new(key, commits.commit_bytes(commit)) is Put.CREATED:
            return commit
    except StoreUnavailable:
        pass
    store.delete(commit.data_key)
    raise CommitUnknown(key)


def deaf(store: ObjectStore, key: str, commit: Commit, patience: Patience) -> Commit:
    """Reads back, but takes any commit it finds for its own."""
    commits_settle(store, key, commit, patience)
    return commit


commits_settle = commits.settle


@pytest.mark.parametrize("settle", [trusting, tidy, deaf])
def test_a_protocol_without_the_read_back_is_caught(
    settle: Callable[..., Commit], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "settle", settle)
    assert violations(range(300)) >= 10


def test_a_put_that_is_believed_without_its_digest_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(faulty_store, "confirmed", lambda digest, md5: Put.CREATED)
    assert violations(range(300)) >= 10


def test_a_commit_before_its_data_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    put_content = commits.put_content

    def later(store: ObjectStore, key: str, commit: Commit, patience: Patience) -> Commit:
        settled = commits_settle(store, key, commit, patience)
        put_content(store, commit.data_key, b"late", commit.sha256, patience=patience)
        return settled

    monkeypatch.setattr(commits, "put_content", lambda *_, **__: None)
    monkeypatch.setattr(commits, "settle", later)
    assert violations(range(50)) >= 10


def test_a_sweep_that_takes_what_is_not_committed_yet_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def greedy(run: Run) -> None:
        for stage in run.spec.stages:
            for entry, garbage in sweeping._data(run, stage):
                if garbage is not False:
                    run.store.delete(entry.key)

    monkeypatch.setattr(protocol_simulation, "sweep", greedy)
    assert violations(range(1000)) >= 5


def test_the_same_seed_plays_the_same_world() -> None:
    def ending(seed: int) -> dict[str, bytes]:
        simulation = Simulation(seed)
        simulation.play()
        return simulation.world.truth.objects

    assert [ending(seed) for seed in range(20)] == [ending(seed) for seed in range(20)]
