"""Training documents: a prompt that is given, a reply that is learnt.

Invariant: every problem comes from the training split, and loss falls on the reply alone; a wrong
step that a completer must continue from stands in the prompt.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from actors.engines.contract import Chat
from demo import check, judgements, rationales, refinements, world
from demo.families import FAMILIES, LEVELS
from demo.problem import Problem
from demo.solutions import Habits, write
from demo.tokenizer import END, START
from storage.rows.records import Critique
from workflows.formats import judge_prompts, prompts, steps

POLICY = Habits(slip=0.25, check=0.02, swap=0.1, boxless=0.01, blurt=0.01)
COMPLETER = Habits(check=0.06, swap=0.15)
STUMBLER = Habits(slip=0.25, repair=0.6, check=0.06, swap=0.15)
"""Whose slips the completer learns to continue from; it notices far fewer than it is shown."""
AUTHOR = Habits(slip=0.25, repair=0.03, check=0.05, swap=0.12, boxless=0.01)
"""Whose wrong solutions the rationale writer learns to verify, beside the policy's own."""


_HARDER = {"chain": 3, "divisors": 3, "linear": 3, "modular": 5, "logic": 6}
_EASIER = {"fractions": 1, "sequence": 1}
_FAMILY_WEIGHTS = {name: 2 for name in FAMILIES} | _HARDER | _EASIER


@dataclass(frozen=True)
class Document:
    """One conversation: what is given, and what the model writes (end of turn included)."""

    prompt: str
    reply: str


@dataclass(frozen=True)
class Path:
    """A solution that a trained model wrote."""

    problem_id: str
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Verified(Path):
    """What a trained judge wrote of it, without sight of the answer."""

    text: str


def render(chat: Chat) -> str:
    """The chat as the models' template renders it, the prefill appended."""
    turns = "".join(f"{START}{turn['role']}\n{turn['content']}{END}\n" for turn in chat.turns())
    return f"{turns}{START}assistant\n{chat.prefill}"


def training_problems(
    rng: random.Random, levels: Sequence[int] = (3, 4, 5, 6, 6)
) -> Iterator[Problem]:
    """Endless problems of the training split; what is harder to learn comes more often.

    ``levels``: how often each of the five comes.
    """
    families, weights = zip(*_FAMILY_WEIGHTS.items(), strict=True)
    while True:
        level = rng.choices(LEVELS, levels)[0]
        family = rng.choices(families, weights)[0]
        found = world.problem(f"{family}/{level}/{rng.randrange(10**6):06d}")
        if world.split_of(found.text) == "train":
            yield found


def policy_documents(rng: random.Random, habits: Habits = POLICY) -> Iterator[Document]:
    """Whole solutions by a writer of these habits."""
    for problem in training_problems(rng):
        yield _document(problem, write(problem, habits, rng).steps, 0)


def completer_documents(rng: random.Random, wrong_share: float = 0.35) -> Iterator[Document]:
    """Clean solutions, and the rest of solutions in which the given prefix ends with a slip."""
    for problem in training_problems(rng):
        if rng.random() >= wrong_share:
            yield _document(problem, write(problem, COMPLETER, rng).steps, 0)
            continue
        found = write(problem, STUMBLER, rng)
        if any(found.slips):
            last = max(index for index, slipped in enumerate(found.slips) if slipped)
            yield _document(problem, found.steps, last + 1)


def rationale_documents(
    rng: random.Random, sampled: Sequence[Path] = (), share: float = 0.5
) -> Iterator[Document]:
    """Verifications of right and wrong solutions, half and half.

    ``sampled`` are solutions that the policy itself wrote, by problem id; ``share`` of the
    documents are about them.
    """
    for problem in training_problems(rng):
        wrong = rng.random() < 0.5
        for _ in range(20):
            problem, solution = _solved(problem, wrong, rng, sampled, share)
            if (check.first_error(problem, solution) is not None) != wrong:
                continue
            verified = rationales.verify(problem, solution)
            if verified is not None:
                chat = prompts.rationale_chat(problem.text, solution)
                yield Document(render(chat), verified.reply + END)
                break


def _solved(
    problem: Problem, wrong: bool, rng: random.Random, sampled: Sequence[Path], share: float
) -> tuple[Problem, Sequence[str]]:
    """A solution of the problem by a writer, or with its own problem one of the sampled."""
    if sampled and rng.random() < share:
        path = rng.choice(sampled)
        return world.problem(path.problem_id), path.steps
    return problem, write(problem, AUTHOR if wrong else COMPLETER, rng).steps


def judge_documents(
    rng: random.Random, sampled: Sequence[Path] = (), share: float = 0.5
) -> Iterator[Document]:
    """Judgements in every form, of right and wrong solutions, half and half.

    ``sampled`` and ``share`` as in ``rationale_documents``.
    """
    forms, weights = zip(*_JUDGE_FORMS.items(), strict=True)
    for problem in training_problems(rng):
        wrong = rng.random() < 0.5
        for _ in range(20):
            problem, solution = _solved(problem, wrong, rng, sampled, share)
            judged = judgements.judge(problem, solution)
            if judged is None or (judged.first_wrong != -1) != wrong:
                continue
            form = rng.choices(forms, weights)[0]
            document = _judged(form, problem, solution, judged, rng)
            if document is not None:
                yield document
                break


