"""Several runs in one training: nothing twice, and nothing of what another run holds out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from actors.training.batches import Corpus
from storage.errors import ConfigurationError, SpecMismatch
from storage.objects.local import LocalStore
from storage.objects.store import ObjectStore
from storage.rows.records import Example, Message, Problem
from storage.runs.run import Run
from storage.trainings.training import Training
from tests.support.training_world import demo_tokenizer, example, exported, loaded, tiny_base
from workflows.training.corpus import CorpusSource
from workflows.training.settings import BetweenRuns, DataSettings, TrainConfig
from workflows.training.split import held_out_problems
from workflows.training.start import source_of, training_of

HELD = 0.25
LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


def solved(number: int, run: str, prefix: str = "p", text: str = "") -> tuple[Example, Problem]:
    """A problem of its own with one conversation on it. What it asks depends on `number` alone."""
    made = example(number, 2, None if number % 3 else 1, run)
    problem = Problem(f"{prefix}{number}", text or f"What is {number} plus 2?", "1")
    (system, first, *rest) = made.conversations
    step = first.content.partition("\n\n")[2]
    turns = [system, Message("user", f"Question: {problem.problem}\n\n{step}"), *rest]
    name = problem.problem_id
    return replace(made, conversations=turns, problem_id=name, path_id=f"{name}#0"), problem


def run_of(store: ObjectStore, name: str, made: Sequence[tuple[Example, Problem]]) -> Run:
    return exported(store, name, [one for one, _ in made], [problem for _, problem in made])


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore.at(tmp_path / "store")


def mixed(store: LocalStore, *runs: str, **between: str) -> Corpus:
    source = CorpusSource(
        store.url, "-".join(runs), "genprm", DataSettings(held_out=HELD), None, runs=runs,
        between=BetweenRuns(**between),  # type: ignore[arg-type]
    )  # fmt: skip
    return loaded(source)


def alone(store: LocalStore, run: str) -> Corpus:
    source = CorpusSource(store.url, run, "genprm", DataSettings(held_out=HELD), None)
    return loaded(source)


def asked(corpus: Corpus, *sides: str) -> list[str]:
    """The problems of the conversations, as their users ask them."""
    texts = (
        demo_tokenizer().decode(one.ids)
        for side in sides or ("train", "held_out")
        for one in getattr(corpus, side)
    )
    return sorted(text.partition("Question: ")[2].partition("?")[0] for text in texts)


def test_a_solution_of_two_runs_is_learnt_once_whatever_its_problem_is_called(
    store: LocalStore,
) -> None:
    run_of(store, "a", [solved(number, "a") for number in range(12)])
    run_of(store, "b", [solved(number, "b", "other-") for number in range(6, 18)])
    corpus = mixed(store, "a", "b")
    assert corpus.counts["read"] == 24
    assert corpus.counts["dropped_repeated"] == 6
    assert asked(corpus) == sorted(f"What is {number} plus 2" for number in range(18))
    assert not set(asked(corpus, "train")) & set(asked(corpus, "held_out"))
    kept = mixed(store, "a", "b", repeated="keep")
    assert (kept.counts["repeated"], kept.counts.get("dropped_repeated")) == (6, None)
    assert len(asked(kept)) == 24


def test_what_a_run_alone_holds_out_is_held_out_beside_others(store: LocalStore) -> None:
    run_of(store, "a", [solved(number, "a") for number in range(12)])
    run_of(store, "b", [solved(number, "b", "other-") for number in range(6, 18)])
    corpus = mixed(store, "a", "b", repeated="keep")
    held = {text for run in ("a", "b") for text in asked(alone(store, run), "held_out")}
    assert set(asked(corpus, "held_out")) == held
    assert len(held) == corpus.counts["problems_held_out"]
    # Of the six problems of both runs some are held out of one run only, by their names there.
    ours = held_out_problems([f"p{number}" for number in range(12)], HELD)
    theirs = held_out_problems([f"other-{number}" for number in range(6, 18)], HELD)
    moved = [n for n in range(6, 12) if (f"p{n}" in ours) != (f"other-{n}" in theirs)]
    assert corpus.counts["held_out_with_another_run"] == len(moved) > 0


def test_the_same_name_for_other_problems_means_nothing(store: LocalStore) -> None:
    run_of(store, "a", [solved(number, "a") for number in range(8)])
    other = [solved(number + 50, "b") for number in range(8)]
    renamed = [
        (replace(one, problem_id=f"p{n}", path_id=f"p{n}#0"), replace(problem, problem_id=f"p{n}"))
        for n, (one, problem) in enumerate(other)
    ]
    run_of(store, "b", renamed)
    corpus = mixed(store, "a", "b")
    assert len(asked(corpus)) == 16
    assert not {"dropped_repeated", "repeated", "contaminated"} & corpus.counts.keys()


@pytest.mark.parametrize("setting", ["drop", "keep"])
def test_a_problem_that_shares_words_with_what_another_run_holds_out_is_counted(
    setting: str, store: LocalStore
) -> None:
    first = [solved(number, "a") for number in range(8)]
    (name, *_) = sorted(held_out_problems([problem.problem_id for _, problem in first], HELD))
    number = int(name.removeprefix("p"))
    first[number] = solved(number, "a", text=f"Say {LONG} {number}?")
    run_of(store, "a", first)
    second = [solved(number + 20, "b", "other-") for number in range(8)]
    free = {f"other-{n + 20}" for n in range(8)} - held_out_problems(
        [problem.problem_id for _, problem in second], HELD
    )
    at = int(min(free).removeprefix("other-")) - 20
    second[at] = solved(at + 20, "b", "other-", text=f"Tell {LONG} times?")
    run_of(store, "b", second)
    corpus = mixed(store, "a", "b", contaminated=setting)
    counted = "dropped_contaminated" if setting == "drop" else "contaminated"
    assert corpus.counts[counted] == 1
    learnt = f"Tell {LONG} times" in asked(corpus, "train")
    assert learnt == (setting == "keep")
    # Alone nothing is held against it.
    assert f"Tell {LONG} times" in asked(alone(store, "b"), "train")


def config(store: LocalStore, base: Path, **names: object) -> TrainConfig:
    return TrainConfig(base=str(base), store=store.url, name="t", **names)  # type: ignore[arg-type]


def test_a_training_of_one_run_has_the_spec_that_it_always_had_and_of_several_binds_each(
    store: LocalStore, tmp_path: Path
) -> None:
    tiny_base(tmp_path / "base")
    for name, first in (("a", 0), ("b", 6)):
        run_of(store, name, [solved(number, name) for number in range(first, first + 8)])
    one = training_of(config(store, tmp_path / "base", run="a"), store).spec
    assert one == training_of(config(store, tmp_path / "base", runs=("a",)), store).spec
    written = json.loads(one.to_json())
    assert written.keys() == {"base", "dataset", "format", "run", "settings"}
    assert written["settings"].keys() == {"view", "chat_template", "data", "learning"}
    both = config(store, tmp_path / "base", runs=("a", "b"))
    spec = training_of(both, store).spec
    digests = [training_of(config(store, tmp_path / "base", run=name), store).spec.dataset
               for name in "ab"]  # fmt: skip
    assert spec.runs == (("a", digests[0]), ("b", digests[1]))
    Training.start(store, "t", spec)
    found = Training.find(store, "t")
    assert found is not None and found.spec == spec
    with pytest.raises(SpecMismatch, match=r"between_runs.repeated: stored \"drop\""):
        changed = replace(both, between_runs=BetweenRuns(repeated="keep"))
        Training.start(store, "t", training_of(changed, store).spec)
    with pytest.raises(SpecMismatch, match="runs: stored"):
        Training.start(store, "t", training_of(replace(both, runs=("b", "a")), store).spec)
    assert source_of(both).runs == ("a", "b")


@pytest.mark.parametrize(("names", "said"), [
    pytest.param({"run": "a", "runs": ("b",)}, "name one of `run`, `runs`", id="both"),
    pytest.param({}, "name one of `run`, `runs` and `conversations`", id="nothing"),
    pytest.param({"runs": ("a", "b", "a")}, "run 'a' is named twice", id="twice"),
])  # fmt: skip
def test_what_is_trained_on_is_said_once(
    names: dict[str, object], said: str, store: LocalStore, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        training_of(config(store, tmp_path, **names), store)
