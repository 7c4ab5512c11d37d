r"""Stepmill from Python: build, look at, score and train, in a script or in a notebook.

A configuration describes a build. `build` starts it, continues it, or finds it finished:

    import stepmill

    config = stepmill.load("build.yaml", store="file:runs")
    run = stepmill.build(config)

Read its rows as tables, also while it works:

    opened = stepmill.open_run("r", "file:runs")
    opened.status().finished
    opened.scan("label").filter(polars.col("first_error") == 0).collect()
    print(opened.why("p1#3"))

Each long call has an awaitable form (`build_async`). The plain form also works in a notebook and in
any thread. Nothing is printed; pass a `Listener` to follow the work.

These functions need no run:

>>> split_steps("Step 1: 2 + 2 = 4.\n\nStep 2: The answer is \\boxed{4}.")
('2 + 2 = 4.', 'The answer is \\boxed{4}.')
>>> grade("1/2", ["0.5", "2"])
[True, False]
>>> label([(6, 8), (6, 8), (3, 8)], correct=False).labels
[True, False, False]
>>> bool(agree([True, False, False], 1))
True
"""

from launch.config import load, load_training
from stepmill import rewards as rewards
from storage import errors as errors
from storage.datasets.download import Download
from storage.errors import (
    ConfigurationError,
    InfrastructureError,
    InputError,
    ItemError,
    NothingFound,
    Removed,
    SpecMismatch,
    StepmillError,
    UserError,
)
from storage.rows import records as records
from storage.runs.listing import Listed
from storage.runs.plans import Plan
from storage.runs.run import Run
from workflows.answers.grading import grade
from workflows.builds.configuration import BuildConfig
from workflows.builds.plan import plan
from workflows.builds.preview import preview, preview_async
from workflows.builds.run import build, build_async, derive, derive_async
from workflows.evaluation.run import Evaluated, Evaluation, Verifier, evaluate, evaluate_async
from workflows.formats.rationale import paragraphs as read_rationale
from workflows.formats.steps import split as split_steps
from workflows.judging.agreement import agree
from workflows.labels.values import label
from workflows.looking.download import download, download_async
from workflows.looking.fates import Why
from workflows.looking.keeping import copy_run, list_runs, remove_run
from workflows.looking.run import OpenRun, open_run
from workflows.publishing.push import Pushed, push, push_async, push_model, push_model_async
from workflows.refinement.turns import Refinement, Turn, refine, refine_async
from workflows.runs.copying import Copied
from workflows.runs.listening import Listener, Watching
from workflows.runs.status import RunStatus, StageStatus
from workflows.scoring.asking import config_of as score_config
from workflows.scoring.run import score, score_async, scores_of
from workflows.scoring.settings import ScoreConfig
from workflows.solving.asking import config_of as solve_config
from workflows.solving.run import solve, solve_async, solved
from workflows.solving.settings import SolveConfig
from workflows.training.run import Trained, train, train_async
from workflows.training.settings import TrainConfig

__all__ = [
    "BuildConfig",
    "ConfigurationError",
    "Copied",
    "Download",
    "Evaluated",
    "Evaluation",
    "InfrastructureError",
    "InputError",
    "ItemError",
    "Listed",
    "Listener",
    "NothingFound",
    "OpenRun",
    "Plan",
    "Pushed",
    "Refinement",
    "Removed",
    "Run",
    "RunStatus",
    "ScoreConfig",
    "SolveConfig",
    "SpecMismatch",
    "StageStatus",
    "StepmillError",
    "TrainConfig",
    "Trained",
    "Turn",
    "UserError",
    "Verifier",
    "Watching",
    "Why",
    "agree",
    "build",
    "build_async",
    "copy_run",
    "derive",
    "derive_async",
    "download",
    "download_async",
    "errors",
    "evaluate",
    "evaluate_async",
    "grade",
    "label",
    "list_runs",
    "load",
    "load_training",
    "open_run",
    "plan",
    "preview",
    "preview_async",
    "push",
    "push_async",
    "push_model",
    "push_model_async",
    "read_rationale",
    "records",
    "refine",
    "refine_async",
    "remove_run",
    "rewards",
    "score",
    "score_async",
    "score_config",
    "scores_of",
    "solve",
    "solve_async",
    "solve_config",
    "solved",
    "split_steps",
    "train",
    "train_async",
]
