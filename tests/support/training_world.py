"""What the tests of training start from: examples, a finished run of them, two tokenizers."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from actors.training.batches import Corpus
from actors.training.events import Place
from actors.training.job import Source, TrainingJob
from actors.training.tokens import make_here, tokens_of
from storage.objects.store import ObjectStore
from storage.rows.kinds import EXAMPLES, ROAD, stage_rows
from storage.rows.records import CodeRun, Example, Message, Problem
from storage.runs.run import Run
from storage.runs.specs import ShardPlan, Spec, input_digest
from storage.trainings.training import Training
from workflows.formats import prompts
from workflows.formats.conversation import analyze_part, output_part, verify_part
from workflows.training.settings import TrainConfig
from workflows.training.start import job_of

DEMO = Path(__file__).parents[2] / "demo" / "models" / "rationale"

QWEN25_TEMPLATE = (
    "{%- if messages[0]['role'] == 'system' %}"
    "{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}"
    "{%- else %}"
    "{{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
    "assistant.<|im_end|>\\n' }}"
    "{%- endif %}"
    "{%- for message in messages %}"
    '{%- if (message.role == "user") or (message.role == "system" and not loop.first) or '
    '(message.role == "assistant" and not message.tool_calls) %}'
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
"""Qwen2.5's own, without its branches for tools."""

R1_TEMPLATE = (
    "{{'<|endoftext|>'}}{%- for message in messages %}"
    "{%- if message['role'] == 'system' %}{{ message['content'] }}{%- endif %}"
    "{%- if message['role'] == 'user' %}{{'<|User|>' + message['content']}}{%- endif %}"
    "{%- if message['role'] == 'assistant' %}"
    "{% set content = message['content'] %}"
    "{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{'<|Assistant|>' + content + '<|im_end|>'}}{%- endif %}"
    "{%- endfor -%}"
    "{% if add_generation_prompt %}{{'<|Assistant|><think>\\n'}}{% endif %}"
)
"""The form of DeepSeek-R1-Distill-Qwen's: it asks with a thought opened, and shows none."""

_QWEN25_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@cache
def qwen25_tokenizer() -> Any:
    """Byte-level BPE with Qwen2.5's pre-tokenizer, special tokens and chat template."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN25_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|User|>", "<|Assistant|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [turn.content for one in examples(4) for turn in one.conversations]
    tokenizer.train_from_iterator([*texts, "Yes No {Yes} {No} }$\n"] * 20, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    fast.chat_template = QWEN25_TEMPLATE
    return fast


@cache
def demo_tokenizer() -> Any:
    """The demo models' tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(DEMO)


def example(number: int, steps: int, wrong_from: int | None = None, run: str = "taught") -> Example:
    """A conversation in the exported format; some steps run code twice, some print nothing."""
    turns = [Message("system", prompts.CRITIC_SYSTEM)]
    labels, runs = [], []
    for step in range(steps):
        right = wrong_from is None or step < wrong_from
        value = number + step
        printed = [f"{value} {right}\n"] if step % 3 else [f"{value}\n", ""]
        text = "Recompute it in Python:\n"
        for output in printed:
            code = f"a = {value}\nprint(a)"
            text += f"```python\n{code}\n```\n{prompts.code_output(output)}"
            runs.append(CodeRun(step, code, output, "ok", 0.01, 0.0))
        if step % 2:
            text += "The code agrees." if right else "The code does not agree."
        said = f"It should take {value}, and it does."
        answer = analyze_part(step + 1, said) + verify_part(text) + output_part(right)
        asked = f"Total: {value} + 1 = {value + 1}."
        if step == 0:
            asked = f"Question: What is {number} plus {steps}?\n\n{asked}"
        turns += [Message("user", asked), Message("assistant", answer)]
        labels.append(right)
    first = wrong_from if wrong_from is not None and wrong_from < steps else None
    return Example(
        turns, f"p{number // 2}", f"p{number // 2}#{number}", labels, first, [1.0] * (steps + 1),
        runs, "P", "C", "R", run,
    )  # fmt: skip


def examples(count: int) -> list[Example]:
    """Conversations of one to four steps, right and wrong ones, two to a problem."""
    return [
        example(number, 1 + number % 4, None if number % 3 else number % 4 + number % 2)
        for number in range(count)
    ]


def exported(
    store: ObjectStore, name: str, made: Sequence[Example], given: Sequence[Problem]
) -> Run:
    """A finished run of these problems that exported these examples, four to a shard."""
    spec = Spec({}, input_digest(given), ShardPlan(len(given), 4))
    run = Run.start(store, name, spec)
    run.store_input(given)
    for shard in range(spec.plan.shards):
        for stage in ROAD[1:-1]:
            run.publish(stage_rows(stage), shard, [])
        run.publish(EXAMPLES, shard, made[4 * shard : 4 * shard + 4])
    run.finish()
    return run


def taught_run(store: ObjectStore, count: int = 24, name: str = "taught") -> Run:
    """A finished run that exported `examples`."""
    given = [Problem(f"q{number}", "What?", "1") for number in range(max(1, count))]
    return exported(store, name, examples(count), given)


def loaded(source: Source, most_tokens: int = 2048, folder: Path | None = None) -> Corpus:
    """What a worker alone would train on, with the demo's tokenizer."""
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="stepmill-test-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return make_here(source.tokens(demo_tokenizer(), most_tokens)).corpus(folder, Place())


def prepared(config: TrainConfig, training: Training) -> TrainingJob:
    """What a worker is given, once the tokens are made."""
    job = job_of(config, training)
    make_here(tokens_of(job.base, job.source))
    return job


def tiny_base(folder: Path) -> None:
    """A Qwen2 of two layers with random weights and the demo's tokenizer."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(1)
    config = Qwen2Config(
        vocab_size=1024, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=1024,
        tie_word_embeddings=True, bos_token_id=None, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(DEMO / name, folder / name)


def notes_of(training: Training) -> dict[str, Any]:
    model = training.model()
    assert model is not None
    return model.notes


def losses(notes: Mapping[str, Any], name: str = "loss") -> list[float]:
    return [entry[name] for entry in notes["curve"] if name in entry]
