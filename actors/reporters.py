"""Trackers of experiments that a run or a training reports its figures to: wandb, mlflow, trackio.

Each package is imported only where it is asked for. Where figures go follows the package's own
variables: WANDB_MODE, WANDB_PROJECT; MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME; TRACKIO_DIR,
TRACKIO_SPACE_ID, TRACKIO_PROJECT. Project and experiment are `stepmill` unless those say otherwise.

Invariant: a run that goes on goes on in the same record of the tracker, known by `key`.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Literal, Protocol

from storage.errors import ConfigurationError

Tracker = Literal["wandb", "mlflow", "trackio"]
PROJECT = "stepmill"
LONGEST = 500
"""Characters of a setting that are told."""


class Reporter(Protocol):
    """One open record of a tracker. Methods raise whatever the package raises."""

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Send figures."""
        ...

    def close(self) -> None:
        """Send what is left, and end the record."""
        ...


def check_installed(trackers: Sequence[Tracker]) -> None:
    """Raise ConfigurationError for a tracker whose package is not installed."""
    for tracker in trackers:
        if find_spec(tracker) is None:
            raise ConfigurationError(
                f"`report_to`: {tracker} is not installed: pip install 'stepmill[{tracker}]'"
            )


def open_reporter(tracker: Tracker, key: str, name: str, settings: Mapping[str, Any]) -> Reporter:
    """Open the record of `key`, made if it is not there. Raises whatever the package raises."""
    plain = {of: str(value)[:LONGEST] for of, value in flat(settings)}
    reporter: Reporter = _KINDS[tracker](key, name, plain)
    return reporter


def flat(settings: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    """Settings by their dotted names; those that are not set are left out."""
    pairs: list[tuple[str, Any]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            pairs += flat(value, f"{above}{name}.")
        elif value is not None:
            pairs.append((f"{above}{name}", value))
    return pairs


class _Wandb:
    def __init__(self, key: str, name: str, settings: Mapping[str, str]) -> None:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT), id=key, name=name, resume="allow",
            config=dict(settings), reinit="create_new",
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
        )  # fmt: skip

    def log(self, figures: Mapping[str, float], step: int) -> None:
        self._run.log(dict(figures), step=step)

    def close(self) -> None:
        self._run.finish()


class _Mlflow:
    TAG = "stepmill.key"

    def __init__(self, key: str, name: str, settings: Mapping[str, str]) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient()
        wanted = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self._client.get_experiment_by_name(wanted)
        at = experiment.experiment_id if experiment else self._client.create_experiment(wanted)
        there = self._client.search_runs([at], f"tags.`{self.TAG}` = '{key}'")
        if there:
            self._run = there[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
            return
        self._run = self._client.create_run(at, run_name=name, tags={self.TAG: key}).info.run_id
        params = [Param(of.replace("#", "_"), value) for of, value in settings.items() if value]
        for start in range(0, len(params), 100):  # a request takes no more
            self._client.log_batch(self._run, params=params[start : start + 100])

    def log(self, figures: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(of, float(value), now, step) for of, value in figures.items()]
        for start in range(0, len(metrics), 1000):
            self._client.log_batch(self._run, metrics=metrics[start : start + 1000])

    def close(self) -> None:
        self._client.set_terminated(self._run)


class _Trackio:
    def __init__(self, key: str, name: str, settings: Mapping[str, str]) -> None:
        import trackio

        with contextlib.redirect_stdout(io.StringIO()):  # it greets
            self._run = trackio.init(
                project=os.environ.get("TRACKIO_PROJECT", PROJECT), name=f"{name} ({key[-8:]})",
                config=dict(settings), resume="allow", embed=False, auto_log_gpu=False,
                auto_log_cpu=False,
            )  # fmt: skip

    def log(self, figures: Mapping[str, float], step: int) -> None:
        self._run.log(dict(figures), step=step)

    def close(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            self._run.finish()


_KINDS: Mapping[Tracker, type[Any]] = {"wandb": _Wandb, "mlflow": _Mlflow, "trackio": _Trackio}
