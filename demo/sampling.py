"""Solutions of a policy and critiques of a judge, with transformers, for training texts only.

Invariant: the same model, seed and batch size give the same texts; only training problems.
"""

import itertools
import random
from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from transformers import Qwen2ForCausalLM

from demo import corpus, world
from demo.corpus import Path, Verified
from demo.tokenizer import END, PAD
from demo.training import token_id
from workflows.formats import judge_prompts, prompts, steps


def policy_paths(
    model: Qwen2ForCausalLM, tokenizer: Tokenizer, seed: int, count: int = 6000, batch: int = 400
) -> list[Path]:
    """``count`` solutions of different draws of training problems at temperature 0.8."""
    rng = random.Random(f"stepmill demo paths/{seed}")
    torch.manual_seed(seed)
    problems = corpus.training_problems(rng)
    paths: list[Path] = []
    while len(paths) < count:
        drawn = list(itertools.islice(problems, batch))
        chats = [prompts.policy_chat(problem.text) for problem in drawn]
        written = sample(model, tokenizer, [corpus.render(chat) for chat in chats], 0.8, 110)
        for problem, chat, text in zip(drawn, chats, written, strict=True):
            paths.append(Path(problem.problem_id, steps.split(chat.prefill + text)))
    return paths[:count]


def judged_paths(
    model: Qwen2ForCausalLM,
    tokenizer: Tokenizer,
    paths: Sequence[Path],
    seed: int,
    batch: int = 200,
) -> list[Verified]:
    """A critique of each path at temperature 0.8, by a judge that sees no answer."""
    torch.manual_seed(seed)
    written: list[Verified] = []
    for start in range(0, len(paths), batch):
        some = paths[start : start + batch]
        chats = [
            judge_prompts.critique_chat(
                world.problem(path.problem_id).text, path.steps, judge_prompts.NOTHING
            )
            for path in some
        ]
        texts = sample(model, tokenizer, [corpus.render(chat) for chat in chats], 0.8, 400)
        written += [
            Verified(path.problem_id, path.steps, chat.prefill + text)
            for path, chat, text in zip(some, chats, texts, strict=True)
        ]
    return written


def sample(
    model: Qwen2ForCausalLM,
    tokenizer: Tokenizer,
    texts: list[str],
    temperature: float,
    most_tokens: int,
) -> list[str]:
    """Continue each text once, up to the end of the turn."""
    end, pad = token_id(tokenizer, END), token_id(tokenizer, PAD)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    encoded = [found.ids for found in tokenizer.encode_batch(texts)]
    width = max(len(ids) for ids in encoded)
    given = torch.tensor([[pad] * (width - len(ids)) + ids for ids in encoded])
    mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in encoded])
    written = model.generate(
        given.to(device),
        attention_mask=mask.to(device),
        do_sample=True,
        temperature=temperature,
        top_k=0,
        max_new_tokens=most_tokens,
        eos_token_id=end,
        pad_token_id=pad,
    )
    replies = [row[: row.index(end)] if end in row else row for row in written[:, width:].tolist()]
    return [tokenizer.decode(reply, skip_special_tokens=False) for reply in replies]
