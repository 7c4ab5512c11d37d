"""The tokenizer of the demo models: digits one by one, whole phrases where the world repeats them.

Invariant: any text round-trips exactly. The base is byte-level BPE; on top stand added tokens, cut
out of a text before anything else is looked at. Every place where a stage cuts or resumes a text
(step headers, fences, tags, the conclusion) ends with an added token, so a resumed text has the
same tokens as one that was never cut.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from workflows.formats import judge_prompts, prompts, steps

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"

CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
"""Qwen2's, without its default system sentence: every prompt here brings its own."""

_MOST_STEPS = 16

_OPERATORS = (" + ", " - ", " * ", " / ", " mod ", " and ", " or ", " xor ", " = ")
_PYTHON = (" == ", " // ", " % ", " & ", " | ", " ^ ", "print(", " True", " False")

_PIECES = Regex(r"\d|\n| ?[A-Za-z]+| ?[^\sA-Za-z\d]|\s")


def fixed_tokens() -> tuple[str, ...]:
    """Texts of the formats themselves, each one token."""
    numbered = range(1, _MOST_STEPS + 1)
    return (
        prompts.SOLVER_SYSTEM,
        prompts.CRITIC_SYSTEM,
        prompts.RATIONALE_SYSTEM,
        prompts.DIRECT_SYSTEM,
        prompts.RATIONALE_TASK,
        prompts.RATIONALE_SOLUTION,
        prompts.RATIONALE_RULES,
        prompts.CONCLUSION,
        prompts.THINK_OPEN,
        prompts.CODE_OPEN,
        prompts.CODE_CLOSE,
        prompts.CODE_OUTPUT_OPEN,
        prompts.VERIFY_LEAD_IN,
        "Question: ",
        "**Judgement**: $\\boxed{",
        "}$",
        prompts.ANALYZE_OPEN,
        prompts.ANALYZE_CLOSE,
        prompts.VERIFY_OPEN,
        prompts.VERIFY_CLOSE,
        prompts.OUTPUT_OPEN,
        prompts.OUTPUT_CLOSE,
        *(steps.header(number) for number in numbered),
        *(steps.SEPARATOR + steps.header(number) for number in numbered),
        *(f"<paragraph_{number}>\n" for number in numbered),
        *(f"\n</paragraph_{number}>\n\n" for number in numbered),
        *(prompts.paragraph_heading(number) for number in numbered),
        *(prompts.analyze_lead_in(number) for number in numbered),
        "\n\n",
        "\\boxed{",
        *_OPERATORS,
        *_PYTHON,
    )


def phrases(texts: Iterable[str], words: Sequence[str], most: int) -> tuple[str, ...]:
    """The commonest texts between two numbers (or names, or format texts), each worth a token."""
    known = sorted((START, END, *fixed_tokens(), *words), key=len, reverse=True)
    border = re.compile("|".join((*map(re.escape, known), r"\d|\n|\b[A-Z]\b")))
    counted: Counter[str] = Counter()
    for text in texts:
        counted.update(piece for piece in border.split(text) if len(piece) > 2)
    common = [(count, phrase) for phrase, count in counted.items() if count >= 20]
    return tuple(phrase for _, phrase in sorted(common, reverse=True)[:most])


def build(texts: Sequence[str], words: Sequence[str], most_phrases: int = 400) -> Tokenizer:
    """Learn the tokenizer from texts of the world.

    Verdicts are single tokens as whole words, though the world never says them: a verifier that is
    tuned from these models is asked for the probability of Yes.
    """
    tokenizer = Tokenizer(models.BPE(byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_PIECES, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    spelled = [f"{word} {word.lower()} {{{word}}}" for word in ("Yes", "No", *words)]
    roles = ["system\nuser\nassistant\n"]
    tokenizer.train_from_iterator([*texts, *(spelled + roles) * 200], trainer)
    plain = [*fixed_tokens(), *phrases(texts, words, most_phrases)]
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in dict.fromkeys(plain)])
    tokenizer.add_tokens(
        [AddedToken(word, normalized=False, single_word=True) for word in ("-1", "Yes", "No")]
    )
    return tokenizer


_JUDGED = (
    '{"paragraph": ', ', "reference": [', '], "explanation": "', '", "label": "', 'CORRECT"}',
    'INCORRECT"}', '},\n', ", and it says ", ", but it says ", "I found: ", "It is ",
    "It gives the answer.", "It checks a result.", "The judgement ", "is right.", "should be ",
)  # fmt: skip
"""What a judge's texts repeat."""


_SCORED = (
    "The error is there, and the reason is true.", "The error is there, but the reason is not.",
    "The error is not there.",
)  # fmt: skip
"""What a verifier of verifications repeats."""


def extend_for_judge(tokenizer: Tokenizer, most: int) -> None:
    """Make the judge's fixed texts single tokens; ValueError for more than `most` entries."""
    _extend(tokenizer, (*judge_prompts.fixed_texts(), *_JUDGED), most)


def extend_for_verifier(tokenizer: Tokenizer, most: int) -> None:
    """Make the verifier's single tokens too, in the judge's tokenizer; ValueError as above."""
    _extend(tokenizer, (*judge_prompts.fixed_reasons_texts(), *_SCORED), most)


def _extend(tokenizer: Tokenizer, texts: Iterable[str], most: int) -> None:
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in dict.fromkeys(texts)])
    if tokenizer.get_vocab_size() > most:
        raise ValueError(f"{tokenizer.get_vocab_size()} entries, the model has room for {most}")


def wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """The same tokenizer as a model folder's."""
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped
