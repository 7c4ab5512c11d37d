"""The verbs of a verifier: `train`, `score`, `evaluate` and `refine`.

Invariant: as in `launch.cli.main`: a verb reads its arguments, calls one function and shows the
result.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from launch.cli.options import (
    Address,
    Config,
    Json,
    Limit,
    Mode,
    Model,
    OtherStore,
    Responses,
    Seed,
    Set,
    Settings,
    Url,
)


def train(
    config: Config,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the model; default .stepmill/models/.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--kind", help="generative, direct, discriminative, value, orm or implicit."),
    ] = None,
    view: Annotated[str | None, typer.Option("--view", help="genprm, cot, code or direct.")] = None,
    runs: Annotated[
        list[str] | None, typer.Option("--run", help="Run to train on; may be repeated.")
    ] = None,
    base: Annotated[
        str | None, typer.Option("--base", help="Base model: a folder or a hub's name.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the training.")] = None,
    store: OtherStore = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Train a verifier on finished runs, or continue; the same command after a crash goes on."""
    from launch.config import load_training
    from launch.verbs.models.train import train_model

    overrides = {
        "kind": kind,
        "view": view,
        "runs": runs or None,
        "base": str(Path(base).resolve()) if base and Path(base).is_dir() else base,
        "name": name,
        "store": store,
    }
    train_model(load_training(config, **overrides), out, address, as_json)


def score(
    model: Model,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="Responses: ProcessBench's format, or problem + steps or solution."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the scores; default .stepmill/scores/.")
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option("--mode", help="full, cot, code, code_not_run or direct; default by model."),
    ] = None,
    n: Annotated[int | None, typer.Option("--n", help="Histories per response (Maj@N).")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the run.")] = None,
    store: OtherStore = None,
    config: Settings = None,
    limit: Limit = None,
    seed: Seed = None,
    url: Url = None,
    settings: Set = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Step rewards for solutions; the same command after a crash finishes the rest."""
    from launch.verbs.models.score import score_file
    from workflows.scoring.asking import config_of

    named = {"verify.mode": mode, "verify.histories": n, "run": name, "limit": limit}
    requested = asked(store, seed, url, settings, **named)
    score_file(config_of(model, file, config, requested), out, address, as_json)


def evaluate(
    model: Model,
    file: Responses,
    suite: Annotated[
        Literal["processbench", "bon"], typer.Option("--suite", help="What is measured.")
    ] = "processbench",
    n: Annotated[
        int,
        typer.Option("--n", min=1, help="Histories per response; under bon, solutions to choose."),
    ] = 8,
    histories: Annotated[
        int, typer.Option("--histories", min=1, help="Under bon: histories per solution.")
    ] = 1,
    mode: Mode = "full",
    baseline: Annotated[
        list[str] | None,
        typer.Option("--baseline", help="NAME=MODEL[:MODE], beside it; may be repeated."),
    ] = None,
    threshold: Annotated[
        float, typer.Option("--threshold", min=0, max=1, help="Below it a step is wrong.")
    ] = 0.5,
    threshold_from: Annotated[
        str | None, typer.Option("--threshold-from", help="Choose it on this subset instead.")
    ] = None,
    probe: Annotated[
        list[str] | None,
        typer.Option("--probe", help="reversed, restyled or corrupted; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder; default .stepmill/evaluations/.")
    ] = None,
    store: OtherStore = None,
    config: Settings = None,
    settings: Set = None,
    limit: Limit = None,
    seed: Seed = None,
    url: Url = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Measures a verifier on a benchmark, beside baselines; repeating it calls no model."""
    from launch.verbs.models.evaluate import evaluate_file
    from workflows.evaluation import run as evaluating

    main = evaluating.Verifier(evaluating.MAIN, model, evaluating.checked_mode(mode))
    others = [evaluating.baseline(text) for text in baseline or ()]
    evaluate_file(
        evaluating.Evaluation(
            file=file,
            suite=suite,
            verifiers=(main, *others),
            n=n,
            histories=histories,
            threshold=threshold,
            threshold_from=threshold_from,
            probes=evaluating.checked_probes(probe or ()),
            settings=config,
            asked=asked(store, seed, url, settings),
            limit=limit,
        ),
        out,
        address,
        as_json,
    )


def refine(
    model: Model,
    file: Responses,
    generator: Annotated[
        str, typer.Option("--generator", help="Folder or name of the model that is asked again.")
    ],
    turns: Annotated[int, typer.Option("--turns", min=1, help="Most refinements.")] = 2,
    problems: Annotated[
        Path | None, typer.Option("--problems", help="Known answers, for the accuracy per turn.")
    ] = None,
    form: Annotated[
        Literal["conversation", "prefix"],
        typer.Option("--form", help="The paper's conversation, or go on before the wrong step."),
    ] = "conversation",
    quote: Annotated[
        bool, typer.Option("--quote", help="Under prefix: show the critique with the problem.")
    ] = False,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", help="Most tokens of a new solution.")
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Histories per judgement (Maj@N).")] = 1,
    mode: Mode = "full",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder; default .stepmill/refinements/.")
    ] = None,
    store: OtherStore = None,
    config: Settings = None,
    settings: Set = None,
    limit: Limit = None,
    seed: Seed = None,
    url: Url = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Critique and refinement of solutions, turn by turn, until nothing is judged wrong."""
    from launch.verbs.models.refine import refine_file
    from workflows.evaluation.run import checked_mode
    from workflows.formats.refinement import RefineSettings
    from workflows.refinement.turns import Refinement

    written = RefineSettings(
        form=form, quote=quote, **_given({"max_tokens": max_tokens, "seed": seed})
    )
    named = {"verify.mode": checked_mode(mode), "verify.histories": n}
    refine_file(
        Refinement(
            model=model,
            generator=generator,
            file=file,
            problems=problems,
            turns=turns,
            settings=written,
            score_settings=config,
            score_asked=asked(store, seed, url, settings, **named),
            limit=limit,
        ),
        out,
        address,
        as_json,
    )


def asked(
    store: str | None, seed: int | None, url: str | None, settings: list[str] | None, **named: Any
) -> dict[str, Any]:
    """Dotted name -> value of the options that were given; `named` wins over `settings`."""
    from workflows.scoring.asking import settings_of

    named |= {"store": store, "verify.seed": seed, "models.verifier.url": url}
    return {**settings_of(settings or ()), **_given(named)}


def _given(named: Mapping[str, Any]) -> dict[str, Any]:
    """Drop the options that were left out (None)."""
    return {name: value for name, value in named.items() if value is not None}
