"""Every strategy of the judge's side, from its configuration, with scripted models; its check each.

The configurations are those of `configs/strategies/`; only models, problems and sizes are replaced.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from demo import check
from demo.truth import true_first_errors
from storage.audit import audit
from storage.datasets.dataset import assemble
from storage.datasets.view import View
from storage.rows.kinds import (
    AGREEMENTS,
    EXAMPLES,
    GROUNDED,
    JUDGEMENTS,
    LABELS,
    PATHS,
    PROBLEMS,
    RATIONALES,
    REASONS,
    RETRIED,
)
from storage.rows.records import Agreement
from storage.rows.tree_chains import grounded_chains
from storage.rows.tree_records import GroundedNode
from storage.runs.layout import dataset_prefix
from tests.support.golden import check_golden
from tests.support.judge_strategies import CONFIGS, OURS, SPARK, Build
from tests.support.label_strategies import NAMES
from tests.support.solver import decided
from workflows.estimation.grounded import Choice, chosen
from workflows.formats import judge_prompts, prompts
from workflows.formats.prompts import SOLVER_SYSTEM as SOLVER
from workflows.judging.tools import rollout_value
from workflows.runs.driving import standing
from workflows.stages import described
from workflows.views.chains import chains
from workflows.views.repairs import INTERVENTION, LAST_STEP, intervened, last_step_balanced


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[str, Build] = {}

    def build(name: str) -> Build:
        if name not in made:
            made[name] = Build(name, tmp_path_factory.mktemp(name))
        return made[name]

    return build


def test_every_file_of_a_strategy_is_built_here_or_with_the_estimating_ones() -> None:
    files = [file.stem for file in CONFIGS.glob("*.yaml")]
    assert sorted(files) == sorted([*OURS, *NAMES])


@pytest.mark.parametrize("name", OURS)
def test_every_strategy_builds_audits_clean_and_keeps_something(built: Any, name: str) -> None:
    build = built(name)
    assert standing(build.run).finished
    assert audit(build.run).findings == ()
    assert len(build.kept) > 5


@pytest.mark.parametrize("name", (*OURS, "genprm"))
def test_its_rows_are_the_golden_ones(built: Any, name: str) -> None:
    check_golden(f"judging {name}", built(name).run)


@pytest.mark.parametrize("name", OURS)
def test_every_path_is_kept_or_dropped_once_with_a_reason(built: Any, name: str) -> None:
    build = built(name)
    dropped = Counter(
        drop.item
        for stage in build.run.spec.stages[2:]
        for commit in build.run.commits(stage)
        for drop in commit.drops
    )
    if name == "int":
        through = {row.path_id for row in build.rows(RETRIED) if row.kept}
    else:
        through = {row.path_id for row in build.rows(EXAMPLES)}
    assert set(dropped.values()) <= {1}
    assert through | dropped.keys() == build.paths.keys()
    assert not through & dropped.keys()


@pytest.mark.parametrize(
    ("name", "says", "says_not"),
    [
        (
            "qwen_consensus",
            ["Monte-Carlo", "ran no code", "estimated and labelled"],
            ["the code was run"],
        ),
        ("groundedprm", ["the code was run"], ["Monte-Carlo"]),
        ("spark_single", ["ran no code"], ["the code was run", "only right or only wrong"]),
        ("fover", ["theorem prover", "put into formulas"], ["neither analysis nor code"]),
    ],
)
def test_a_card_says_of_its_own_strategy_what_it_is_not(
    built: Any, name: str, says: list[str], says_not: list[str]
) -> None:
    run = built(name).run
    card = run.store.get(f"{dataset_prefix(run.name)}genprm/README.md").decode()
    assert [text for text in says if text not in card] == []
    assert [text for text in says_not if text in card] == []
    shares = re.findall(r"\| ([\d.]+)% \|", card)
    assert shares and all(float(share) <= 100 for share in shares)


@pytest.mark.parametrize("name", SPARK)
def test_every_prompt_of_spark_follows_from_problem_and_steps_alone(built: Any, name: str) -> None:
    build = built(name)
    texts = {problem.problem_id: problem.text for problem in build.problems}
    said = build.judgements
    allowed = set(texts.values())  # the policy is asked the bare problem
    for path in build.paths.values():
        text = texts[path.problem_id]
        allowed.add(judge_prompts.critique_chat(text, path.steps).user)
        for verified in said[path.path_id]:
            nothing = judge_prompts.NOTHING
            allowed.add(judge_prompts.meta_chat(text, path.steps, verified.text, nothing).user)
            for criticised in said[path.path_id]:
                critique = criticised.text.removeprefix(judge_prompts.CRITIQUE_HEADING)
                merge = judge_prompts.merge_chat
                allowed.add(merge(text, path.steps, verified.text, critique, nothing).user)
    assert build.world.prompts
    for chat in build.world.prompts:
        system, user = (message.content for message in chat.messages)
        assert system in (prompts.SOLVER_SYSTEM, prompts.CRITIC_SYSTEM)
        assert user in allowed
        assert chat.prefill in ("Step 1: ", judge_prompts.OPENED, judge_prompts.CRITIQUE_HEADING)


def test_every_prompt_of_genprm_follows_from_problem_and_steps_alone(built: Any) -> None:
    build = built("genprm")
    texts = {problem.problem_id: problem.text for problem in build.problems}
    solved: set[tuple[str, str]] = set()
    verified: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in build.paths.values():
        text = texts[path.problem_id]
        for state in range(len(path.steps)):
            solved.add((text, prompts.completion_chat(text, path.steps[:state]).prefill))
    for row in build.rows(RATIONALES):
        path = build.paths[row.path_id]
        asked = prompts.rationale_chat(texts[path.problem_id], path.steps)
        verified[asked.messages[0].content, asked.user].append(row.text)
    tried = {
        prompts.rationale_chat(texts[path.problem_id], path.steps).user
        for path in build.paths.values()
    }
    for chat in build.world.prompts:
        system, user = (message.content for message in chat.messages)
        if system == prompts.SOLVER_SYSTEM:  # policy and completion model
            assert (user, chat.prefill) in solved
            continue
        assert system == prompts.RATIONALE_SYSTEM and user in tried
        own = chat.prefill.removesuffix(prompts.CONCLUSION)  # what the writer itself wrote so far
        assert not verified[system, user] or any(
            text.startswith(own) for text in verified[system, user]
        )


def test_with_other_answers_spark_asks_the_same_and_keeps_the_same(
    built: Any, tmp_path: Path
) -> None:
    first = built("spark_step_vote")
    other = Build("spark_step_vote", tmp_path, rewrite=lambda row: row | {"answer": "31337"})
    asked = [sorted(map(repr, build.world.prompts)) for build in (first, other)]
    assert asked[0] == asked[1]
    labels = [[(row.path_id, row.labels) for row in build.kept] for build in (first, other)]
    assert labels[0] == labels[1]


def test_outcome_vote_keeps_a_verification_that_agrees_with_the_majority(built: Any) -> None:
    build = built("spark_outcome_vote")
    for row in build.kept:
        votes = [all(said.verdicts) for said in build.judgements[row.path_id]]
        assert 2 * votes.count(all(row.labels)) > len(votes) == 5
        assert build.judgements[row.path_id][row.chosen].verdicts == row.labels


def test_step_vote_labels_every_step_by_its_majority(built: Any) -> None:
    build = built("spark_step_vote")
    for row in build.kept:
        votes = [said.verdicts for said in build.judgements[row.path_id]]
        steps = zip(*votes, strict=True)
        assert [2 * sum(step) > len(step) for step in steps] == row.labels


def test_a_meta_critique_exports_the_revision(built: Any) -> None:
    build = built("spark_meta_critique")
    rounds = Counter(row.round for rows in build.judgements.values() for row in rows)
    assert rounds["verify"] == rounds["critique"] == rounds["merge"] > 0
    changed = 0
    for row in build.kept:
        verified, _, merged = build.judgements[row.path_id]
        assert row.chosen == 2 and merged.verdicts == row.labels
        changed += verified.verdicts != merged.verdicts
    assert changed > 0


def test_critiques_whose_reasons_are_not_real_have_no_say(built: Any) -> None:
    build = built("meta_verified")
    least = build.config.stages.metaverify.least
    scores = {
        (row.path_id, score.number): score.score for row in build.rows(REASONS)
        for score in row.scores
    }  # fmt: skip
    assert {0.0, 1.0} <= set(scores.values())
    refused = 0

    def first(labels: Sequence[bool]) -> int:
        return labels.index(False) if False in labels else len(labels)

    for row in build.kept:
        firsts = [first(said.verdicts) for said in build.judgements[row.path_id]]
        real = {at: n for n, at in enumerate(firsts) if scores.get((row.path_id, n), 1.0) >= least}
        refused += len(real) < len(set(firsts))
        assert first(row.labels) == min(real)
        assert scores.get((row.path_id, row.chosen), 1.0) >= least
    assert refused > 0


def test_qwens_judge_is_a_model_of_its_own_and_no_rationale_is_asked_for(built: Any) -> None:
    build = built("qwen_consensus")
    assert not {"rationalize", "formalize"} & set(build.run.spec.stages)
    assert set(build.run.spec.models) == {"policy", "completer", "judge"}
    texts = {problem.problem_id: problem.text for problem in build.problems}
    critiques = {
        judge_prompts.critique_chat(texts[path.problem_id], path.steps).user
        for path in build.paths.values()
    }
    asked = [chat for chat in build.world.prompts if chat.messages[0].content != SOLVER]
    assert {chat.user for chat in asked} == critiques


def test_qwen_keeps_exactly_where_the_first_errors_agree_and_its_reasons_add_up(
    built: Any,
) -> None:
    build = built("qwen_consensus")
    labels = {row.path_id: row for row in build.rows(LABELS)}
    judged = build.rows(AGREEMENTS)
    for row in judged:
        said = build.judgements[row.path_id][0].index
        assert row.judge_first_error == (None if said in (None, -1) else said)
        agrees = row.judge_first_error == labels[row.path_id].first_error
        assert row.kept == (agrees and row.reason is None)
        assert not agrees or row.reason in (None, "judge_unreadable", "judge_split")
    reasons = Counter(row.reason for row in judged if not row.kept)
    assert len(judged) == len(build.kept) + sum(reasons.values())
    for example in build.rows(EXAMPLES):
        assert example.labels.count(False) <= 1
        assert all(example.labels[:-1])  # nothing after the first error


def verified_parts(row: Agreement) -> list[int]:
    """Positions of a path's verifications that are kept."""
    assert row.chosen is not None
    return [row.chosen, *(row.also or ())]


