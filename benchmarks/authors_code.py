"""A verifier under the GenPRM authors' own evaluation, from a checkout that you made, beside ours.

    git clone https://github.com/RyanLiu112/GenPRM FOLDER     # its `src/requirements.txt` is not
    pip install colorama                                      # needed: beside ours, this is
    python -m benchmarks.authors_code MODEL RESPONSES --checkout FOLDER

Their `prm_evaluate.py` runs unchanged in its own process, over responses in ProcessBench's format.
Then `stepmill score` judges the same ones. The output says on how many their loop ends, whether the
conversations that it wrote have exactly our format, and both F1.

    OUT/samples/, OUT/theirs/    what their script reads and writes, one folder a response
    OUT/theirs.log               what it printed: every request
    OUT/ours/                    `stepmill score`'s folder
    OUT/authors_code.json        the figures

Their script gets a problem as `Question: ...` and a newline, and makes of it the first turn that
both datasets have. With `--bare` it gets the problem as in their own evaluation.

**Their code runs the model's Python in its own process, without a sandbox.**
What it does not show: their models, their vLLM (0.7.1) and anything but their branch `main`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.engines.vllm_core import LOGGING
from storage.errors import InputError, ItemError, StepmillError
from storage.rows.records import Example, Message, Response
from workflows.evaluation import processbench
from workflows.evaluation.processbench import Judgement
from workflows.formats import prompts
from workflows.formats.conversation import QUESTION, check_example, output_part
from workflows.inputs.responses import read_responses
from workflows.labels.rule import first_error

SCRIPT = Path("src", "prm_evaluation", "prm_evaluate.py")
PARTS = {"full": ("analyze", "verify", "execute"), "cot": ("analyze",),
         "code": ("verify", "execute"), "direct": ()}  # fmt: skip
"""Our modes as their switches."""
ENVIRONMENT = {
    # Their script has no main guard, so that vLLM must not start a process that imports it again.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # On a processor: no thread bound, one GiB of cache instead of nearly all memory.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",
}
_REQUEST = re.compile(r"^Start: paragraph \d+ request (\d+)$", re.MULTILINE)
_POLL_S = 0.5


@dataclass(frozen=True)
class Theirs:
    """What their script wrote of one response."""

    rewards: list[float]
    turns: list[Message]
    seconds: float


def write_samples(responses: Sequence[Response], folder: Path, bare: bool) -> None:
    """A folder per response, named by its place, as their script reads them."""
    for place, response in enumerate(responses):
        problem = response.problem if bare else f"{QUESTION}{response.problem}\n"
        sample = {"problem": problem, "steps": response.steps}
        (folder / f"{place:05d}").mkdir(parents=True)
        (folder / f"{place:05d}" / "sample.json").write_text(json.dumps(sample))


def run_theirs(
    checkout: Path, model: Path, out: Path, mode: str, patience: float, expected: int
) -> bool:
    """Run their script; False where it wrote nothing for `patience` seconds and was ended."""
    (out / "theirs").mkdir()
    switches = [f"--{part}" for part in PARTS[mode]]
    command = [
        sys.executable, str(checkout / SCRIPT), "--reward_name_or_path", str(model),
        "--data_path", str(out / "samples"), "--split_out", str(out / "theirs"), *switches,
    ]  # fmt: skip
    environment = {**LOGGING, **ENVIRONMENT, **os.environ}
    with open(out / "theirs.log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        seen, since = 0, time.monotonic()
        try:
            while process.poll() is None:
                time.sleep(_POLL_S)
                written = len(list((out / "theirs").glob("*/result_1.json")))
                if written > seen:
                    seen, since = written, time.monotonic()
                    print(f"\r{written}/{expected} by their code", end="", file=sys.stderr)
                if time.monotonic() - since > patience:
                    return False
        finally:
            process.kill()
            process.wait()
            print(file=sys.stderr)
    if process.returncode:
        tail = (out / "theirs.log").read_text(errors="replace").strip().splitlines()[-1:]
        raise InputError(f"their script failed: {' '.join(tail)} ({out / 'theirs.log'} says more)")
    return True


def read_theirs(out: Path) -> dict[int, Theirs]:
    """What it wrote, by the response's place."""
    written = {}
    for file in (out / "theirs").glob("*/result_1.json"):
        row = json.loads(file.read_text())
        turns = [Message(turn["role"], turn["content"]) for turn in row["conversation"]]
        place = int(file.parent.name.split("_")[0])
        written[place] = Theirs(row["value"], turns, row["time"])
    return written


def forms(found: Mapping[int, Theirs], mode: str) -> Counter[str]:
    """Turns by form: `ended` as ours are, `analysis alone` where their loop gave the code up,
    `to the letter` a whole conversation that could stand in our dataset.
    """
    counts: Counter[str] = Counter()
    for response in found.values():
        answers = [turn.content for turn in response.turns if turn.role == "assistant"]
        labels = [text.endswith(output_part(True)) for text in answers]
        counts["turns"] += len(answers)
        counts["ended"] += sum(
            text.endswith((output_part(True), output_part(False))) for text in answers
        )
        if mode == "full":
            counts["analysis alone"] += sum(prompts.VERIFY_OPEN not in text for text in answers)
            states = [1.0] * (len(labels) + 1)
            example = Example(
                response.turns, "", "", labels, first_error(labels), states, [], *[""] * 4
            )
            try:
                check_example(example)
                counts["to the letter"] += 1
            except ItemError:
                pass
    return counts


def run_ours(
    model: Path, file: Path, out: Path, mode: str, limit: int | None
) -> dict[str, list[float]]:
    """`stepmill score` on the same responses: rewards by their names."""
    command = [
        sys.executable, "-m", "launch", "score", str(model), str(file), "--n", "1", "--mode", mode,
        "--out", str(out / "ours"), "--store", f"file:{out / 'store'}",
    ]  # fmt: skip
    subprocess.run(command + (["--limit", str(limit)] if limit else []), check=True)
    with open(out / "ours" / "scores.jsonl") as rows:
        return {row["response_id"]: row["rewards"] for row in map(json.loads, rows)}


def measured(
    responses: Sequence[Response],
    theirs: Mapping[str, list[float]],
    ours: Mapping[str, list[float]],
) -> dict[str, Any]:
    """F1 of both on the responses that both have, and on how many steps they agree."""
    both = [row for row in responses if row.response_id in theirs and row.response_id in ours]
    f1: dict[str, float | None] = {}
    for name, rewards in (("theirs", theirs), ("ours", ours)):
        judged = [
            Judgement("", row.label, processbench.predict([rewards[row.response_id]]))
            for row in both
            if row.label is not None
        ]
        try:
            f1[name] = processbench.score(judged).f1
        except InputError:  # none of one class
            f1[name] = None
    pairs = [
        (a >= 0.5, b >= 0.5)
        for row in both
        for a, b in zip(theirs[row.response_id], ours[row.response_id], strict=True)
    ]
    return {
        "responses": len(both),
        "f1": f1,
        "steps": len(pairs),
        "steps_alike": sum(a == b for a, b in pairs),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both and print the figures; 1 where their loop did not end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.authors_code", description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("model", type=Path, help="folder of the verifier")
    parser.add_argument("responses", type=Path, help="file or folder in ProcessBench's format")
    parser.add_argument("--checkout", type=Path, required=True, help="clone of their repository")
    parser.add_argument("--out", type=Path, default=Path(".stepmill/authors-code"))
    parser.add_argument("--mode", choices=PARTS, default="full")
    parser.add_argument("--bare", action="store_true", help="problems without `Question: `")
    parser.add_argument("--limit", type=int, help="responses")
    parser.add_argument("--patience", type=float, default=300.0,
                        help="seconds without a result: their loop has no end")  # fmt: skip
    chosen = parser.parse_args(arguments)
    out = chosen.out.resolve()
    try:
        if not (chosen.checkout / SCRIPT).is_file():
            raise InputError(f"{chosen.checkout / SCRIPT} is not there: clone their repository")
        if out.exists():
            raise InputError(f"{out} is there already: name another folder with --out")
        responses = read_responses(chosen.responses, chosen.limit)
        write_samples(responses, out / "samples", chosen.bare)
        checkout, model = chosen.checkout.resolve(), chosen.model.resolve()
        ended = run_theirs(checkout, model, out, chosen.mode, chosen.patience, len(responses))
        theirs = read_theirs(out)
        rewards = {responses[place].response_id: row.rewards for place, row in theirs.items()}
        ours = run_ours(model, chosen.responses, out, chosen.mode, chosen.limit)
        figures = {
            "mode": chosen.mode,
            "ended": ended,
            "responses": len(responses),
            "judged_by_theirs": len(theirs),
            "seconds_of_theirs": sum(row.seconds for row in theirs.values()),
            "requests": len(_REQUEST.findall((out / "theirs.log").read_text())),
            "forms": forms(theirs, chosen.mode),
            "both": measured(responses, rewards, ours),
        }
    except (OSError, subprocess.CalledProcessError, StepmillError) as error:
        print(f"benchmarks.authors_code: {error}", file=sys.stderr)
        return 2
    (out / "authors_code.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))
    return 0 if ended else 1


if __name__ == "__main__":
    raise SystemExit(main())
