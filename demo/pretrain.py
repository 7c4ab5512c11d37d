"""Train the demo's six models from nothing: ``python -m demo.pretrain``.

Invariant: everything follows from the seed and the schedule; nothing is downloaded, and no text of
the held-out split is ever read. A trunk learns to solve; policy and completer grow out of it, the
policy towards slips, the completer towards carrying on and repairing. The rationale writer learns
from noisy writers first, then also from what the trained policy itself wrote; the exact checker
tells it the truth. The judge is that writer, taught further forms of judging; the verifier is the
judge, taught to score the reasons of such judgements; the refiner is the policy, taught to read a
critique.
"""

import argparse
import itertools
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import Qwen2ForCausalLM

from actors.training.keeper import stored_weights
from demo import corpus, sampling, tokenizer, training
from demo.corpus import Document
from demo.families.stories import PEOPLE, THINGS
from demo.training import Schedule, Shape

MODELS = Path(__file__).parent / "models"
SMALL = Shape(hidden=128, layers=4, heads=4, feed_forward=384)
LARGE = Shape(hidden=128, layers=5, heads=4, feed_forward=384)


@dataclass(frozen=True)
class Recipe:
    """One training: its minutes are those of the whole command."""

    shape: Shape
    schedule: Schedule
    parent: str | None = None


RECIPES = {
    "trunk": Recipe(SMALL, Schedule(steps=3000, minutes=35, rate=4e-3, batch_tokens=4000)),
    "policy": Recipe(
        SMALL, Schedule(steps=150, minutes=5, rate=1.5e-3, batch_tokens=4000), "trunk"
    ),
    "completer": Recipe(
        SMALL, Schedule(steps=1000, minutes=15, rate=2.5e-3, batch_tokens=4000), "trunk"
    ),
    "draft": Recipe(LARGE, Schedule(steps=1500, minutes=30, rate=3e-3, batch_tokens=5000)),
    "rationale": Recipe(
        LARGE, Schedule(steps=800, minutes=15, rate=2e-3, batch_tokens=5000), "draft"
    ),
    "judge": Recipe(
        LARGE, Schedule(steps=1200, minutes=20, rate=2.5e-3, batch_tokens=5000), "rationale"
    ),
    "verifier": Recipe(
        LARGE, Schedule(steps=800, minutes=20, rate=2e-3, batch_tokens=5000), "judge"
    ),
    "refiner": Recipe(
        SMALL, Schedule(steps=3000, minutes=90, rate=3e-3, batch_tokens=4000), "policy"
    ),
}
"""Draft and rationale are the same writer, before and after it sees what the policy wrote."""

ORDER = ("policy", "completer", "rationale", "judge", "verifier", "refiner")
FROM_THE_POLICY = {"rationale", "judge", "verifier", "refiner"}
"""Whose documents are partly about what the trained policy wrote."""
JUDGED = 3000
"""Of those, how many the judge writes a critique of for the verifier."""
EXTEND = {"judge": tokenizer.extend_for_judge, "verifier": tokenizer.extend_for_verifier}
"""What makes a model's fixed texts single tokens in its parent's tokenizer."""
MINUTES = sum(recipe.schedule.minutes for recipe in RECIPES.values())


def documents(name: str, seed: int, sampled: Sequence[corpus.Path] = ()) -> Iterator[Document]:
    """The training documents of a model, endless; `sampled`: of the verifier, judged paths."""
    rng = random.Random(f"stepmill demo corpus/{name}/{seed}")
    if name == "policy":
        return corpus.policy_documents(rng)
    if name == "judge":
        return corpus.judge_documents(rng, sampled)
    if name == "verifier":
        judged = [path for path in sampled if isinstance(path, corpus.Verified)]
        return corpus.verifier_documents(rng, judged)
    if name == "refiner":
        return corpus.refiner_documents(rng, sampled)
    if name in {"draft", "rationale"}:
        return corpus.rationale_documents(rng, sampled)
    return corpus.completer_documents(rng, wrong_share=0.6 if name == "completer" else 0.35)


def learn_tokenizer(seed: int) -> Tokenizer:
    """One tokenizer for all models, learnt from texts of every kind."""
    texts = [
        document.prompt + document.reply
        for name, count in (("policy", 1500), ("completer", 2500), ("rationale", 2000))
        for document in itertools.islice(documents(name, seed), count)
    ]
    return tokenizer.build(texts, (*PEOPLE, *THINGS))


def save(model: Qwen2ForCausalLM, vocabulary: Tokenizer, folder: Path) -> None:
    """A plain model folder: weights in bfloat16 on disk, meant to run in float32."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = stored_weights(model, model.state_dict(), torch.bfloat16)
    model.save_pretrained(folder, state_dict=weights)
    tokenizer.wrap(vocabulary).save_pretrained(folder)
    settings = folder / "config.json"
    written = json.loads(settings.read_text())
    written["dtype"] = "float32"
    settings.write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")


def load(folder: Path) -> tuple[Qwen2ForCausalLM, Tokenizer]:
    """A model saved by ``save``, in float32, and its tokenizer."""
    model = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model, Tokenizer.from_file(str(folder / "tokenizer.json"))


def pretrain(name: str, seed: int, scale: float, out: Path, work: Path) -> None:
    """Train one model, its parents first where they are not there yet."""
    recipe = RECIPES[name]
    sampled: Sequence[corpus.Path] = ()
    home = out if recipe.parent in ORDER else work
    if recipe.parent is not None and not (home / recipe.parent / "config.json").exists():
        pretrain(recipe.parent, seed, scale, home, work)
    if name in FROM_THE_POLICY:
        if not (out / "policy" / "config.json").exists():
            pretrain("policy", seed, scale, out, work)
        sampled = sampling.policy_paths(*load(out / "policy"), seed)
    if recipe.parent is None:
        vocabulary = learn_tokenizer(seed)
        model = training.new_model(recipe.shape, vocabulary, seed)
    else:
        model, vocabulary = load(home / recipe.parent)
        if name == "verifier":
            sampled = sampling.judged_paths(model, vocabulary, sampled[:JUDGED], seed)
        if extend := EXTEND.get(name):
            extend(vocabulary, model.config.vocab_size)
    schedule = replace(
        recipe.schedule,
        steps=max(1, round(recipe.schedule.steps * scale)),
        minutes=recipe.schedule.minutes * scale,
    )
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{name}: {count} parameters, at most {schedule.minutes:.1f} minutes", flush=True)
    training.train(
        model,
        documents(name, seed, sampled),
        vocabulary,
        schedule,
        seed,
        report=lambda line: print(f"{name}: {line}", flush=True),
        checkpoint=lambda: save(model, vocabulary, work / f"{name}-checkpoint"),
    )
    save(model, vocabulary, out / name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train all models, or those of ``--only``."""
    parser = argparse.ArgumentParser(prog="python -m demo.pretrain", description=__doc__)
    parser.add_argument("--only", choices=ORDER, nargs="+", default=list(ORDER))
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for all together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=MODELS)
    parser.add_argument("--work", type=Path, default=Path(".stepmill/pretrain"))
    chosen = parser.parse_args(arguments)
    for name in chosen.only:
        work = chosen.work / f"seed-{chosen.seed}-minutes-{chosen.minutes:g}"
        pretrain(name, chosen.seed, chosen.minutes / MINUTES, chosen.out, work)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
