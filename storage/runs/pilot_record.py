"""What a run's pilot said when the run was started, and the chain that was fitted to it.

    runs/{run}/chain.json      create-only, before the first shard of a run whose labels need it

Invariant: one small object that never changes: status, card and every worker read the same.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from storage.errors import NothingFound
from storage.objects.patience import PATIENT, Patience
from storage.objects.store import ObjectStore
from storage.runs.commits import canonical_json
from storage.runs.documents import parsed, read_as
from storage.runs.layout import chain_key
from storage.runs.run import put_settled

TOLERANCE = 0.01
"""How far above the noise floor an adaptive budget may stand: one point."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What the pilot says of a budget."""

    paths: int
    labels: int
    floor: float
    """Share of labels in which two halves of the pilot differ, both by counts."""
    differs: float
    """Share in which one half by counts and the other by budget and posterior differ."""
    saved: float
    """Share of the second half's rollouts that the budget did not ask for."""

    @property
    def passed(self) -> bool:
        """Whether the budget stays within the pilot's own noise."""
        return self.differs <= self.floor + TOLERANCE


@dataclass(frozen=True, slots=True)
class PilotRecord:
    """A pilot, its verdict on the run's budget, and its chain."""

    pilot: str
    """Name of the finished run whose rollouts these are."""
    pilot_spec: str
    """Fingerprint of its spec."""
    budget: str
    rollouts: int
    """That the pilot spent."""
    tokens: int
    gate: Gate
    grid: list[float]
    start: list[float]
    move: list[list[float]]

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        gate = self.gate
        return (
            f"labels of `{self.budget}` differ from those of an exact run by {gate.differs:.1%}, "
            f"those of two exact runs by {gate.floor:.1%} ({gate.labels:,} labels of "
            f"{gate.paths:,} paths of run {self.pilot}), with {1 - gate.saved:.0%} of its rollouts"
        )

    @property
    def figures(self) -> dict[str, Any]:
        """All but the chain, as plain values."""
        whole = asdict(self)
        return {name: whole[name] for name in ("pilot", "budget", "rollouts", "tokens", "gate")}

    def to_json(self) -> bytes:
        """The bytes that are stored."""
        return canonical_json(asdict(self))


def pilot_record(store: ObjectStore, run: str) -> PilotRecord | None:
    """What stands in a run; None where there is none."""
    key = chain_key(run)
    try:
        data = store.get(key)
    except NothingFound:
        return None
    return read_as(PilotRecord, key, parsed(key, data))


def store_pilot_record(
    store: ObjectStore, run: str, record: PilotRecord, patience: Patience = PATIENT
) -> None:
    """Store it, create-only: of two that start a run, the first decides."""
    put_settled(store, chain_key(run), record.to_json(), patience)