_JUDGE_FORMS = {"critique": 5, "resolve": 3, "align": 1.5, "meta": 1.5, "merge": 1.5, "repair": 1}


def _judged(
    form: str,
    problem: Problem,
    solution: Sequence[str],
    judged: judgements.Judgement,
    rng: random.Random,
) -> Document | None:
    reference = judge_prompts.Sight(reference_solution=steps.join(problem.reference_solution))
    answer = judge_prompts.Sight(answer=problem.answer)
    sight = rng.choices((judge_prompts.NOTHING, answer, reference), (6, 2, 2))[0]
    text = problem.text
    if form == "critique":
        chat = judge_prompts.critique_chat(text, solution, sight)
        reply = judgements.critique(judged)
    elif form == "resolve":
        chat = judge_prompts.resolve_chat(text, solution, sight)
        reply = judgements.resolve(problem, judged)
    elif form == "align":
        chat = judge_prompts.align_chat(text, solution, reference)
        reply = judgements.align(judged)
    elif form == "repair":
        found = None if judged.first_wrong == -1 else judgements.repair(problem, judged)
        if found is None:
            return None
        prefix, bad = solution[: judged.first_wrong - 1], solution[judged.first_wrong - 1]
        chat = judge_prompts.repair_chat(text, prefix, bad, reference)
        reply = found
    else:
        misread = judgements.misreadings(judged, rng)
        seen = judge_prompts.OPENED + judgements.critique(judged, misread)
        critique = judgements.meta(judged, misread)
        if form == "meta":
            chat = judge_prompts.meta_chat(text, solution, seen, sight)
            reply = critique
        else:
            chat = judge_prompts.merge_chat(text, solution, seen, critique, sight)
            reply = judgements.critique(judged)
    return Document(render(chat), reply + END)


def verifier_documents(
    rng: random.Random, sampled: Sequence[Verified] = (), share: float = 0.5
) -> Iterator[Document]:
    """Scores of critiques that report an error, with reasons that are real and that are not.

    ``share`` of the documents are about the sampled, which a trained judge wrote.
    """
    for problem in training_problems(rng):
        if sampled and rng.random() < share:
            own = rng.choice(sampled)
            problem, solution, text = world.problem(own.problem_id), own.steps, own.text
            judged = judgements.judge(problem, solution)
        else:
            solution = write(problem, AUTHOR if rng.random() < 0.7 else COMPLETER, rng).steps
            text, judged = "", judgements.judge(problem, solution)
            if judged is not None:
                doubted = judgements.doubts(judged, rng) if rng.random() < 0.7 else ()
                text = judge_prompts.OPENED + judgements.critique(judged, doubted)
        found = None if judged is None else judgements.reasons(judged, text)
        if found is not None:
            chat = judge_prompts.reasons_chat(problem.text, solution, text)
            yield Document(render(chat), found[0] + END)


def refiner_documents(
    rng: random.Random, sampled: Sequence[Path] = (), share: float = 0.5
) -> Iterator[Document]:
    """Wrong solutions, and what comes of them after their critique, another path's, or none.

    ``sampled`` and ``share`` as in ``rationale_documents``.
    """
    last: Critique | None = None
    for problem in training_problems(rng, (6, 6, 5, 4, 3)):  # short ones teach to read as well
        shown = rng.choices(("own", "other", "none"), (5, 3, 2))[0]
        for _ in range(20):
            problem, solution = _solved(problem, True, rng, sampled, share)
            own = refinements.critique(problem, solution)
            if own is None:
                continue
            document = _refined(shown, problem, own, last, rng)
            last = own
            if document is not None:
                yield document
                break


def _refined(
    shown: str, problem: Problem, own: Critique, last: Critique | None, rng: random.Random
) -> Document | None:
    told, written = None, None
    if shown == "own":
        told, written = own, refinements.mended(problem, own, POLICY, rng)
    elif shown == "none":
        written = write(problem, replace(POLICY, blurt=0.0), rng).steps
    else:  # of the problem that came before, or another path to this one
        near = refinements.critique(problem, write(problem, AUTHOR, rng).steps)
        told = near if near is not None and rng.random() < 0.5 else last
        if told is not None and not refinements.applies(own, told):
            written = tuple(own.steps)
    if written is None:
        return None
    chat = refinements.chat(own, told)
    return Document(render(chat), steps.join(written)[len(chat.prefill) :] + END)


def _document(problem: Problem, solution: tuple[str, ...], given: int) -> Document:
    chat = prompts.completion_chat(problem.text, solution[:given])
    whole = steps.join(solution)
    opened = len(chat.prefill)
    if not whole.startswith(chat.prefill):
        raise AssertionError(f"{chat.prefill!r} does not open {whole!r}")
    return Document(render(chat), whole[opened:] + END)
