r"""The conversation with a verifier: exactly the format of training (`.conversation`).

    system      the critic's sentence (direct mode: its own)
    user        Question: PROBLEM, blank line, first step; later turns are bare steps
    assistant   <analyze>…</analyze> <verify>…</verify> <output>…$\boxed{Yes}$</output>

Modes leave parts out: `direct` has the output alone, `cot` no `<verify>`, `code` no `<analyze>`;
`code_not_run` has both and runs nothing. The openings of parts are forced. The blank at the end of
the analysis' lead-in is left to the model if its tokenizer joins it to the next word
(`lead_in_for`).

Invariant: all functions are pure. A turn of parts in the training format is exactly that format.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from actors.engines.contract import Completion
from actors.engines.healing import Spell, uncut
from actors.sandbox.contract import Execution, Limits
from storage.bounds import STRICT, Positive, Share, Temperature
from storage.errors import InputError
from storage.rows.records import CodeRun
from workflows.formats import prompts
from workflows.formats.conversation import QUESTION
from workflows.formats.executed import Found, first_found, pieces, violation
from workflows.formats.fences import unix
from workflows.formats.rationale import printed
from workflows.votes.pruning import Prune
from workflows.votes.rewards import reward_at

Mode = Literal["full", "cot", "code", "code_not_run", "direct", "read"]
READ: Mode = "read"
"""The mode of models that read the steps and write nothing."""
EXECUTING: tuple[Mode, ...] = ("full", "code")
"""Modes in which code is run."""
YES, NO = "Yes", "No"
VERDICT_OPENING = f"{prompts.OUTPUT_OPEN}\n**Judgement**: $\\boxed{{"
VERDICT_REST = f"}}$\n{prompts.OUTPUT_CLOSE}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifySettings:
    """Stage `score`: how the verifier looks at each step (defaults are GenPRM's)."""

    __pydantic_config__ = STRICT

    mode: Mode = "full"
    """`full`: analysis, then code that is run; `cot`: analysis alone; `code`: code alone;
    `code_not_run`: both, but the code is only written; `direct`: the verdict at once; `read`:
    nothing is written, as by a model with a head (its folder says so, and the mode follows)."""
    histories: Positive = 1
    """N of Maj@N: independent verifications, each with its own history; rewards are averaged."""
    prune: Prune = "off"
    """Leave out histories, and their last steps, that can't change a verdict any more: `steps`,
    none of any step; `first_error`, not which step is the first wrong one. Verdicts are those of
    all N histories; rewards are means over fewer. docs/scoring.md has more."""
    doubt: Share = 0.0
    """Under `prune`: the chance, by a model of the histories to come, of a step's verdict changing
    all the same that is put up with; 0: none can."""
    rounds: Positive = 3
    """Generation rounds of one step's `<verify>`, with code run in between. A step that still
    writes code in the last one is judged from its analysis alone."""
    max_tokens: Positive = 2048
    """Tokens of one step's turn, code outputs included; a step that needs more is judged from
    its analysis alone, cut where it stands."""
    temperature: Temperature = 0.6
    top_p: Share = 0.95
    top_k: int = 20
    logprobs: Annotated[int, Field(ge=2)] = 20
    """Likeliest tokens that are asked for at the verdict."""
    output_chars: Positive = 2000
    """Most characters of one code output that are fed back."""
    seed: int = 0
    """Seeds of requests derive from (seed, response, history, call)."""


def bound_verification(settings: VerifySettings) -> dict[str, Any]:
    """The settings that rewards depend on, as plain values; what is off is left out."""
    bound = asdict(settings)
    if settings.prune == "off":
        del bound["prune"], bound["doubt"]
    return bound


def check_verdicts(spell: Spell, model: str) -> None:
    """Raise InputError where Yes or No is not one token behind `VERDICT_OPENING`."""
    opened = list(spell(VERDICT_OPENING))
    spelled = {word: list(spell(VERDICT_OPENING + word + VERDICT_REST)) for word in (YES, NO)}
    tails = {tuple(tokens[len(opened) + 1 :]) for tokens in spelled.values()}
    words = {tuple(tokens[: len(opened) + 1]) for tokens in spelled.values()}
    if len(tails) > 1 or len(words) < 2 or any(word[:-1] != tuple(opened) for word in words):
        raise InputError(
            f"{model} can't be a verifier: its tokenizer has no single tokens for {YES} and {NO} "
            "inside of \\boxed{}; take a model that has both"
        )


def lead_in_for(spell: Spell, lead_in: str) -> str:
    """`lead_in` without the end that the tokenizer would join to the next word."""
    return lead_in[: uncut(spell, lead_in)]


class TrainingForm:
    """The training format in one of its modes, for `workflows.stages.score.Verifier`."""

    analysis_stop = prompts.ANALYZE_CLOSE
    verification_stop = prompts.VERIFY_CLOSE
    pauses: tuple[str, ...] = (*prompts.FENCE_STOPS, prompts.OUTPUT_STOP)
    verdict_opening = VERDICT_OPENING

    def __init__(self, mode: Mode, output_chars: int, spell: Spell | None = None) -> None:
        """`spell`: the model's tokenizer; without one, lead-ins are forced whole."""
        self.mode: str = mode
        self.system = prompts.DIRECT_SYSTEM if mode == "direct" else prompts.CRITIC_SYSTEM
        self.executes = mode in EXECUTING
        self._analyzes = mode in ("full", "cot", "code_not_run")
        self._verifies = mode in ("full", "code", "code_not_run")
        self._output_chars = output_chars
        self._spell = spell

    def question(self, problem: str, step: str, number: int) -> str:
        """The user's turn for step `number` (from 1)."""
        return f"{QUESTION}{problem}\n\n{step}" if number == 1 else step

    def analysis_opening(self, number: int) -> str | None:
        """Tag and lead-in of the analysis; None where the mode has none."""
        if not self._analyzes:
            return None
        lead_in = prompts.analyze_lead_in(number)
        if self._spell is not None:
            lead_in = lead_in_for(self._spell, lead_in)
        return f"{prompts.ANALYZE_OPEN}\n{lead_in}"

    def analysis(self, opening: str, written: str) -> tuple[str, str]:
        """(content without the lead-in, `<analyze>` part with a newline at its end).

        In modes that run code, an analysis is cut off at its first code block or output.
        """
        if self.executes and (shown := pieces(unix(written))):
            written = unix(written)[: shown[0].start]
        part = f"{(opening + written).rstrip()}\n{prompts.ANALYZE_CLOSE}\n"
        return written.strip(), part

    def verification_opening(self) -> str | None:
        """Tag and lead-in of the verification; None where the mode has none."""
        if not self._verifies:
            return None
        return f"{prompts.VERIFY_OPEN}\n{prompts.VERIFY_LEAD_IN}\n"

    def verification(self, opening: str, written: str) -> tuple[str, str]:
        """(content without the lead-in, `<verify>` part with a newline at its end)."""
        part = f"{(opening + written).rstrip()}\n{prompts.VERIFY_CLOSE}\n"
        return written.strip(), part

    def found(self, written: str, ran: bool) -> Found | None:
        """See `workflows.formats.executed.first_found`."""
        return first_found(written, ran)

    def unrun(self, written: str, runs: Sequence[CodeRun]) -> str | None:
        """See `workflows.formats.executed.violation`."""
        return violation(written, runs)

    def code_block(self, code: str) -> str:
        """The block in its one spelling."""
        return prompts.code_block(code)

    def code_output(self, execution: Execution, limits: Limits) -> tuple[str, str]:
        """(the output that the model reads, the `[Code Output]` block with it)."""
        output = printed(execution, limits, self._output_chars)
        return output, prompts.code_output(output)

    def verdict(self, written: Completion) -> tuple[bool, float, str]:
        """(judged right, reward, rest of the turn) of the token behind `verdict_opening`.

        A sampled token that is neither Yes nor No is replaced by the likelier of the two.
        """
        reward = reward_at(written.logprobs[0].top if written.logprobs else (), YES, NO)
        word = written.text.strip()
        right = word == YES if word in (YES, NO) else reward >= 0.5
        return right, reward, (YES if right else NO) + VERDICT_REST
