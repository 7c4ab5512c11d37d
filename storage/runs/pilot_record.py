"""The record of a run's pilot: its verdict on the budget, and the chain that was fitted to it.

    runs/{run}/chain.json      create-only, before the first shard of a run whose labels need it

Invariant: the record never changes, so status, card and every worker read the same one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from storage.errors import NothingFound
from storage.objects.patience import PATIENT, Patience
from storage.objects.store import ObjectStore
from storage.runs.commits import canonical_json
from storage.runs.documents import MOST_BYTES, parsed, put_settled, read_as
from storage.runs.layout import chain_key

TOLERANCE = 0.01
"""Most by which `differs` may exceed `floor`: one percentage point."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The pilot's test of an adaptive budget."""

    paths: int
    labels: int
    floor: float
    """The noise floor: share of labels that differ between two halves, both by counts."""
    differs: float
    """Share of labels that differ between one half by counts and the other by the budget."""
    saved: float
    """Share of the second half's rollouts that the budget did not request."""

    @property
    def passed(self) -> bool:
        """Whether the budget differs by no more than the noise floor and `TOLERANCE`."""
        return self.differs <= self.floor + TOLERANCE


@dataclass(frozen=True, slots=True)
class PilotRecord:
    """A pilot, its verdict on the run's budget, and its chain."""

    pilot: str
    """Name of the finished run that served as pilot."""
    pilot_spec: str
    """Fingerprint of the pilot's spec."""
    budget: str
    rollouts: int
    """Rollouts that the pilot spent."""
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
        """All fields but the chain, as plain values."""
        whole = asdict(self)
        return {name: whole[name] for name in ("pilot", "budget", "rollouts", "tokens", "gate")}

    def to_json(self) -> bytes:
        """The bytes of chain.json."""
        return canonical_json(asdict(self))


def pilot_record(store: ObjectStore, run: str) -> PilotRecord | None:
    """The record stored in a run; None if there is none. Raises ObjectCorrupt."""
    key = chain_key(run)
    try:
        data = store.get(key, MOST_BYTES)
    except NothingFound:
        return None
    return read_as(PilotRecord, key, parsed(key, data))


def store_pilot_record(
    store: ObjectStore, run: str, record: PilotRecord, patience: Patience = PATIENT
) -> None:
    """Store the record, create-only: of two drivers that start a run, the first decides."""
    put_settled(store, chain_key(run), record.to_json(), patience)
