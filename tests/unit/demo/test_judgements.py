"""What the judge is taught: verdicts that are the checker's, in texts that stage `judge` reads."""

from __future__ import annotations

import itertools
import random
from collections import Counter

from demo import check, corpus, judgements, solutions, world
from demo.problem import Problem
from demo.tokenizer import END
from workflows.formats import judge_prompts
from workflows.judging.reasons import read_score
from workflows.judging.seats import read_alignment, read_paragraphs

HABITS = solutions.Habits(slip=0.2, repair=0.1, check=0.1, swap=0.2, boxless=0.02)
Case = tuple[Problem, tuple[str, ...], judgements.Judgement]


def cases(seed: int) -> list[Case]:
    rng = random.Random(seed)
    found = []
    for problem in world.sample(200, seed, "train"):
        steps = solutions.write(problem, HABITS, rng).steps
        judged = judgements.judge(problem, steps)
        if judged is not None:
            found.append((problem, steps, judged))
    return found


def test_nearly_every_solution_can_be_judged_and_its_first_error_is_the_checkers() -> None:
    found = cases(1)
    assert len(found) >= 0.97 * 200
    for problem, steps, judged in found:
        truth = check.first_error(problem, steps)
        assert judged.first_wrong == (-1 if truth is None else truth + 1)


def test_what_is_taught_is_read_back_whole() -> None:
    for problem, steps, judged in cases(2):
        right = [not finding.wrong for finding in judged.findings]
        index = judged.first_wrong - 1 if judged.first_wrong > 0 else -1
        for text in (
            judge_prompts.OPENED + judgements.critique(judged),
            judge_prompts.MY_SOLUTION + judgements.resolve(problem, judged),
        ):
            opinion = read_paragraphs(text, len(steps))
            assert (opinion.verdicts, opinion.index) == (right, index), text
            assert all(opinion.analyses)
        aligned = read_alignment("[\n" + judgements.align(judged), len(steps))
        assert aligned.verdicts == right


def test_a_misreading_critic_follows_what_it_misread_and_its_critique_finds_it() -> None:
    rng = random.Random(3)
    misled = 0
    for _, steps, judged in cases(3):
        misread = judgements.misreadings(judged, rng)
        said = read_paragraphs(
            judge_prompts.OPENED + judgements.critique(judged, misread), len(steps)
        ).verdicts
        lines = judgements.meta(judged, misread).splitlines()
        for verdict, line, finding in zip(said, lines, judged.findings, strict=True):
            assert ("should be" in line) == (verdict == finding.wrong)
            misled += "should be" in line
    assert misled > 50


def test_reasons_are_scored_by_whether_the_error_is_there_and_the_reason_true() -> None:
    rng = random.Random(6)
    seen: Counter[float] = Counter()
    for _, steps, judged in cases(6):
        doubted = judgements.doubts(judged, rng) if rng.random() < 0.7 else ()
        text = judge_prompts.OPENED + judgements.critique(judged, doubted)
        said = read_paragraphs(text, len(steps)).verdicts
        found = judgements.reasons(judged, text)
        reported = [
            (finding.wrong, doubted[place] if doubted else None)
            for place, (finding, right) in enumerate(zip(judged.findings, said, strict=True))
            if not right
        ]
        if not reported:
            assert found is None
            continue
        assert found is not None
        due = min(0.0 if not wrong else 1.0 if other is None else 0.5 for wrong, other in reported)
        assert found[1] == due == read_score(found[0], "stop")
        assert len(found[0].splitlines()) == len(reported) + 1
        seen[due] += 1
    assert min(seen[0.0], seen[0.5], seen[1.0]) > 10, seen


def test_a_repair_puts_a_right_step_there() -> None:
    repaired = 0
    for problem, steps, judged in cases(4):
        if judged.first_wrong == -1:
            continue
        step = judgements.repair(problem, judged)
        if step is not None:
            prefix = steps[: judged.first_wrong - 1]
            assert check.first_error(problem, (*prefix, step)) is None
            repaired += 1
    assert repaired > 20


def test_the_verifier_learns_all_three_scores_and_sees_no_truth() -> None:
    documents = list(itertools.islice(corpus.verifier_documents(random.Random(7)), 300))
    scores = Counter(read_score(each.reply.removesuffix(END), "stop") for each in documents)
    assert set(scores) == {0.0, 0.5, 1.0}
    assert min(scores.values()) > 30
    for document in documents:
        assert judge_prompts.SOLUTION_SEEN not in document.prompt
        assert judge_prompts.ANSWER_SEEN not in document.prompt


def test_every_form_is_taught_and_sees_the_truth_only_where_the_prompt_says_so() -> None:
    documents = list(itertools.islice(corpus.judge_documents(random.Random(5)), 300))
    rules = (
        judge_prompts.CRITIQUE_RULES, judge_prompts.RESOLVE_RULES, judge_prompts.ALIGN_RULES,
        judge_prompts.META_RULES, judge_prompts.MERGE_RULES, judge_prompts.REPAIR_RULES,
    )  # fmt: skip
    for rule in rules:
        assert any(rule in document.prompt for document in documents)
    seeing = [judge_prompts.SOLUTION_SEEN in document.prompt for document in documents]
    assert 0.2 < sum(seeing) / len(seeing) < 0.7
