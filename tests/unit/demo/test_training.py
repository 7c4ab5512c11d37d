"""Training: loss on replies alone, seeded, schedules that end, folders that load."""

import itertools
import random
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tokenizers import Tokenizer

from demo import check, corpus, pretrain, sampling, training, world
from demo.corpus import Document

SEED = 4

# Models this small gain nothing from a second thread, and lose much where other work wants it.
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def learnt() -> Tokenizer:
    return pretrain.learn_tokenizer(0)


def _stream(name: str, count: int) -> list[Document]:
    return list(itertools.islice(pretrain.documents(name, SEED), count))


def test_labels_cover_exactly_the_reply(learnt: Tokenizer) -> None:
    documents = [each for name in pretrain.ORDER for each in _stream(name, 50)]
    for document, (ids, labels) in zip(documents, training.encode(documents, learnt), strict=True):
        learnt_ids = [token for token in labels if token != -100]
        assert learnt.decode(learnt_ids, skip_special_tokens=False) == document.reply
        assert ids[-len(learnt_ids) :] == learnt_ids


def test_no_heldout_problem_is_read() -> None:
    rng = random.Random(SEED)
    for problem in itertools.islice(corpus.training_problems(rng), 500):
        assert world.split_of(problem.text) == "train"


def test_a_completer_never_learns_a_slip() -> None:
    # Replies never hold the first wrong step: given the prompt's steps as they are, each later
    # equation is the exact result of its own operands, whole-number division aside.
    for document in _stream("completer", 400):
        for claim in check.equations(document.reply):
            if claim.op not in {"/", "mod"}:
                assert check.is_exact(claim.left, claim.op, claim.right, claim.result), document


def test_a_policy_learns_slips_and_a_few_malformed_endings() -> None:
    documents = _stream("policy", 2000)
    boxless = sum("\\boxed" not in document.reply for document in documents)
    assert 0 < boxless < 0.05 * len(documents)


def test_the_writer_sees_right_and_wrong_solutions_about_equally() -> None:
    documents = _stream("rationale", 400)
    right = sum("\\boxed{-1}" in document.reply for document in documents)
    assert 150 < right < 250


def test_the_same_seed_trains_the_same_model_and_its_folder_loads(
    learnt: Tokenizer, tmp_path: Path
) -> None:
    shape = training.Shape(hidden=32, layers=1, heads=1, feed_forward=64)
    schedule = training.Schedule(steps=4, minutes=60, batch_tokens=400)
    losses = []
    for _ in range(2):
        model = training.new_model(shape, learnt, SEED)
        stream = pretrain.documents("policy", SEED)
        losses.append(training.train(model, stream, learnt, schedule, SEED, report=print))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    pretrain.save(model, learnt, tmp_path / "model")
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as stored:
        assert "lm_head.weight" not in list(stored.keys()), "it is the embedding"
    loaded, vocabulary = pretrain.load(tmp_path / "model")
    assert vocabulary.get_vocab() == learnt.get_vocab()
    for name, value in model.state_dict().items():
        assert torch.allclose(loaded.state_dict()[name], value, rtol=1e-2, atol=1e-3), name


def test_a_limit_in_minutes_ends_the_schedule(learnt: Tokenizer) -> None:
    shape = training.Shape(hidden=32, layers=1, heads=1, feed_forward=64)
    schedule = training.Schedule(steps=10**9, minutes=0.02, batch_tokens=400)
    model = training.new_model(shape, learnt, SEED)
    training.train(model, pretrain.documents("policy", SEED), learnt, schedule, SEED, report=print)


def test_paths_are_sampled_from_training_problems(learnt: Tokenizer) -> None:
    shape = training.Shape(hidden=32, layers=1, heads=1, feed_forward=64)
    model = training.new_model(shape, learnt, SEED)
    paths = sampling.policy_paths(model, learnt, SEED, count=4, batch=2)
    assert len(paths) == 4
    for path in paths:
        assert world.split_of(world.problem(path.problem_id).text) == "train"
