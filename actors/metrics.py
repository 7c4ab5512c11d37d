"""Metrics for Ray's dashboard and Prometheus; outside of a Ray cluster nothing is recorded.

Invariant: metrics are for people only; no code reads them. A metric that can't be recorded is
skipped silently. docs/cluster.md lists the names.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

COUNTERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "stepmill_rows": ("Rows committed", ("run", "stage")),
    "stepmill_tokens": ("Tokens generated for committed shards", ("run", "stage")),
    "stepmill_shards": ("Shards committed", ("run", "stage")),
    "stepmill_drops": ("Items dropped", ("run", "stage", "reason")),
    "stepmill_model_switches": ("Workers closed to make room for another role", ("run",)),
    "stepmill_workers_replaced": ("Workers closed because they hung", ("run",)),
    "stepmill_worker_losses": ("Workers that died or whose engine did", ("run", "role")),
    "stepmill_train_tokens": ("Tokens trained on", ("training",)),
}
GAUGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "stepmill_shards_waiting": ("Shards that wait before a stage", ("run", "stage")),
    "stepmill_shards_running": ("Shards under way in a stage", ("run", "stage")),
    "stepmill_workers": ("Workers that are up", ("run", "role")),
    "stepmill_slots": ("Engine slots of the cluster", ("run", "pool")),
    "stepmill_train_step": ("Updates made", ("training",)),
    "stepmill_train_loss": ("Loss of the last update", ("training",)),
    "stepmill_train_held_out_loss": ("Loss on held-out conversations", ("training",)),
    "stepmill_train_step_accuracy": ("Held-out verdicts that are right", ("training",)),
}

_made: dict[str, Any] = {}


def count(name: str, tags: Mapping[str, str], value: float = 1.0) -> None:
    """Add `value` to a counter."""
    metric = _metric(name)
    if metric is not None and value > 0:
        metric.inc(value, tags=dict(tags))


def show(name: str, tags: Mapping[str, str], value: float) -> None:
    """Set a gauge to `value`."""
    metric = _metric(name)
    if metric is not None:
        metric.set(value, tags=dict(tags))


def _metric(name: str) -> Any:
    """The metric of this name; None if this process is not in a Ray cluster."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return None
    if name not in _made:
        from ray.util import metrics

        kind = metrics.Counter if name in COUNTERS else metrics.Gauge
        description, tags = COUNTERS.get(name) or GAUGES[name]
        _made[name] = kind(name, description=description, tag_keys=tags)
    return _made[name]
