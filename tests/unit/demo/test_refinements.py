"""What the refiner is taught: a critique is mended where it is true, and read before it is."""

from __future__ import annotations

import itertools
import random

from demo import check, corpus, refinements, solutions, world
from demo.problem import Problem
from storage.rows.records import Critique
from workflows.formats import steps
from workflows.formats.refinement import REQUEST

CLEAN = solutions.Habits()


def told(seed: int, count: int = 60) -> list[tuple[Problem, Critique]]:
    rng = random.Random(seed)
    found = []
    for problem in world.sample(count, seed, "train"):
        critique = refinements.critique(problem, solutions.corrupt(problem, rng).steps)
        if critique is not None:
            found.append((problem, critique))
    assert len(found) > count // 2
    return found


def test_a_critique_is_of_the_first_wrong_step_and_right_solutions_have_none() -> None:
    for problem, critique in told(1):
        assert check.first_error(problem, critique.steps) == critique.step
        assert critique.text
        assert refinements.critique(problem, problem.reference_solution) is None


def test_a_mended_solution_keeps_what_was_right_and_a_clean_writer_ends_it_right() -> None:
    for problem, critique in told(2):
        mended = refinements.mended(problem, critique, CLEAN, random.Random(0))
        if mended is None:
            continue
        assert list(mended[: critique.step]) == critique.steps[: critique.step]
        assert mended[critique.step] != critique.steps[critique.step]
        assert check.first_error(problem, mended) is None


def test_a_mended_step_is_right_also_where_the_writer_slips_again_behind_it() -> None:
    slipping = solutions.Habits(slip=0.9)
    for problem, critique in told(3):
        mended = refinements.mended(problem, critique, slipping, random.Random(0))
        if mended is not None:
            assert (check.first_error(problem, mended) or len(mended)) > critique.step


def test_most_true_critiques_can_be_mended() -> None:
    cases = told(4, 100)
    mended = [refinements.mended(*case, CLEAN, random.Random(0)) for case in cases]
    assert sum(each is not None for each in mended) > 0.9 * len(cases)


def test_a_conversation_shows_one_critique_and_never_the_answer() -> None:
    (problem, own), (_, other) = told(5)[:2]
    mine, theirs = refinements.chat(own, own), refinements.chat(own, other)
    bare = refinements.chat(own, None)
    assert mine.messages[:3] == theirs.messages[:3] == bare.messages[:3]
    assert own.text in mine.user and other.text in theirs.user and bare.user == REQUEST
    assert f"boxed{{{problem.answer}}}" not in "".join(turn.content for turn in bare.messages)


def test_another_paths_critique_is_taught_to_change_nothing() -> None:
    documents = list(itertools.islice(corpus.refiner_documents(random.Random(6)), 300))
    kept = 0
    for document in documents:
        _, _, rest = document.prompt.partition("<|im_start|>assistant\n")
        before, asked = rest.split("<|im_end|>\n<|im_start|>user\n")
        after = steps.header(1) + document.reply.removesuffix("<|im_end|>")
        quoted = asked.partition("> ")[2].partition("\n")[0]
        if quoted and quoted not in before:
            assert after == before
            kept += 1
    assert 60 < kept < 120, "three in ten of them"


def test_a_writer_goes_on_from_what_is_done() -> None:
    for problem in world.sample(30, 7, "train"):
        rest = solutions.write(problem, CLEAN, random.Random(0), done=1).steps
        assert rest == problem.reference_solution[1:]