def test_thinkprm_verifies_every_path_at_two_prefixes_and_shows_no_step_behind_them(
    built: Any,
) -> None:
    build = built("thinkprm")
    texts = {problem.problem_id: problem.text for problem in build.problems}
    asked, shorter = Counter(chat.user for chat in build.world.prompts), set()
    for name, rows in build.judgements.items():
        path = build.paths[name]
        lengths = Counter(row.steps or len(path.steps) for row in rows)
        assert len(lengths) == 2 and set(lengths.values()) == {4}
        shorter |= {min(lengths) == 1, min(lengths) == len(path.steps) - 1}
        for steps in lengths:
            chat = judge_prompts.critique_chat(texts[path.problem_id], path.steps[:steps])
            assert asked[chat.user] >= 1
        assert all(len(row.verdicts) == (row.steps or len(path.steps)) for row in rows)
    assert shorter == {True, False}  # the draw differs from path to path


def test_thinkprms_kept_verifications_equal_the_labels_on_every_step(built: Any) -> None:
    build = built("thinkprm")
    labels = {row.path_id: row.labels for row in build.rows(LABELS)}
    classes: dict[int, Counter[bool]] = defaultdict(Counter)
    for shard in range(build.run.spec.plan.shards):
        for row in build.run.read_rows(AGREEMENTS, shard):
            for at in verified_parts(row) if row.kept else ():
                spoken = build.judgements[row.path_id][at]
                steps = spoken.steps or len(labels[row.path_id])
                assert spoken.verdicts == labels[row.path_id][:steps]
                assert spoken.finish_reason == "stop"
                assert spoken.tokens <= build.config.stages.judge.max_tokens
                classes[shard][all(spoken.verdicts)] += 1
    assert all(seen[True] == seen[False] for seen in classes.values())


