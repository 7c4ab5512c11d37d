"""What `/metrics` says, in the text form that Prometheus reads.

Invariant: metrics hold numbers, routes and words of closed lists: nothing of what was asked.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from workflows.serving.troubles import Trouble
from workflows.stages.scorers.contract import Scored

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)


class Metrics:
    """The figures of one server since it began."""

    def __init__(self, queue: int) -> None:
        self._all = CollectorRegistry()
        self.requests = Counter(
            "stepmill_serve_requests", "Requests answered", ["route", "status"], registry=self._all
        )
        self.seconds = Histogram(
            "stepmill_serve_request_seconds", "Time of a request", ["route"], buckets=SECONDS,
            registry=self._all,
        )  # fmt: skip
        self.inside = Gauge(
            "stepmill_serve_solutions", "Solutions waiting or at work", registry=self._all
        )
        Gauge("stepmill_serve_queue", "The most of them", registry=self._all).set(queue)
        self.replicas = Gauge("stepmill_serve_replicas", "Replicas open", registry=self._all)
        self.gone = Counter(
            "stepmill_serve_gone", "Requests whose client went away", registry=self._all
        )
        self._scored = Counter("stepmill_serve_scored", "Solutions scored", registry=self._all)
        self._failed = Counter(
            "stepmill_serve_failed", "Solutions without score", ["error"], registry=self._all
        )
        self._steps = Counter("stepmill_serve_steps", "Steps judged", registry=self._all)
        self._tokens = Counter("stepmill_serve_tokens", "Tokens generated", registry=self._all)
        self._runs = Counter(
            "stepmill_serve_code_runs", "Blocks of code run", ["verdict"], registry=self._all
        )
        self._lost = Counter(
            "stepmill_serve_histories_lost", "Histories without rewards", ["reason"],
            registry=self._all,
        )  # fmt: skip

    def scored(self, scored: Scored) -> None:
        """Count an answer."""
        self._scored.inc()
        for history in scored.histories:
            self._steps.inc(len(history.rewards))
            self._tokens.inc(history.tokens)
            for run in history.executions:
                self._runs.labels(run.verdict).inc()
        for error in scored.lost:
            self._lost.labels(error.reason).inc()

    def failed(self, trouble: Trouble) -> None:
        """Count a solution without score."""
        self._failed.labels(trouble.error).inc()

    def text(self) -> bytes:
        """All of them."""
        return generate_latest(self._all)
