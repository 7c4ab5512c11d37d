"""The commit protocol under a seeded world of faults, with the invariants checked as it runs.

Drivers list commits, work on what is missing, publish, die and are replaced; twins do the same
beside them; a sweeper sweeps. After every store call:

    I1  a commit, once seen, never changes
    I2  the object that a commit names exists and has its digest
    and a receipt says what the store holds; nobody works on a shard whose commit he was shown (I5)

At the end the faults stop, one clean driver resumes, and

    I3  committed items plus drops are the plan, no item twice, each stage built on the committed
        rows of the one before
    I5  that driver worked on exactly the uncommitted shards
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field

from storage.errors import InfrastructureError, NothingFound
from storage.objects.patience import Patience
from storage.objects.store import ObjectStore
from storage.rows.parquet import EncodedShard, check_digest, sha256_of
from storage.rows.records import Drop
from storage.runs import commits, layout
from storage.runs.commits import Commit, Receipt, Writer
from storage.runs.run import Run
from storage.runs.specs import ShardPlan, Spec
from storage.sweep import sweep
from tests.support.faulty_store import FaultyStore, Odds, Turns, World

STAGES = ("problems", "sample")
QUICK = Patience(tries=4, clock=lambda: 0.0, sleep=lambda _: None, random=lambda: 0.0)
WRITER = Writer("host", 1, 1)


class Violation(AssertionError):
    """An invariant does not hold."""


@dataclass
class Simulation:
    """One seed's world."""

    seed: int
    chance: random.Random = field(init=False)
    world: World = field(init=False)
    run: Run = field(init=False)
    seen: dict[str, tuple[bytes, Commit]] = field(default_factory=dict)
    attempts: int = 0
    worked: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.world = World(self.chance, Odds.drawn(self.chance))
        plan = ShardPlan(items=2 * self.chance.randint(1, 2), items_per_shard=2)
        spec = Spec({}, "input", plan, stages=STAGES)
        self.run = Run(self.world.truth, "sim", spec, QUICK)

    def play(self) -> None:
        """Faults, then calm; raises Violation."""
        turns = Turns(self.chance, self.check_commits)
        self.world.turn = turns.turn
        drivers = self.chance.randint(1, 3)
        turns.run([self.drive] * drivers + [self.sweep_sometimes] * self.chance.randint(0, 1))
        self.world.turn = lambda: None
        self.world.calm()
        self.check_commits()
        self.finish()

    def drive(self) -> None:
        """A driver that lives through at most three passes."""
        store = FaultyStore(self.world)
        for _ in range(3):
            for stage in STAGES:
                self.work_through(store, stage)

    def work_through(self, store: ObjectStore, stage: str) -> None:
        """One pass over a stage: list, subtract, work."""
        shown = set(Run(store, "sim", self.run.spec, QUICK).shards_of(stage))
        for shard in range(self.run.spec.plan.shards):
            if shard not in shown:
                try:
                    self.work(store, stage, shard)
                except (InfrastructureError, NothingFound):
                    continue  # the driver would try again; its next pass does

    def work(self, store: ObjectStore, stage: str, shard: int) -> None:
        """Make a shard's rows from the committed rows before it, and publish them."""
        source = ""
        if stage != STAGES[0]:
            before = commits.read_commit(store, layout.commit_key("sim", STAGES[0], shard))
            check_digest(before.data_key, store.get(before.data_key), before.sha256)
            source = before.sha256
        self.attempts += 1
        self.worked.append((stage, shard))
        kept = self.chance.random() < 0.7  # sampling is not reproducible: attempts may differ
        rows = [f"{stage}-{shard}-0", *([f"{stage}-{shard}-1"] if kept else [])]
        drops = () if kept else (Drop(f"{stage}-{shard}-1", "unlucky"),)
        noise = self.chance.randint(0, 1)
        data = json.dumps({"rows": rows, "source": source, "noise": noise}).encode()
        encoded = EncodedShard(data, sha256_of(data), len(rows), "fake", 1)
        key = layout.data_key("sim", stage, shard, encoded.sha256)
        attempt = f"attempt-{self.attempts}"
        commit = Commit(
            stage, shard, key, encoded.sha256, len(data), len(rows), "fake", 1, drops, {}, 0.0,
            attempt, WRITER, "spec",
        )  # fmt: skip
        self.check_receipt(commits.publish_encoded(store, "sim", encoded, commit, patience=QUICK))

    def sweep_sometimes(self) -> None:
        """A sweeper beside the writers."""
        store = FaultyStore(self.world)
        for _ in range(3):
            try:
                sweep(Run(store, "sim", self.run.spec, QUICK))
            except InfrastructureError:
                continue

    def check_commits(self) -> None:
        """I1 and I2 over the truth, at this moment."""
        objects = self.world.truth.objects
        for key, (data, commit) in self.seen.items():
            if objects.get(key) is not data:
                raise Violation(f"I1: {key} changed after it was seen")
            if commit.data_key not in objects:
                raise Violation(f"I2: {key} names {commit.data_key}, which is gone")
        for key in [key for key in objects if key.endswith(".json") and key not in self.seen]:
            data = objects[key]
            commit = commits.commit_from(key, data)
            if sha256_of(objects.get(commit.data_key, b"")) != commit.sha256:
                raise Violation(f"I2: {key} names {commit.data_key}, which is absent or differs")
            self.seen[key] = (data, commit)

    def check_receipt(self, receipt: Receipt) -> None:
        """What `publish` returned is what the store holds."""
        key = layout.commit_key("sim", receipt.stage, receipt.shard)
        try:
            stands = commits.read_commit(self.world.truth, key)
        except NothingFound:
            raise Violation(f"a receipt for {key}, which is not committed") from None
        if commits.receipt_of(stands, won=receipt.won) != receipt:
            raise Violation(f"the receipt for {key} is not what the store holds")

    def finish(self) -> None:
        """Resume cleanly; I3 and I5; then sweep and look again."""
        missing = [
            (stage, shard)
            for stage in STAGES
            for shard in range(self.run.spec.plan.shards)
            if shard not in self.run.shards_of(stage)
        ]
        self.worked.clear()
        for stage in STAGES:
            self.work_through(self.world.truth, stage)
        if self.worked != missing:
            raise Violation(f"I5: resuming worked on {self.worked}, missing was {missing}")
        sweep(self.run)
        self.check_commits()
        named = {commit.data_key for stage in STAGES for commit in self.run.commits(stage)}
        data = {key for key in self.world.truth.objects if "/data/" in key}
        if data != named:
            raise Violation(f"sweep left {data - named} or removed {named - data}")
        self.check_items()

    def check_items(self) -> None:
        """I3."""
        for stage in STAGES:
            expected = {
                f"{stage}-{shard}-{item}"
                for shard in range(self.run.spec.plan.shards)
                for item in range(2)
            }
            found: list[str] = []
            for commit in self.run.commits(stage):
                body = json.loads(self.world.truth.get(commit.data_key))
                found += [*body["rows"], *(drop.item for drop in commit.drops)]
                if stage != STAGES[0]:
                    before = self.run.commit(STAGES[0], commit.shard)
                    if body["source"] != before.sha256:
                        raise Violation(f"I3: {commit.data_key} was built on uncommitted rows")
            if sorted(found) != sorted(expected):
                raise Violation(f"I3: {stage} has {sorted(found)}, the plan {sorted(expected)}")