def test_thinkprms_view_has_every_kept_verification_whole(built: Any) -> None:
    build = built("thinkprm")
    made = chains(*(build.rows(kind) for kind in (PROBLEMS, PATHS, JUDGEMENTS, AGREEMENTS)))
    kept = [(row, at) for row in build.kept for at in verified_parts(row)]
    assert len(made) == len(kept) > len(build.kept)
    for chain, (row, at) in zip(made, kept, strict=True):
        assert chain.completion[0].content == build.judgements[row.path_id][at].text
        steps = build.paths[row.path_id].steps
        shown = re.findall(r"<paragraph_\d+>\n(.*?)\n</paragraph_", chain.prompt[1].content)
        assert shown == steps[: chain.steps] and chain.of_steps == len(steps)
        assert len(chain.labels) == chain.steps


def test_aurora_votes_over_distinct_prompts_and_sights(built: Any) -> None:
    build = built("aurora")
    for row in build.kept:
        seats = [(said.prompt, said.sees) for said in build.judgements[row.path_id]]
        assert len(seats) == len(set(seats)) == 4
        votes = zip(*(said.verdicts for said in build.judgements[row.path_id]), strict=True)
        assert [2 * sum(step) > 4 for step in votes] == row.labels
    solutions = {row.reference_solution for row in build.rows(PROBLEMS)}
    asked = [chat.messages[1].content for chat in build.world.prompts]
    judged = [text for text in asked if "[Math Problem]" in text]
    seeing = [text for text in judged if any(each in text for each in solutions)]
    assert len(seeing) == len(judged) / 2


