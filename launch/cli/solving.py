"""The verb `solve`.

Invariant: as in `launch.cli.main`: a verb reads its arguments, calls one function and shows the
result.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from launch.cli.options import Address, Json, MostProblems, OtherStore, Set, Settings, Url
from launch.cli.verifier import asked


def solve(
    policy: Annotated[
        str,
        typer.Argument(
            metavar="POLICY",
            help="Writes the solutions: FOLDER, ORG/NAME[@REVISION], or its name at --url.",
        ),
    ],
    problems: Annotated[
        str, typer.Argument(metavar="FILE", help="Problems, with answers or without.")
    ],
    verifier: Annotated[
        str | None,
        typer.Option(
            "--verifier", help="Judges the steps: as MODEL of `score`; majority needs none."
        ),
    ] = None,
    method: Annotated[
        Literal["best_of_n", "majority", "beam", "dvts"] | None,
        typer.Option("--method", help="How solutions are searched; default beam."),
    ] = None,
    n: Annotated[
        int | None, typer.Option("--n", min=1, help="Solutions, or next steps of a round.")
    ] = None,
    width: Annotated[
        int | None, typer.Option("--width", min=1, help="Next steps of each beginning.")
    ] = None,
    choose: Annotated[
        Literal["best", "vote"] | None, typer.Option("--choose", help="Best solution, or vote.")
    ] = None,
    mode: Annotated[
        str | None, typer.Option("--mode", help="full, cot, code, code_not_run or direct.")
    ] = None,
    histories: Annotated[
        int | None, typer.Option("--histories", min=1, help="Of the verifier, per step (Maj@N).")
    ] = None,
    budget: Annotated[
        int | None, typer.Option("--budget", min=1, help="Generated tokens of one problem.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder; default .stepmill/solutions/.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the run.")] = None,
    store: OtherStore = None,
    config: Settings = None,
    limit: MostProblems = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of both models.")] = None,
    url: Url = None,
    verifier_url: Annotated[
        str | None, typer.Option("--verifier-url", help="The same for the verifier.")
    ] = None,
    settings: Set = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Answers to problems, searched with a verifier; the same command goes on after a crash."""
    from launch.verbs.models.solve import solve_file
    from workflows.solving.asking import config_of

    named = {
        "solve.method": method,
        "solve.n": n,
        "solve.width": width,
        "solve.choose": choose,
        "solve.budget": budget,
        "solve.seed": seed,
        "verify.mode": mode,
        "verify.histories": histories,
        "models.policy.url": url,
        "run": name,
        "limit": limit,
    }
    requested = asked(store, seed, verifier_url, settings, **named)
    solve_file(config_of(policy, problems, verifier, config, requested), out, address, as_json)
