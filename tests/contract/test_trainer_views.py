"""Downloaded views in the hands of the trainers that they are named for: their own code reads them.

What runs is each trainer's own module, fetched and unchanged (`tests.support.trainers`), in the
versions that tests/support/trainers.txt pins.
"""

from __future__ import annotations

import asyncio
import json
import re
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from storage.datasets.download import download
from storage.datasets.view import View
from storage.rows.kinds import EXAMPLES
from tests.support.built_tokenizers import qwen
from tests.support.scripted_build import Build, configure
from tests.support.trainers import ROOT, module, package, stand_in
from workflows.runs.run import finish
from workflows.views.catalogue import VIEWS
from workflows.views.trainers import MARK, RIGHT, WRONG, marked


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    build = Build(configure(tmp_path_factory.mktemp("built")))
    asyncio.run(build.work())
    finish(build.run)
    return build.run


@pytest.fixture
def tokenizer() -> Any:
    tokenizer = deepcopy(qwen())
    tokenizer.add_special_tokens({"additional_special_tokens": [MARK]})
    return tokenizer


def rows_of(view: View, run: Any, folder: Path, patch: pytest.MonkeyPatch) -> Any:
    import datasets

    patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
    download(run, folder / "out", view)
    return datasets.load_dataset(str(folder / "out"), split="train")


def test_openrlhf_finds_a_label_at_each_mark(
    run: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(VIEWS["openrlhf"], run, tmp_path, monkeypatch)
    for name in ("openrlhf", "openrlhf.utils", "openrlhf.datasets"):
        package(monkeypatch, name)
    asked = printed(tmp_path / "out" / "README.md")
    reads = SimpleNamespace(
        args=SimpleNamespace(
            input_key=asked["input_key"], label_key=asked["label_key"], use_ms=False,
            placeholder_token=asked["placeholder_token"],
            reward_tokens=asked["reward_tokens"].split(),
        ),
        print=lambda *said: None, is_rank_0=lambda: False,
    )  # fmt: skip
    blending = module(monkeypatch, "openrlhf.datasets.utils").blending_datasets
    read = blending(str(tmp_path / "out"), None, reads, dataset_split=asked["dataset_split"])
    assert list(read) == list(rows)
    dataset = module(monkeypatch, "openrlhf.datasets.process_reward_dataset").ProcessRewardDataset(
        read, tokenizer, 100_000, reads
    )

    assert len(dataset) == len(rows) == run.totals(EXAMPLES.stage).rows > 0
    signs = {tokenizer.convert_tokens_to_ids(sign): sign for sign in (RIGHT, WRONG)}
    for (ids, _, labels), row in zip(dataset, rows, strict=True):
        at = labels[0] != -100
        assert ids[0][at].tolist() == [tokenizer.convert_tokens_to_ids(MARK)] * len(row["value"])
        assert [signs[label] for label in labels[0][at].tolist()] == row["value"]
    assert {sign for row in rows for sign in row["value"]} == {RIGHT, WRONG}


def printed(card: Path) -> dict[str, str]:
    """The options of the command that a card prints."""
    command = re.findall(r"```sh\n(.*?)```", card.read_text(), re.DOTALL)[0].replace("\\\n", " ")
    return {
        name: value.strip()
        for name, value in re.findall(r"--(\S+)((?: (?!--)\S+)+)", re.sub(r" +", " ", command))
    }


def test_a_solution_that_writes_the_mark_is_left_out(run: Any) -> None:
    stored = [run.read_rows(kind, 0) for kind in _kinds()]
    whole = marked(*stored)
    problems = [
        _with(row, problem=row.problem + f" {MARK}") if row.problem_id == whole[0].problem_id
        else row
        for row in stored[0]
    ]  # fmt: skip
    left = marked(problems, *stored[1:])
    assert left == [row for row in whole if row.problem_id != whole[0].problem_id]


def test_axolotl_puts_each_label_at_the_end_of_its_step(
    run: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(VIEWS["axolotl"], run, tmp_path, monkeypatch)
    for name in ("axolotl", "axolotl.prompt_strategies"):
        package(monkeypatch, name)
    stand_in(monkeypatch, "axolotl.prompt_tokenizers", IGNORE_INDEX=-100)
    stand_in(monkeypatch, "axolotl.utils")
    stand_in(monkeypatch, "axolotl.utils.dict", DictDefault=dict)
    stepwise = module(monkeypatch, "axolotl.prompt_strategies.stepwise_supervised")
    reads = stepwise.StepwiseSupervisedPromptTokenizingStrategy(
        tokenizer, sequence_len=0, step_separator="\n\n"
    )
    assert len(rows) == run.totals(EXAMPLES.stage).rows > 0
    for row in rows:
        made = reads.tokenize_prompt(row)
        shown = row["prompt"] + "".join(f"{step}\n\n" for step in row["completions"])
        assert tokenizer.decode(made["input_ids"]) == shown
        assert [label for label in made["labels"] if label != -100] == list(map(int, row["labels"]))
    card = (tmp_path / "out" / "README.md").read_text()
    assert "type: stepwise_supervised" in card and 'step_separator: "\\n\\n"' in card


@pytest.mark.parametrize("view", ["genprm", "cot", "code", "direct"])
def test_llama_factory_reads_conversations_by_the_entry_that_the_docs_print(
    view: str, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(VIEWS[view], run, tmp_path, monkeypatch)
    entry = json.loads(
        re.findall(r"```json\n(.*?)```", (ROOT / "docs/reuse.md").read_text(), re.DOTALL)[0]
    )
    for name in ("llamafactory", "llamafactory.data", "llamafactory.extras"):
        package(monkeypatch, name)
    stand_in(
        monkeypatch, "llamafactory.extras.constants", RUNNING_LOG="log", DATA_CONFIG="info.json"
    )
    stand_in(
        monkeypatch, "llamafactory.extras.misc",
        use_modelscope=lambda: False, use_openmind=lambda: False,
    )  # fmt: skip
    (attributes,) = module(monkeypatch, "llamafactory.data.parser").get_dataset_list(
        ["stepmill"], entry
    )
    convert = module(monkeypatch, "llamafactory.data.converter").SharegptDatasetConverter(
        attributes, None
    )
    for row in rows:
        read = convert(row)
        turns = [{"role": "system", "content": read["_system"]}, *read["_prompt"],
                 *read["_response"]]  # fmt: skip
        assert turns == row["conversations"]


def _kinds() -> Any:
    from storage.rows.kinds import LABELS, PROBLEMS

    return PROBLEMS, LABELS, EXAMPLES


def _with(row: Any, **changed: Any) -> Any:
    from dataclasses import replace

    return replace(row, **changed)