def test_spares_last_label_is_the_outcome_and_its_classes_are_even(built: Any) -> None:
    build = built("spare")
    paths = build.paths
    outcomes = Counter(paths[row.path_id].correct for row in build.kept)
    assert outcomes[True] == outcomes[False] > 0
    overwritten = 0
    for row in build.rows(AGREEMENTS):
        assert row.labels[-1] == paths[row.path_id].correct
        (said,) = build.judgements[row.path_id]
        assert row.labels[:-1] == [verdict is True for verdict in said.verdicts[:-1]]
        overwritten += row.labels[-1] != (said.verdicts[-1] is True)
    assert all('"reference"' in chat.messages[1].content for chat in judge_chats(build))


def judge_chats(build: Build) -> list[Any]:
    return [chat for chat in build.world.prompts if "[Math Problem]" in chat.messages[1].content]


def test_grounded_paths_have_the_tools_sign_on_every_step_and_end_where_they_recover(
    built: Any,
) -> None:
    build = built("groundedprm")
    chains = grounded_chains(build.rows(GROUNDED))
    for row in build.kept:
        chain = chains[row.path_id][: len(row.labels)]
        assert row.values == [node.value for node in chain]
        assert [value > 0 for value in row.values] == row.labels
        assert row.labels == [node.verdict for node in chain]
        assert row.labels == sorted(row.labels, reverse=True)  # right, then wrong, then nothing
    reasons = {row.reason for row in build.rows(AGREEMENTS)}
    assert reasons <= {None, "tool_unreadable", "index_mismatch", "label_mismatch"}
    assert chains.keys() - {path.path_id for path in build.rows(PATHS)}, "the tree grew"
    assert true_first_errors(build.run).keys() == chains.keys()


def test_every_step_of_a_grounded_tree_was_checked_before_it_was_chosen(built: Any) -> None:
    tree = built("groundedprm").rows(GROUNDED)
    asked = [node for node in tree if node.query]
    assert asked
    for node in asked:
        (run,) = node.executions
        assert (run.code, run.verdict) == (node.query, "ok")
        assert node.verification.endswith(f"{run.output.rstrip()}\n```")
    for node in tree:
        assert node.tries == 1 and node.verdict is not None and node.reason
        assert all(node.created <= turn for turn in node.rounds)
    expanded = [node for node in tree if not node.simulated and node.created >= 3]
    assert [node for node in expanded if not node.rounds], "some were checked and never chosen"


def test_every_choice_of_a_grounded_tree_follows_its_score_by_its_rows(built: Any) -> None:
    """UCT of every round, computed again from the values that earlier rounds backed up."""
    build = built("groundedprm")
    asked = getattr(build.config.stages, GROUNDED.stage)
    trees: dict[str, list[GroundedNode]] = defaultdict(list)
    for node in build.rows(GROUNDED):
        trees[node.problem_id].append(node)
    chosen_again = 0
    for tree in trees.values():
        sampled = sum(node.leaf and node.node_id.rpartition("#")[2].isdigit() for node in tree)
        last = max((max(node.rounds) for node in tree if node.rounds), default=-1)
        for turn in range(sampled, last + 1):
            ends = [node for node in tree if node.leaf and node.rounds[0] < turn]
            sign = -1 if sum(node.correct for node in ends) >= asked.positives else 1
            above, visits = None, turn
            while True:
                there = [
                    node
                    for node in tree
                    if node.parent_id == above and not node.simulated and node.created <= turn
                ]
                if not there:
                    break
                seen = [_before(node, turn) for node in there]
                picked = there[chosen(seen, visits, asked.exploration, sign)]
                assert turn in picked.rounds
                chosen_again += len(there) > 1
                if _before(picked, turn).value is None or picked.leaf:
                    break
                above, visits = picked.node_id, _before(picked, turn).visits
    assert chosen_again > 20


