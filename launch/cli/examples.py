"""Two examples of each verb, shown at the end of its `--help`.

Invariant: every verb has two, and they name options that the verb takes (a test checks both).
"""

from __future__ import annotations

import typer

EXAMPLES = {
    "audit": ("stepmill audit demo", "stepmill audit demo --replay 0.05 --json"),
    "browse": ("stepmill browse demo", "stepmill browse demo other --out site"),
    "build": (
        "stepmill build configs/demo.yaml",
        "stepmill build own.yaml --limit 100 --store s3://bucket/runs --address auto",
    ),
    "compare": ("stepmill compare demo other", "stepmill compare demo --truth marks --plot f1.png"),
    "copy": (
        "stepmill copy math --from file:.stepmill/store --to s3://mill/runs",
        "stepmill copy math --to file:/backup --as math-2026",
    ),
    "docs": ("stepmill docs", "stepmill docs problems"),
    "doctor": ("stepmill doctor", "stepmill doctor own.yaml --problems math.jsonl --address auto"),
    "download": (
        "stepmill download demo dataset",
        "stepmill download demo more dataset --view cot --format parquet,jsonl --reviewed",
    ),
    "evaluate": (
        "stepmill evaluate training:mine processbench/ --n 8",
        "stepmill evaluate ORG/NAME own.jsonl --suite bon --baseline old=training:old",
    ),
    "exec": ("stepmill exec script.py", "stepmill exec script.py --wall 5 --memory 512 --json"),
    "grade": ("stepmill grade < answers.jsonl", "stepmill grade --audit 20 < answers.jsonl"),
    "init": (
        "stepmill init",
        "stepmill init own.yaml --problems math.jsonl --url http://HOST:8000/v1 --yes",
    ),
    "noise": ("stepmill noise demo", "stepmill noise demo --json"),
    "plan": (
        "stepmill plan own.yaml --gpu H100",
        "stepmill plan own.yaml --from preview-own-1a2b3c4d --json",
    ),
    "preview": (
        "stepmill preview own.yaml",
        "stepmill preview own.yaml --problems 20 --problems math.jsonl",
    ),
    "problems": (
        "stepmill problems math.jsonl --against hf://datasets/HuggingFaceH4/MATH-500",
        "stepmill problems own.csv --column problem=question --out clean.jsonl",
    ),
    "prompts": ("stepmill prompts", "stepmill prompts --write prompts"),
    "push": (
        "stepmill push demo OWNER/steps --licence cc-by-4.0 --dry-run",
        "stepmill push training:mine OWNER/verifier --dataset OWNER/steps --public",
    ),
    "refine": (
        "stepmill refine training:mine responses.jsonl --generator ORG/NAME",
        "stepmill refine training:mine responses.jsonl --generator ORG/NAME "
        "--problems math.jsonl --turns 3",
    ),
    "remove": (
        "stepmill remove first-try",
        "stepmill remove training:first-try --store s3://mill/runs --yes",
    ),
    "resume": (
        "stepmill resume demo",
        "stepmill resume math --store s3://bucket/runs --config own.yaml --models models",
    ),
    "runs": (
        "stepmill runs --store s3://mill/runs",
        "stepmill runs --json | jq -r 'select(.state == \"finished\").name'",
    ),
    "sandbox": ("stepmill sandbox", "stepmill sandbox --json"),
    "score": (
        "stepmill score training:mine solutions.jsonl --out scores",
        "stepmill score NAME solutions.jsonl --url http://HOST:8000/v1 --n 8",
    ),
    "serve": (
        "stepmill serve training:mine",
        "stepmill serve ORG/NAME --host 0.0.0.0 --token-file token --replicas 4 --n 8",
    ),
    "show": (
        "stepmill show demo --reason index_mismatch",
        "stepmill show demo --stage sample --where level=5 --limit 3",
    ),
    "solve": (
        "stepmill solve ORG/NAME problems.jsonl --verifier training:mine",
        "stepmill solve NAME problems.jsonl --url http://HOST:8000/v1 --verifier training:mine "
        "--method best_of_n --n 32 --histories 4",
    ),
    "stages": ("stepmill stages", "stepmill stages --json"),
    "status": ("stepmill status demo", "stepmill status math --store s3://bucket/runs --watch"),
    "stop": ("stepmill stop math --store s3://mill/runs", "stepmill stop math --no-wait"),
    "submit": (
        "stepmill submit own.yaml --address http://HEAD:8265",
        "stepmill submit own.yaml --run again --from demo",
    ),
    "sweep": ("stepmill sweep demo", "stepmill sweep math --store s3://bucket/runs --json"),
    "texts": ("stepmill texts demo", "stepmill texts demo --reason no_code --limit 3"),
    "train": (
        "stepmill train configs/train_demo.yaml",
        "stepmill train own.yaml --run math --kind discriminative --out models/mine",
    ),
    "why": ("stepmill why demo p17#4", "stepmill why demo p17#4 --json"),
}
"""Verb -> two commands, the plainest first."""


def show_examples(app: typer.Typer) -> None:
    """Put each verb's examples at the end of its `--help`."""
    for command in app.registered_commands:
        verb = command.name or getattr(command.callback, "__name__", "")
        if verb in EXAMPLES:
            command.epilog = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in EXAMPLES[verb])
