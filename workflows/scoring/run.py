"""Scores responses with a verifier, as a run with a short road of its own.

    responses ─► score        (verifier model, and the sandbox in the modes that run code)

Invariant: a score run is a run like any other. Its spec holds all that the rewards depend on, each
shard is committed once, and a restarted run makes the uncommitted ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from actors.stopping import anywhere, awaitable
from storage.rows.kinds import RESPONSES, VERIFICATIONS
from storage.rows.records import Response, Score, Verification
from storage.runs.run import Run
from workflows.runs.listening import SILENT, Listener
from workflows.runs.run import run
from workflows.scoring.settings import ScoreConfig
from workflows.votes.rewards import averaged, first_error_index


@anywhere
def score(
    config: ScoreConfig,
    responses: Sequence[Response] | None = None,
    *,
    address: str | None = None,
    listener: Listener = SILENT,
) -> Run:
    """Score responses (by default those of the configuration's file) and return the finished run.

    Starts the run, continues it, or finds it finished. `scores_of(run)` gives a `Score` per
    response, with its histories. Raises UserError before any work, SpecMismatch if the run was
    started with other settings, InfrastructureError.
    """
    return run(config, responses, address=address, listener=listener)


score_async = awaitable(score)


def scored_shards(run: Run) -> Iterator[tuple[list[Response], list[Verification]]]:
    """The responses and histories of each committed shard, in order, with one in memory."""
    for commit in run.commits(VERIFICATIONS.stage):
        yield (
            run.read_rows(RESPONSES, commit.shard),
            run.rows_of(commit, VERIFICATIONS),
        )


def scores_of(run: Run) -> Iterator[Score]:
    """The scores (Maj@N) of all responses with a history; dropped responses are left out."""
    for responses, verifications in scored_shards(run):
        known = {response.response_id: response for response in responses}
        for name, rows in groupby(verifications, key=lambda row: row.response_id):
            yield score_of(known[name], list(rows))


def score_of(response: Response, histories: list[Verification]) -> Score:
    """The score of a response: mean rewards over its histories, first error (equations 5, 6)."""
    rewards = averaged([history.rewards for history in histories])
    return Score(
        response_id=response.response_id,
        problem_id=response.problem_id,
        subset=response.subset,
        rewards=rewards,
        first_error=first_error_index(rewards),
        label=response.label,
        correct=response.correct,
        histories=histories,
    )
