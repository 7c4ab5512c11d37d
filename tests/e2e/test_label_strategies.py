"""Every strategy that only estimates: its shipped configuration, built on the scripted world."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest

from demo import check, world
from demo.truth import true_first_errors
from launch.config import load
from storage.audit import audit
from storage.datasets.dataset import assemble
from storage.errors import ConfigurationError
from storage.rows.kinds import (
    AGREEMENTS,
    EXAMPLES,
    LABELS,
    PATHS,
    PITS,
    PROVED,
    ROLLOUTS,
    TREE,
    stage_rows,
)
from tests.support.golden import check_golden
from tests.support.label_strategies import CONFIGS, NAMES, SCRIPTED, Build, configured
from workflows.builds.derive import plan_derivation
from workflows.formats import steps
from workflows.runs.driving import standing
from workflows.runs.starting import planned
from workflows.stages.label import by_path, state_values
from workflows.stages.pit import around_first_pit
from workflows.views.reward_models import DISCRIMINATIVE


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Build]:
    folder = tmp_path_factory.mktemp("strategies")
    return {name: Build(configured(name, folder / name)) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_strategy_builds_audits_clean_and_makes_examples(
    built: Mapping[str, Build], name: str
) -> None:
    build = built[name]
    assert standing(build.run).finished
    assert audit(build.run).findings == ()
    examples = build.rows(EXAMPLES)
    assert examples
    for example in examples:
        judged = [t.content for t in example.conversations if t.role == "assistant"]
        said = [text.endswith("$\\boxed{Yes}$\n</output>\n") for text in judged]
        assert said == example.labels


@pytest.mark.parametrize("name", NAMES)
def test_its_rows_are_the_golden_ones(built: Mapping[str, Build], name: str) -> None:
    check_golden(f"estimating {name}", built[name].run)


@pytest.mark.parametrize("name", NAMES)
def test_its_view_for_discriminative_models_has_a_label_and_a_value_per_step(
    built: Mapping[str, Build], name: str
) -> None:
    build = built[name]
    paths = {path.path_id: path for path in build.rows(PATHS)}
    values = {row.path_id: row.value for row in build.rows(LABELS)}
    found = 0
    for shard in range(build.run.spec.plan.shards):
        kinds = [stage_rows(stage) for stage in DISCRIMINATIVE.reads]
        rows_of = [build.run.read_rows(kind, shard) for kind in kinds]
        for row in DISCRIMINATIVE.rows(*rows_of):
            found += 1
            steps = len(row.completions)
            assert steps == len(row.labels) == len(row.soft_labels)
            assert row.values == values[row.path_id][:steps]
            if name != "omegaprm":  # a tree's steps are edges, of several sampled ones
                assert row.completions == paths[row.path_id].steps[:steps]
            assert not any(text.startswith("Question: ") for text in row.completions)
    assert found == build.run.totals("export").rows > 0
    assert assemble(build.run, DISCRIMINATIVE)


def test_hard_labels_after_the_first_zero_are_dropped(built: Mapping[str, Build]) -> None:
    labels = built["math_shepherd_hard"].rows(LABELS)
    assert any(row.first_error is not None for row in labels)
    for row in labels:
        assert row.first_error in (None, len(row.labels) - 1)
        assert len(row.mc) == len(row.labels) + 1


def test_soft_labels_after_the_first_zero_are_dropped_too(built: Mapping[str, Build]) -> None:
    build = built["math_shepherd_soft"]
    steps = {path.path_id: len(path.steps) for path in build.rows(PATHS)}
    labels = build.rows(LABELS)
    assert any(len(row.labels) < steps[row.path_id] for row in labels)
    for row in labels:
        assert 0 not in row.mc[1:-1]
        assert len(row.mc) == len(row.labels) + 1


def test_scan_spends_nothing_on_right_paths_nor_on_the_bare_problem(
    built: Mapping[str, Build],
) -> None:
    build = built["scan"]
    right = {p.path_id for p in build.rows(PATHS) if p.selected and p.correct}
    rollouts = build.rows(ROLLOUTS)
    assert right
    assert {row.path_id for row in rollouts} & right
    for row in rollouts:
        if row.path_id in right:
            assert (row.state, row.stop_rule) == (0, "right_answer")
        if row.state == 0:
            assert (row.shared, row.tokens) == (True, 0)
    for row in build.rows(LABELS):
        assert row.policy_pass_at_1 >= 0.3
        assert row.mc[0] == row.policy_pass_at_1
        if row.path_id in right:
            assert all(row.labels)
            assert set(row.value) == {1.0}


def test_scan_keeps_as_many_paths_with_an_error_as_without(built: Mapping[str, Build]) -> None:
    run = built["scan"].run
    for shard in range(run.spec.plan.shards):
        kept = [row for row in run.read_rows(AGREEMENTS, shard) if row.kept]
        wrong = sum(row.label_first_error is not None for row in kept)
        assert 2 * wrong == len(kept)


def test_a_tree_is_whole_and_its_searches_end_at_one_step(built: Mapping[str, Build]) -> None:
    build = built["omegaprm"]
    nodes = {node.node_id: node for node in build.rows(TREE)}
    selected = {p.path_id for p in build.rows(PATHS) if p.selected}
    leaves = {node.node_id for node in nodes.values() if node.leaf}
    assert selected <= leaves
    assert leaves - selected, "rollouts that were searched stay in the tree"
    assert sum(node.visits for node in nodes.values()) > 6
    for node in nodes.values():
        assert (node.parent_id is None) == (node.steps == [])
        if node.parent_id is not None:
            assert not nodes[node.parent_id].leaf
        if not node.leaf:
            assert node.mc == node.c / node.n
        if not node.leaf and node.c == 0:
            assert node.source_rollout in leaves, "a dead state lies on the rollout it was found on"
    labels = {row.path_id: row for row in build.rows(LABELS)}
    assert labels.keys() == leaves
    for name, row in labels.items():
        chain = [nodes[name]]
        while (above := chain[0].parent_id) is not None:
            chain.insert(0, nodes[above])
        assert row.mc == [node.mc for node in chain][: len(row.mc)] or 0 in row.mc
        assert row.form == "soft"
        assert row.value == row.mc[1:]
    for example in build.rows(EXAMPLES):
        assert len(example.labels) == len(example.mc) - 1


def test_the_truth_of_a_trees_path_is_the_edge_that_holds_its_first_wrong_step(
    built: Mapping[str, Build],
) -> None:
    build = built["omegaprm"]
    nodes = {node.node_id: node for node in build.rows(TREE)}
    wrong = 0
    truths = true_first_errors(build.run)
    assert {row.path_id for row in build.rows(LABELS)} == truths.keys()
    for path in build.rows(PATHS):
        if path.path_id not in truths:
            continue
        first = check.first_error(world.problem(path.problem_id), path.steps)
        chain = [nodes[path.path_id]]
        while (above := chain[0].parent_id) is not None:
            chain.insert(0, nodes[above])
        edge = truths[path.path_id]
        assert (edge is None) == (first is None)
        if edge is not None and first is not None:
            before = sum(len(node.steps) for node in chain[: edge + 1])  # the root has none
            assert before <= first < before + len(chain[edge + 1].steps)
            wrong += 1
    assert wrong > 3


def test_a_search_that_halves_tokens_ends_its_states_inside_of_steps(tmp_path: Path) -> None:
    build = Build(configured("omegaprm", tmp_path, search={"halve": "tokens", "edge": 2}))
    assert audit(build.run).findings == ()
    nodes = {node.node_id: node for node in build.rows(TREE)}
    inside = dead = 0
    for node in nodes.values():
        if node.parent_id is None:
            continue
        chain = [node]
        while (above := chain[0].parent_id) is not None:
            chain.insert(0, nodes[above])
        text = steps.header(1).rstrip() + "".join(part for each in chain for part in each.steps)
        state = steps.read(text).steps
        if node.leaf:
            assert "\\boxed" in state[-1]
        else:
            inside += not state[-1].endswith(".")
            whole = state if state[-1].endswith(".") else state[:-1]
            wrong = check.first_error(world.problem(node.problem_id), list(whole)) is not None
            dead += wrong and node.mc == 0
    assert inside > 3
    assert dead > 3
    truths = true_first_errors(build.run)
    assert truths.keys() == {row.path_id for row in build.rows(LABELS)}
    assert any(edge is not None for edge in truths.values())


def test_a_tree_is_grown_anew_where_its_rollouts_are_sampled_otherwise(
    built: Mapping[str, Build],
) -> None:
    source = built["omegaprm"]
    stages = source.config.stages
    hotter = dataclasses.replace(
        stages, estimate=dataclasses.replace(stages.estimate, temperature=1.0)
    )
    asked = planned(dataclasses.replace(source.config, stages=hotter), None).spec
    found = plan_derivation("hotter", source.run.store.url, asked, source.run)
    assert "search" in found.anew
    assert "sample" not in found.anew


def test_pavs_q_is_the_base_policys_own_and_its_value_adds_the_provers_advantage(
    built: Mapping[str, Build],
) -> None:
    shipped = load(CONFIGS / "pav.yaml").models
    assert shipped.policy and shipped.completer
    assert shipped.policy.model == shipped.completer.model
    labels = built["pav"].rows(LABELS)
    assert labels
    for row in labels:
        assert row.q_pi == row.mc
        assert row.q_mu == pytest.approx([1 - (1 - q) ** 4 for q in row.q_pi])
        after = zip(row.q_pi[1:], row.adv_mu, strict=True)
        assert row.value == pytest.approx([q + advantage for q, advantage in after])


def test_a_prover_beside_the_q_of_another_model_than_the_policy_is_refused(tmp_path: Path) -> None:
    config = configured("pav", tmp_path)
    stronger = dataclasses.replace(SCRIPTED, model="stronger")
    models = dataclasses.replace(config.models, completer=stronger)
    with pytest.raises(ConfigurationError, match="the base policy's own Q"):
        planned(dataclasses.replace(config, models=models), None)


def test_stage_pit_lists_the_states_around_each_first_pit_and_labels_read_them(
    built: Mapping[str, Build],
) -> None:
    build = built["pav"]
    rolled = by_path(build.rows(ROLLOUTS))
    listed = {row.path_id: row for row in build.rows(PITS)}
    labels = {row.path_id: row for row in build.rows(LABELS)}
    paths = {path.path_id: path for path in build.rows(PATHS)}
    asked = getattr(build.config.stages, PITS.stage)
    two = 0
    for name, label in labels.items():
        n, mc = state_values(paths[name], rolled[name])
        around = around_first_pit(mc, asked)
        assert listed[name].states == [row.state for row in listed[name].rollouts] == around
        assert label.n == [
            made + (asked.rollouts if state in around else 0) for state, made in enumerate(n)
        ]
        two += len(around) == 2
    assert two > 2
    seeds = {row.seed for rows in rolled.values() for row in rows}
    assert seeds.isdisjoint(row.seed for pit in listed.values() for row in pit.rollouts)


def test_another_model_as_prover_has_a_stage_and_rows_of_its_own(tmp_path: Path) -> None:
    config = configured("pav", tmp_path, prover="model")
    road = ("sample", "estimate", "prover", "label", "consensus", "export")
    stages = dataclasses.replace(config.stages, road=road)
    models = dataclasses.replace(config.models, prover=SCRIPTED)
    build = Build(dataclasses.replace(config, stages=stages, models=models))
    assert audit(build.run).findings == ()
    ours, theirs = build.rows(ROLLOUTS), build.rows(PROVED)
    assert {row.seed for row in ours}.isdisjoint(row.seed for row in theirs)
    labels = build.rows(LABELS)
    assert labels
    assert any(row.q_mu != row.q_pi for row in labels)
    for row in labels:
        assert sum(row.adv_mu) == pytest.approx(row.q_mu[-1] - row.q_mu[0])
