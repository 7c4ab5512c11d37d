"""Scoring: responses in, a verifier's rewards out, as a run with a short road of its own.

    responses ─► score        (verifier model, and the sandbox in the modes that run code)

Invariant: a score run is a run like any other: its spec holds all that the rewards depend on, its
shards are committed once, and whatever is not committed is made by whoever continues it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from actors.engines.contract import EngineSettings
from actors.engines.healing import Spell
from actors.engines.rendering import ChatRenderer
from actors.stopping import anywhere, awaitable
from storage.errors import InputError
from storage.objects.opening import open_store
from storage.objects.store import ObjectStore
from storage.rows.kinds import RESPONSES, SCORING, VERIFICATIONS
from storage.rows.records import Response, Score, Verification
from storage.runs.run import Run
from workflows.formats.verification import check_verdicts
from workflows.inputs.responses import read_responses
from workflows.runs.checks import check_image, require
from workflows.runs.listening import SILENT, Listener
from workflows.runs.settling import recalled
from workflows.runs.site import Site
from workflows.runs.starting import begin_with_rows
from workflows.scoring.settings import ScoreConfig, binding
from workflows.stages.maker import makers
from workflows.votes.rewards import averaged, first_error_index


def speller(settings: EngineSettings) -> Spell | None:
    """The tokenizer of a verifier, checked for verdicts; None for an engine that has none.

    Raises InputError where it can't be loaded, or Yes or No is no single token in a verdict.
    """
    if settings.kind == "scripted":
        return None
    if settings.kind == "chat" and settings.tokenizer is None:
        raise InputError(
            "a verifier behind `kind: chat` needs `models.verifier.tokenizer`, to see that Yes and "
            "No are single tokens: name the model's"
        )
    renderer = ChatRenderer.load(settings)
    renderer.close()  # only its tokenizer is wanted
    check_verdicts(renderer.spell, settings.tokenizer or settings.model)
    return renderer.spell


def start_scoring(
    config: ScoreConfig,
    responses: Sequence[Response],
    store: ObjectStore,
    image_digest: str | None,
) -> Run:
    """Create the run of `config`, or open it where it exists with the same spec.

    Raises SpecMismatch with the fields that differ.
    """
    return begin_with_rows(config, binding(config), SCORING, responses, store, image_digest)


@anywhere
def score(
    config: ScoreConfig,
    responses: Sequence[Response] | None = None,
    *,
    address: str | None = None,
    listener: Listener = SILENT,
) -> Run:
    """Score responses (those of the configuration's file by default) to the end.

    Starts the run, continues it, or finds it finished: `scores_of(run)` then gives a `Score` per
    response, its histories among them. Raises UserError before any work, SpecMismatch where the
    run was started with other settings, InfrastructureError.
    """
    with Site(config.cluster, address, listener) as site:
        return score_run(config, responses, site)


score_async = awaitable(score)


def score_run(config: ScoreConfig, responses: Sequence[Response] | None, site: Site) -> Run:
    """The same where the work is to be done."""
    rows = responses
    if rows is None:
        rows = read_responses(Path(config.responses), config.limit, config.unheaded)
    store = open_store(config.store)
    begun = Run.find(store, config.run)
    config = recalled(config, begun)
    image = require(config, site)
    speller(config.models.verifier)
    config = site.settled(config, begun)
    run = start_scoring(config, rows, store, image)
    if responses is None:
        site.listener.say(found(config.responses, rows))
    return _finished(run, config, site)


def continue_scoring(
    run: Run, config: ScoreConfig, address: str | None = None, listener: Listener = SILENT
) -> Run:
    """Continue a run from what its store holds, to the end. Raises as `score`."""
    config = recalled(config, run)
    with Site(config.cluster, address, listener) as site:
        check_image(run, require(config, site))
        run.check_input()
        return _finished(run, site.settled(config, run), site)


def _finished(run: Run, config: ScoreConfig, site: Site) -> Run:
    site.complete(run, config, makers)
    run.finish()
    return run


def found(file: str, responses: Sequence[Response]) -> str:
    """What was read, in words."""
    single = sum(len(response.steps) == 1 for response in responses)
    return (
        f"{file}: {len(responses):,} responses with "
        f"{sum(len(response.steps) for response in responses):,} steps"
        + (f"; {single:,} have a single step" if single else "")
    )


def scored_shards(run: Run) -> Iterator[tuple[list[Response], list[Verification]]]:
    """The responses and histories of each committed shard, in order, one shard in memory."""
    for commit in run.commits(VERIFICATIONS.stage):
        yield (
            run.read_rows(RESPONSES, commit.shard),
            run.rows_of(commit, VERIFICATIONS),
        )


def scores_of(run: Run) -> Iterator[Score]:
    """Maj@N of every response that has a history; dropped ones are left out."""
    for responses, verifications in scored_shards(run):
        known = {response.response_id: response for response in responses}
        for name, rows in groupby(verifications, key=lambda row: row.response_id):
            yield score_of(known[name], list(rows))


def score_of(response: Response, histories: list[Verification]) -> Score:
    """The mean over the histories of one response, and its first error (equations 5 and 6)."""
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