def test_a_simulations_value_is_backed_up_with_its_factor(built: Any) -> None:
    build = built("groundedprm")
    tree = {node.node_id: node for node in build.rows(GROUNDED)}
    checked = 0
    for chain in grounded_chains(list(tree.values())).values():
        real = [node for node in chain if not node.simulated]
        behind = chain[len(real) :]
        if not behind:
            continue
        turn = behind[0].rounds[0]
        value = rollout_value([node.verdict for node in behind], chain[-1].correct)
        for distance, node in enumerate(reversed(real)):
            backed = node.backed[node.rounds.index(turn)]
            assert backed == pytest.approx(value * 0.9**distance)
        checked += len(real) > 1
    assert checked > 0


def _before(node: GroundedNode, turn: int) -> Choice:
    """What was known of a step when a round began."""
    backed = [value for at, value in zip(node.rounds, node.backed, strict=True) if at < turn]
    return Choice(sum(backed) / len(backed) if backed else None, len(backed), node.verdict)


def test_fovers_labels_are_z3s_and_its_export_is_last_step_balanced(built: Any) -> None:
    build = built("fover")
    texts = {problem.problem_id: problem for problem in build.problems}
    wrong = 0
    for row in build.kept:
        path, problem = build.paths[row.path_id], texts[row.problem_id]
        assert row.labels == decided(problem.text, tuple(path.steps))
        first = row.labels.index(False) if False in row.labels else None
        truth = check.first_error(problem, path.steps)
        # Z3 reads which gate is named, and that a sum adds; the checker judges numbers alone.
        assert truth is None or (first is not None and first <= truth)
        wrong += first is not None
    assert wrong > 0
    examples = build.rows(EXAMPLES)
    cut = last_step_balanced(examples)
    labels = Counter(row.error_labels[-1] for row in cut)
    assert labels[True] == labels[False] > 0
    whole = {example.path_id: example for example in examples}
    for last in cut:
        assert last.error_labels[:-1] == [None] * (len(last.error_labels) - 1)
        assert len(last.conversations) == 1 + 2 * len(last.error_labels)
        right = whole[last.path_id].labels[len(last.error_labels) - 1]
        assert last.error_labels[-1] == (not right)


@pytest.mark.parametrize(("name", "view"), [("fover", LAST_STEP), ("int", INTERVENTION)])
def test_its_view_loads_in_datasets(built: Any, name: str, view: View, tmp_path: Path) -> None:
    from datasets import load_dataset

    build = built(name)
    files = [
        file
        for file in assemble(build.run, view, described(build.run.spec.stages))
        if file.path.endswith(".parquet")
    ]
    for number, file in enumerate(files):
        data = build.run.store.get(f"{dataset_prefix(build.run.name)}{view.name}/{file.path}")
        (tmp_path / f"{number}.parquet").write_bytes(data)
    paths = [str(path) for path in tmp_path.glob("*.parquet")]
    loaded = load_dataset("parquet", data_files=paths, split="train", cache_dir=str(tmp_path / "c"))
    assert len(loaded) > 0
    turns = loaded[0]["conversations" if name == "fover" else "completion"]
    assert {"role", "content"} == set(turns[0])


def test_only_steps_up_to_the_first_error_and_one_that_helps_are_exported_for_int(
    built: Any,
) -> None:
    build = built("int")
    tried = build.rows(RETRIED)
    kept = {row.path_id: row for row in build.kept}
    for row in tried:
        path = build.paths[row.path_id]
        assert not path.correct
        assert row.step == kept[row.path_id].labels.index(False)
        assert (row.prefix, row.wrong) == (path.steps[: row.step], path.steps[row.step])
        assert row.n == 32 and row.kept == (row.c >= 1)
        assert row.reply_tokens <= 200
    exported = intervened(tried)
    assert [row.path_id for row in exported] == [row.path_id for row in tried if row.kept] != []
    for intervention, row in zip(exported, (row for row in tried if row.kept), strict=True):
        (said,) = intervention.completion
        assert said.content.endswith(f"Step {row.step + 1}: {row.replacement}")
        assert all(step not in said.content for step in build.paths[row.path_id].steps[-1:])
