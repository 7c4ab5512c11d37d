"""Seeded worlds in which a run is removed beside its writers, at any moment, under any faults.

Until the tombstone stands every invariant of the protocol holds. Afterwards nothing comes back.
Where the store answers, nothing but the tombstone is left when the last writer has ended.
"""

from __future__ import annotations

import os

import pytest

from storage.errors import InfrastructureError, Removed
from storage.objects.store import ObjectStore
from storage.runs import commits, removal
from storage.runs.removal import Tombstone, remove, tombstone_key
from storage.runs.run import Run
from tests.protocol.protocol_simulation import QUICK, STAGES, Simulation
from tests.support.faulty_store import FaultyStore, Odds, Turns

PREFIX = "runs/sim/"
STONE = Tombstone("ann", "")
SEEDS = int(os.environ.get("STEPMILL_SEEDS", "1000"))
pytestmark = pytest.mark.timeout(300 + SEEDS // 10)


class RemovedRun(Simulation):
    """One seed's world, in which somebody removes the run."""

    def drive(self) -> None:
        """A driver that ends when it hears of the tombstone."""
        try:
            super().drive()
        except Removed:
            return

    def check_commits(self) -> None:
        """The invariants hold for a run that is there."""
        if tombstone_key(PREFIX) not in self.world.truth.objects:
            super().check_commits()

    def check_receipt(self, receipt: commits.Receipt) -> None:
        """What a writer was told counts until the tombstone stands."""
        if tombstone_key(PREFIX) not in self.world.truth.objects:
            super().check_receipt(receipt)

    def remove(self) -> None:
        """Somebody who tries until it is done, or dies on the way."""
        store = FaultyStore(self.world)
        for _ in range(self.chance.randint(0, 6)):
            self.world.turn()  # it may come at any moment
        while True:
            try:
                remove(store, PREFIX, STONE, patience=QUICK)
                return
            except InfrastructureError:
                continue

    def play_removed(self) -> list[str]:
        """Play; return what lies below the run's prefix beside the tombstone."""
        turns = Turns(self.chance, self.check_commits)
        self.world.turn = turns.turn
        turns.run([self.drive] * self.chance.randint(1, 3) + [self.remove])
        self.world.turn = lambda: None
        self.world.calm()
        return [key for key in self.world.truth.objects if key != tombstone_key(PREFIX)]


@pytest.fixture(autouse=True)
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulated writer is one thread: only it takes turns."""

    def delete(store: ObjectStore, keys: list[str]) -> None:
        for key in keys:
            store.delete(key)

    monkeypatch.setattr(removal, "_delete", delete)


def test_where_the_store_answers_nothing_but_the_tombstone_is_left() -> None:
    for seed in range(SEEDS):
        world = RemovedRun(seed)
        world.world.odds = Odds()
        assert world.play_removed() == [], f"seed {seed}"


def test_under_any_faults_a_repeated_removal_leaves_nothing_and_no_start_gets_the_name() -> None:
    for seed in range(SEEDS):
        world = RemovedRun(seed)
        world.play_removed()
        truth = world.world.truth
        remove(truth, PREFIX, STONE)
        assert [*truth.objects] == [tombstone_key(PREFIX)], f"seed {seed}"
        with pytest.raises(Removed):
            world.work_through(truth, STAGES[0])
        with pytest.raises(Removed):
            Run.start(truth, "sim", world.run.spec, QUICK)
        assert [*truth.objects] == [tombstone_key(PREFIX)], f"seed {seed}"


def test_without_the_look_something_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "refuse_removed", lambda store, prefix: None)
    left = 0
    for seed in range(200):
        world = RemovedRun(seed)
        world.world.odds = Odds()
        left += bool(world.play_removed())
    assert left > 0
