"""A run's spec: frozen configuration, input, shard plan, schemas, models and image.

Invariant: two specs with the same fingerprint ask for the same rows. `differences` lists the fields
in which two specs differ. A spec says nothing of a particular machine, cluster or moment.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice, pairwise
from typing import Any, NamedTuple, Protocol, TypeVar

from storage.errors import ConfigurationError, ObjectCorrupt, SpecMismatch
from storage.rows.kinds import ROAD, stage_rows
from storage.rows.versions import resumed_version, schema_versions
from storage.runs.commits import canonical_json
from storage.runs.documents import parsed, read_as, refuse_newer

Item = TypeVar("Item")

FORMAT = 1
"""Version of the run's layout and of spec.json."""
GROWN = "grown_from"
"""The plan's field that lies beside it in spec.json, where it is not empty."""
ENGINES = "engines"
"""The key of a configuration under which each role's engine is recorded."""
MOST_STAGES, MOST_SHARDS, MOST_GROWN, MOST_ITEMS = 100, 10_000_000, 1_000, 10**15
"""More than any run has, and few enough to count."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """How the input is cut: a pure function of its length, one setting and what it grew from."""

    items: int
    items_per_shard: int
    grown_from: tuple[int, ...] = ()
    """Numbers of items, rising, at which an earlier run's last shard ended before it was full."""

    def __post_init__(self) -> None:
        """Refuse a plan that cuts nothing."""
        if self.items < 1 or self.items_per_shard < 1:
            raise ConfigurationError("a run needs at least one item, and one per shard")
        if any(start >= end for start, end in self._parts):
            raise ConfigurationError(f"a plan of {self.items} items can't grow {self.grown_from}")

    @property
    def _parts(self) -> Iterator[tuple[int, int]]:
        """(first item, end) of each part that is cut by itself."""
        return pairwise((0, *self.grown_from, self.items))

    @property
    def shards(self) -> int:
        """Number of shards."""
        return sum(-(-(end - start) // self.items_per_shard) for start, end in self._parts)

    def span(self, shard: int) -> range:
        """The numbers of a shard's items in the input. Raises ValueError."""
        left = shard
        for start, end in self._parts:
            shards = range(start, end, self.items_per_shard)
            if left < len(shards):
                return range(shards[left], min(shards[left] + self.items_per_shard, end))
            left -= len(shards)
        raise ValueError(f"shard {shard} is not in the plan of {self.shards}")

    def size(self, shard: int) -> int:
        """Number of items of the input in a shard."""
        return len(self.span(shard))

    def shard_of(self, item: int) -> int:
        """The shard of an item, by its number in the input."""
        shard = 0
        for start, end in self._parts:
            shards = range(start, end, self.items_per_shard)
            if item < end:
                return shard + (item - start) // self.items_per_shard
            shard += len(shards)
        raise ValueError(f"item {item} is not in the plan of {self.items}")

    def cut(self, items: Iterable[Item]) -> Iterator[tuple[int, list[Item]]]:
        """(number, items) of each shard; one shard is in memory at a time."""
        left = iter(items)
        for shard in range(self.shards):
            if held := list(islice(left, self.size(shard))):
                yield shard, held

    def grown(self, items: int) -> ShardPlan:
        """The plan of so many items that begins with this plan's shards, as far as they are full.

        Where no earlier shard was cut short, it is the plan that the items would have without.
        """
        ends: list[int] = []
        for end in (*self.grown_from, self.items):
            start = ends[-1] if ends else 0
            if end < items and (end - start) % self.items_per_shard:
                ends.append(end)
        return replace(self, items=items, grown_from=tuple(ends))


@dataclass(frozen=True, slots=True)
class Spec:
    """Everything a run's result depends on."""

    configuration: dict[str, Any]
    """Plain JSON: the settings as they were validated, defaults included."""
    input_digest: str
    plan: ShardPlan
    models: dict[str, str] = field(default_factory=dict)
    """Role -> name, revision or digest of the model."""
    image_digest: str | None = None
    """Digest of the sandbox's image; None: no sandbox is used."""
    stages: tuple[str, ...] = ROAD
    """The run's stages in order, the input first; each is fed by the one before it."""
    schemas: dict[str, int] = field(
        default_factory=lambda: schema_versions(stage_rows(stage).record for stage in ROAD)
    )
    format: int = FORMAT

    def __post_init__(self) -> None:
        """Convert the configuration to the plain JSON in which it is stored."""
        try:
            plain = json.loads(canonical_json(self.configuration))
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"the configuration is not plain JSON: {error}") from None
        object.__setattr__(self, "configuration", plain)

    @property
    def fingerprint(self) -> str:
        """Digest of the whole spec."""
        return hashlib.sha256(self.to_json()).hexdigest()

    def to_json(self) -> bytes:
        """The bytes of spec.json. A version that can't read a grown plan refuses its field."""
        body = asdict(self)
        grown = body["plan"].pop(GROWN)
        return canonical_json(body | ({GROWN: grown} if grown else {}))

    @classmethod
    def from_json(cls, key: str, data: bytes) -> Spec:
        """Read what `to_json` wrote."""
        try:
            body = parsed(key, data)
            if GROWN in body and isinstance(body["plan"], dict):
                body["plan"][GROWN] = body.pop(GROWN)
            if body["format"] != FORMAT:
                raise ConfigurationError(
                    f"{key} has format {body['format']!r:.20}, this program knows {FORMAT}"
                )
            spec = read_as(cls, key, body)
        except KeyError as error:
            raise ObjectCorrupt(f"{key} is no spec: it has no {error}") from None
        refuse_newer(cls, key, body)
        if not 0 < len(spec.stages) <= MOST_STAGES or not all(map(NAME.fullmatch, spec.stages)):
            raise ObjectCorrupt(f"{key} is no spec: its stages are {spec.stages!r:.90}")
        if spec.plan.shards > MOST_SHARDS:
            raise ObjectCorrupt(f"{key} is no spec: it plans {spec.plan.shards:,} shards")
        if spec.plan.items > MOST_ITEMS:
            raise ObjectCorrupt(f"{key} is no spec: it plans {spec.plan.items:,} items")
        if len(spec.plan.grown_from) > MOST_GROWN:
            raise ObjectCorrupt(f"{key} is no spec: it grew {len(spec.plan.grown_from):,} times")
        for part in (
            spec.section(ENGINES),
            {s: spec.section("stages").get(s, {}) for s in spec.stages},
        ):
            for name, settings in part.items():
                if not isinstance(settings, dict):
                    raise ObjectCorrupt(f"{key} is no spec: {name:.60} is {settings!r:.60}")
        return spec

    def section(self, name: str) -> Mapping[str, Any]:
        """A part of the configuration, empty where it was not recorded. Raises ObjectCorrupt."""
        part = self.configuration.get(name, {})
        if not isinstance(part, dict):
            raise ObjectCorrupt(f"the spec's configuration is damaged: {name} is {part!r:.60}")
        return part


class Difference(NamedTuple):
    """One field in which two specs differ."""

    name: str
    stored: str
    asked: str

    def __str__(self) -> str:
        """`configuration.sample.cap: stored 2048, asked for 64`."""
        return f"{self.name}: stored {self.stored}, asked for {self.asked}"


class Frozen(Protocol):
    """A spec of a run or of a training: frozen as JSON at the start."""

    def to_json(self) -> bytes:
        """JSON with one spelling per value."""
        ...


def differences(stored: Frozen, asked: Frozen) -> list[Difference]:
    """Every field in which two specs differ, by its dotted name.

    A field of an engine that an older version did not record does not count. Nor does a version of
    rows with which a run may go on.
    """
    before, now = (json.loads(spec.to_json()) for spec in (stored, asked))
    written, kinds = (spec.get("schemas", {}) for spec in (before, now))
    for kind in written.keys() & kinds.keys():
        kinds[kind] = resumed_version(kind, written[kind], kinds[kind])
    recorded, engines = (spec.get("configuration", {}).get(ENGINES, {}) for spec in (before, now))
    for role in recorded.keys() & engines.keys():
        engines[role] = {k: v for k, v in engines[role].items() if k in recorded[role]}
    left, right = (dict(_leaves("", spec)) for spec in (before, now))
    absent = "nothing"
    return [
        Difference(name, left.get(name, absent), right.get(name, absent))
        for name in sorted(left.keys() | right.keys())
        if left.get(name, absent) != right.get(name, absent)
    ]


Compare = Callable[[Spec, Spec], list[Difference]]
"""Finds the differences of a stored spec from the one that is asked for."""


def check_same(run: str, stored: Spec, asked: Spec, compare: Compare = differences) -> None:
    """Raise SpecMismatch, listing the differences, unless the specs are equal."""
    refuse(
        compare(stored, asked),
        f"run {run!r} was started with other settings or input; take another run name",
    )


def refuse(differences: Sequence[Difference], what: str) -> None:
    """If there are differences, raise SpecMismatch with `what` and a list of them."""
    if differences:
        lines = "".join(f"\n  {difference}" for difference in differences)
        raise SpecMismatch(f"{what}, or change back:{lines}")


def input_digest(records: Iterable[Any]) -> str:
    """Digest of the input's records, computed in one pass and constant memory."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(canonical_json(_plain(record)) + b"\n")
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """The plain value that `asdict` would make, without its copies."""
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    names = getattr(value, "__dataclass_fields__", None)
    return value if names is None else {name: _plain(getattr(value, name)) for name in names}


def _leaves(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """(dotted name, JSON) of every leaf. A list is one leaf, and so is an empty mapping."""
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from _leaves(f"{name}.{key}" if name else key, part)
    else:
        yield name, json.dumps(value, ensure_ascii=False)
