"""The tokenizer: exact round trips, single tokens where they matter, cuts that leave no trace."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from demo import corpus, pretrain, tokenizer
from workflows.formats import judge_prompts, prompts

SEED = 0


@pytest.fixture(scope="module")
def learnt() -> Tokenizer:
    return pretrain.learn_tokenizer(SEED)


def _text(learnt: Tokenizer, ids: list[int]) -> str:
    return learnt.decode(ids, skip_special_tokens=False)


def extended_for(name: str, learnt: Tokenizer) -> Tokenizer:
    """The tokenizer that a model is trained with."""
    mine = Tokenizer.from_str(learnt.to_str())
    for each in {"judge": ("judge",), "verifier": ("judge", "verifier")}.get(name, ()):
        pretrain.EXTEND[each](mine, 1024)
    return mine


def test_the_committed_models_share_one_tokenizer() -> None:
    files = {name: pretrain.MODELS / name / "tokenizer.json" for name in pretrain.ORDER}
    extended = {name: Tokenizer.from_file(str(files.pop(name))) for name in pretrain.EXTEND}
    assert len({file.read_bytes() for file in files.values()}) == 1
    shared = Tokenizer.from_file(str(files["rationale"]))
    for name, extend in pretrain.EXTEND.items():  # theirs have their own prompts besides
        extend(shared, 1024)
        assert extended[name].to_str() == shared.to_str()


def test_the_judges_fixed_texts_are_single_tokens_and_must_fit(learnt: Tokenizer) -> None:
    with pytest.raises(ValueError, match="has room for"):
        tokenizer.extend_for_judge(Tokenizer.from_str(learnt.to_str()), learnt.get_vocab_size())
    extended = extended_for("verifier", learnt)
    for text in (*judge_prompts.fixed_texts(), *judge_prompts.fixed_reasons_texts()):
        assert len(extended.encode(text).ids) == 1, text


@given(text=st.text(max_size=80))
def test_any_text_round_trips(learnt: Tokenizer, text: str) -> None:
    assert _text(learnt, learnt.encode(text).ids) == text


@pytest.mark.parametrize("name", pretrain.ORDER)
def test_the_worlds_texts_round_trip_and_stay_short(learnt: Tokenizer, name: str) -> None:
    documents = pretrain.documents(name, SEED + 1)
    longest = {"rationale": 1000, "judge": 1000, "verifier": 1000, "refiner": 400}.get(name, 250)
    learnt = extended_for(name, learnt)
    for document in (next(documents) for _ in range(200)):
        ids = learnt.encode(document.prompt + document.reply).ids
        assert _text(learnt, ids) == document.prompt + document.reply
        assert len(ids) <= longest


@pytest.mark.parametrize(
    "word",
    [
        "Yes",
        "No",
        "-1",
        *(prompts.ANALYZE_OPEN, prompts.ANALYZE_CLOSE, prompts.VERIFY_OPEN),
        *(prompts.VERIFY_CLOSE, prompts.OUTPUT_OPEN, prompts.OUTPUT_CLOSE),
        *(tokenizer.START, tokenizer.END),
    ],
)
def test_verdicts_and_tags_are_single_tokens(learnt: Tokenizer, word: str) -> None:
    assert len(learnt.encode(word).ids) == 1
    boxed = learnt.encode(f"$\\boxed{{{word}}}$").tokens
    assert word in boxed


def test_digits_are_single_tokens(learnt: Tokenizer) -> None:
    assert learnt.encode("1234").tokens == ["1", "2", "3", "4"]


def test_a_text_cut_and_resumed_where_stages_cut_has_the_tokens_of_the_whole(
    learnt: Tokenizer,
) -> None:
    cuts = (prompts.CODE_CLOSE, prompts.CONCLUSION, prompts.ANALYZE_OPEN + "\n", "\n\nStep 2: ")
    rng = random.Random(SEED)
    for stream in (corpus.policy_documents(rng), corpus.rationale_documents(rng)):
        for document in (next(stream) for _ in range(40)):
            whole = document.prompt + document.reply
            for cut in cuts:
                end = whole.find(cut, len(document.prompt) - 30)
                if end < 0:
                    continue
                end += len(cut)
                parts = learnt.encode(whole[:end]).ids + learnt.encode(whole[end:]).ids
                assert parts == learnt.encode(whole).ids


def test_the_chat_template_is_the_rendering_of_training(learnt: Tokenizer) -> None:
    chat = prompts.rationale_chat("Find the mean of 2, 4.", ("2 + 4 = 6.", "\\boxed{3}"))
    opened = tokenizer.wrap(learnt).apply_chat_template(
        chat.turns(), tokenize=False, add_generation_prompt=True
    )
    assert opened + chat.prefill == corpus.render(chat)
