"""The first token that a model writes behind a forced "Step 1: ", with and without healing.

    python -m benchmarks.first_token                 # SmolLM2-135M-Instruct; a minute or two
    python -m benchmarks.first_token --model FOLDER

Problems of examples/math_problems.jsonl, asked as stage `sample` asks them, several samples each,
through the engine that a build opens; the same seeds both times. The share of each kind of first
token is printed, and the commonest tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from collections import Counter
from pathlib import Path

from actors.engines.contract import EngineSettings, Sampling
from actors.engines.opening import open_engine
from benchmarks.smollm2 import smollm2
from workflows.formats.solving import policy_chat
from workflows.inputs.problems import read_problems
from workflows.settings import SampleSettings

PROBLEMS = Path(__file__).parents[2] / "examples/math_problems.jsonl"
KINDS = {
    "a word with its blank": r" [^\W\d]\w*",
    "a word without one": r"[^\W\d]\w*",
    "a digit": r"\d+",
    "a line's end": r"\s*\n\s*",
    "a blank": r"\s+",
    "a sign with its blank": r" \S+",
}
"""Kind -> what such a token matches whole; the first that does. The rest are other signs."""


def kind_of(token: str) -> str:
    """One of `KINDS`, or `another sign`."""
    return next((kind for kind, form in KINDS.items() if re.fullmatch(form, token)), "another sign")


async def first_tokens(model: Path, problems: int, n: int, heal: bool) -> Counter[str]:
    """First token -> how often it was written."""
    settings = SampleSettings()
    engine = await open_engine(EngineSettings(model=str(model), dtype="float32"), heal)
    try:
        replies = await asyncio.gather(
            *(
                engine.generate(
                    policy_chat(settings.system, problem),
                    Sampling(n, settings.temperature, max_tokens=1, logprobs=1, seed=n * place),
                )
                for place, problem in enumerate(list(read_problems(PROBLEMS))[:problems])
            )
        )
    finally:
        await engine.close()
    return Counter(done.logprobs[0].token for reply in replies for done in reply.completions)


def main() -> None:
    """Print both histograms."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="folder; default: SmolLM2, made where missing")
    parser.add_argument("--problems", type=int, default=60)
    parser.add_argument("--n", type=int, default=8)
    arguments = parser.parse_args()
    model = arguments.model or smollm2()
    for heal in (False, True):
        tokens = asyncio.run(first_tokens(model, arguments.problems, arguments.n, heal))
        kinds: Counter[str] = Counter()
        for token, count in tokens.items():
            kinds[kind_of(token)] += count
        print(f"\n{'healed' if heal else 'forced to the letter'}: {tokens.total()} samples")
        for kind, count in kinds.most_common():
            print(f"  {count:5}  {count / tokens.total():6.1%}  {kind}")
        common = ", ".join(f"{token!r} {count}" for token, count in tokens.most_common(8))
        print(f"  commonest: {common}")


if __name__ == "__main__":
    main()
