"""Tokenizers in the manner of Qwen2.5, Llama-3 and DeepSeek-R1, built here: no file is theirs.

They cut texts as those do (the same patterns before the merges), have the same control tokens and
templates of the same form; their merges are learnt from a few sentences.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.support.training_world import QWEN25_TEMPLATE

_CORPUS = (
    "Step 1: Let x be 12. So it is -1.\n\nStep 2: It is \\boxed{-1}. Then $x$ is 127.\n\n"
    "ANSWER: \\boxed{2}\n<think>\nWait, \\(x\\) is {-1}.</think>\nsystem\nuser\nassistant\n"
    "Question: What is 12? Yes No 'Tis **Judgement**: $\\boxed{Yes}$ $\\boxed{No}$\n</output>\n"
    "Let's analyze the Paragraph 1 step by step: It is right.\n"
)
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3 = (
    "{{ '<|begin_of_text|>' }}{% for m in messages %}{{ '<|start_header_id|>' + m.role"
    " + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
_R1 = (
    "{{ '<｜begin▁of▁sentence｜>' }}{% for m in messages %}"
    "{% if m.role == 'system' %}{{ m.content }}{% elif m.role == 'user' %}"
    "{{ '<｜User｜>' + m.content }}{% else %}{{ '<｜Assistant｜>' + m.content.split('</think>')[-1]"
    " + '<｜end▁of▁sentence｜>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\n' }}{% endif %}"
)


def _built(numbers: str, specials: list[str], more: list[str], template: str) -> Any:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS % numbers), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([_CORPUS] * 9, trainer)
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in more])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=specials[-1], clean_up_tokenization_spaces=False
    )
    wrapped.chat_template = template
    return wrapped


@cache
def qwen() -> Any:
    """As Qwen2.5 and Qwen3: ChatML, digits one by one, `<think>` an added token."""
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return _built(r"\p{N}", specials, ["<think>", "</think>", "<tool_call>"], QWEN25_TEMPLATE)


@cache
def llama() -> Any:
    """As Llama-3: headers, digits in threes."""
    specials = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    return _built(r"\p{N}{1,3}", specials, [], _LLAMA3)


@cache
def deepseek() -> Any:
    """As DeepSeek-R1: wide bars, a thought that is opened, and forgotten in the history."""
    specials = ["<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"]
    return _built(r"\p{N}{1,3}", specials, ["<think>", "</think>"], _R1)


BUILT: dict[str, Callable[[], Any]] = {
    "in the manner of Qwen2.5, built": qwen,
    "in the manner of Llama-3, built": llama,
    "in the manner of DeepSeek-R1, built": deepseek,
}
