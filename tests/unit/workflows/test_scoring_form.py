"""The verifier's texts: which tokenizers can give a verdict, and where an opening may be cut."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from actors.engines.contract import Completion, EngineSettings, TokenLogprob
from actors.engines.rendering import ChatRenderer
from storage.errors import InputError
from workflows.formats import prompts
from workflows.formats.verification import TrainingForm, check_verdicts, lead_in_for
from workflows.scoring.settings import ScoreConfig, ScoreModels

MODEL = Path(__file__).parents[3] / "demo" / "models" / "rationale"


def words(text: str) -> Sequence[int]:
    """As Qwen's tokenizer cuts: a blank belongs to the word that follows it."""
    pieces = re.findall(r" ?[A-Za-z]+|\d| ?[^\w\s]|\s", text)
    return [zlib.crc32(piece.encode()) for piece in pieces]


def letters(text: str) -> Sequence[int]:
    """A tokenizer without words: Yes is three tokens."""
    return list(text.encode())


def one_for_both(text: str) -> Sequence[int]:
    """A tokenizer that does not know either word."""
    return words(re.sub(r"\b(Yes|No)\b", "unk", text))


def test_a_tokenizer_with_both_words_is_a_verifiers() -> None:
    check_verdicts(words, "m")
    verifier = EngineSettings(model=str(MODEL))
    ScoreConfig(run="r", responses="f", models=ScoreModels(verifier=verifier)).check_models()


@pytest.mark.parametrize("spell", [letters, one_for_both])
def test_a_tokenizer_without_both_words_is_refused_in_one_line(spell: object) -> None:
    with pytest.raises(InputError, match="no single tokens for Yes and No") as caught:
        check_verdicts(spell, "org/model")  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_lead_in_leaves_its_blank_to_a_model_that_joins_it_to_the_next_word() -> None:
    lead_in = prompts.analyze_lead_in(3)
    assert lead_in.endswith(": ")
    assert lead_in_for(words, lead_in) == lead_in.rstrip()
    renderer = ChatRenderer.load(EngineSettings(model=str(MODEL)))
    renderer.close()
    assert lead_in_for(renderer.spell, lead_in) == lead_in, "one token, blank included"


@pytest.mark.parametrize("spell", [None, words])
def test_an_analysis_is_the_training_text_wherever_its_opening_was_cut(spell: object) -> None:
    form = TrainingForm("full", 2000, spell)  # type: ignore[arg-type]
    opening = form.analysis_opening(2)
    assert opening is not None
    written = "It holds.\n" if spell is None else " It holds.\n"
    content, part = form.analysis(opening, written)
    assert content == "It holds."
    assert part == (
        "<analyze>\nLet's analyze the Paragraph 2 step by step: It holds.\n</analyze>\n"
    )


@pytest.mark.parametrize(
    ("said", "right", "rest"),
    [("Yes", True, "Yes}$\n</output>\n"), ("No", False, "No}$\n</output>\n"), ("Hm", True, "Yes")],
)
def test_a_verdict_is_the_sampled_word_and_its_odds_are_the_reward(
    said: str, right: bool, rest: str
) -> None:
    top = (("Yes", -0.2231), ("No", -1.6094))
    written = Completion(said, "length", None, 1, (TokenLogprob(said, -0.2, top),))
    called, reward, text = TrainingForm("full", 2000).verdict(written)
    assert called == right
    assert reward == pytest.approx(0.8, abs=1e-4)
    assert text.startswith(rest)
