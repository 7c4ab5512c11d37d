"""GenPRM's own form, byte for byte: what is exported is that, and what is that can be trained on.

The texts are ours; their form is that of the authors' dataset and of what their inference forces.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.training.events import Event, Place
from actors.training.loop import train
from actors.training.settings import LearningSettings
from launch.config import load_training
from storage.errors import ConfigurationError, InputError, ItemError
from storage.objects.local import LocalStore
from storage.rows.records import CodeRun, Problem, Rationale
from storage.rows.records import Path as SampledPath
from tests.support.training_world import demo_tokenizer, losses, notes_of, prepared, tiny_base
from workflows.formats.conversation import example_of
from workflows.training.mask import masker_for
from workflows.training.released import example_from
from workflows.training.start import start_training

SYSTEM = (
    "You are a math teacher. Your task is to review and critique the paragraphs in solution step "
    "by step."
)
PROBLEM = "A rope of 12 m is cut into 3 equal parts.\n\nHow long is each of them, in cm?"
STEPS = ["Each part is $12 / 3 = 4$ m long.", "That is $4 \\cdot 10 = 40$ cm.\n\nSo \\boxed{40}."]
FIRST = r"""<analyze>
Let's analyze the Paragraph 1 step by step: It is cut into 3 equal parts, so 12 is divided by 3.

No error is found here.
</analyze>
<verify>
Let's use python code to find any potential error:
```python
part = 12 / 3
print(part)
```
[Code Output]

```
4.0
```
The output agrees with 4 m.
</verify>
<output>
**Judgement**: $\boxed{Yes}$
</output>
"""
SECOND = r"""<analyze>
Let's analyze the Paragraph 2 step by step: A metre has 100 cm, and not 10.
</analyze>
<verify>
Let's use python code to find any potential error:
```python
print(part * 100)
```
[Code Output]

```
400.0
```
It should be 400 cm.
Wait, is the answer right at least?
```python
print(part * 10 == 40, part * 100 == 40)
```
[Code Output]

```
True False
```
It is not.
</verify>
<output>
**Judgement**: $\boxed{No}$
</output>
"""
ROW = {
    "conversations": [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": f"Question: {PROBLEM}\n\n{STEPS[0]}"},
        {"role": "assistant", "content": FIRST},
        {"role": "user", "content": STEPS[1]},
        {"role": "assistant", "content": SECOND},
    ]
}
OUTPUTS = ["4.0", "400.0", "True False"]


def block(code: str, output: str) -> str:
    return f"```python\n{code}\n```\n[Code Output]\n\n```\n{output}\n```\n"


ANALYSES = [
    "It is cut into 3 equal parts, so 12 is divided by 3.\n\nNo error is found here.",
    "A metre has 100 cm, and not 10.",
]
CODE = [
    "part = 12 / 3\nprint(part)",
    "print(part * 100)",
    "print(part * 10 == 40, part * 100 == 40)",
]
VERIFICATIONS = [
    block(CODE[0], OUTPUTS[0]) + "The output agrees with 4 m.",
    block(CODE[1], OUTPUTS[1])
    + "It should be 400 cm.\nWait, is the answer right at least?\n"
    + block(CODE[2], OUTPUTS[2])
    + "It is not.",
]


def exported(analyses: list[str], verifications: list[str]) -> list[dict[str, str]]:
    """The conversation that a run exports of a rationale that says this."""
    path = SampledPath(
        path_id="p#0", problem_id="p", index=0, round=0, text="", finish_reason="stop",
        steps=STEPS, answer="40", correct=False, valid=True, invalid_reason=None,
        duplicate_of=None, selected=True, tokens=1, seed=0,
    )  # fmt: skip
    runs = [
        CodeRun(step, code, output, "ok", 0.1, 0.0)
        for step, code, output in zip((0, 1, 1), CODE, OUTPUTS, strict=True)
    ]
    rationale = Rationale(
        path_id="p#0", problem_id="p", analyses=analyses, verifications=verifications,
        executions=runs, votes=[1], text="", code_rounds=3, finish_reason="stop", model="R",
        seed=0, tokens=1,
    )  # fmt: skip
    made = example_of(Problem("p", PROBLEM, "400"), path, [True, False], [], rationale, {}, "run")
    return [{"role": turn.role, "content": turn.content} for turn in made.conversations]


def test_what_is_exported_is_the_released_form_byte_for_byte() -> None:
    assert exported(ANALYSES, VERIFICATIONS) == ROW["conversations"]


@pytest.mark.parametrize("announced", ["Let me compute it:", "With Python:\n", "\n\nCode:\n\n"])
def test_a_line_that_announces_the_first_block_is_said_by_the_lead_in(announced: str) -> None:
    made = exported(ANALYSES, [f"{announced}\n{text}" for text in VERIFICATIONS])
    assert made == ROW["conversations"]


def test_what_is_said_before_the_first_block_ends_the_analysis() -> None:
    analyses = [ANALYSES[0].removesuffix("\n\nNo error is found here."), ANALYSES[1]]
    said = f"No error is found here.\nCheck:\n\n{VERIFICATIONS[0]}"
    assert exported(analyses, [said, VERIFICATIONS[1]]) == ROW["conversations"]


def test_an_output_before_the_first_block_is_not_moved_out_of_sight() -> None:
    made_up = f"```\n4.0\n```\nso:\n{VERIFICATIONS[0]}"
    with pytest.raises(ItemError, match="not_executed"):
        exported(ANALYSES, [made_up, VERIFICATIONS[1]])


def test_a_released_row_says_its_labels_and_what_was_executed() -> None:
    example = example_from(ROW, 3)
    assert (example.labels, example.first_error) == ([True, False], 1)
    assert [(run.step, run.code, run.output) for run in example.executions] == [
        (step, code, output) for step, code, output in zip((0, 1, 1), CODE, OUTPUTS, strict=True)
    ]
    masked = masker_for(demo_tokenizer(), False).conversation(example, 10_000)
    learnt = demo_tokenizer().decode(masked.ids[masked.own])
    assert learnt == "".join(
        text + "<|im_end|>" for text in (without_outputs(FIRST), without_outputs(SECOND))
    )


def without_outputs(text: str) -> str:
    for output in OUTPUTS:
        text = text.replace(f"[Code Output]\n\n```\n{output}\n```\n", "")
    return text


def changed(old: str, new: str) -> dict[str, Any]:
    return json.loads(json.dumps(ROW).replace(json.dumps(old)[1:-1], json.dumps(new)[1:-1]))


BROKEN: dict[str, Any] = {
    "no conversations": {"messages": ROW["conversations"]},
    "conversations of texts": {"conversations": ["Question: 1?"]},
    "no verdict": changed("**Judgement**: $\\boxed{No}$", "**Judgement**: No"),
    "another word": changed("\\boxed{No}", "\\boxed{Maybe}"),
    "parts out of order": changed("<verify>", "<check>"),
    "an answer missing": {"conversations": ROW["conversations"][:-1]},
    "nothing": {"conversations": []},
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_row_of_another_form_has_a_reason(case: str) -> None:
    with pytest.raises(ItemError, match="bad_format: row 7"):
        example_from(BROKEN[case], 7)


def write_parquet(rows: list[Any], file: Path) -> None:
    pq.write_table(pa.Table.from_pylist(rows), file)


def write_lines(rows: list[Any], file: Path) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("name", "write", "view"),
    [("train.parquet", write_parquet, "genprm"), ("train.jsonl", write_lines, "cot")],
)
def test_a_file_of_the_released_form_trains_from_the_store(
    name: str, write: Callable[..., None], view: str, tmp_path: Path
) -> None:
    rows = [changed("12", str(12 + 3 * number)) for number in range(12)]
    write([*rows, changed("Judgement", "Verdict")], tmp_path / name)
    tiny_base(tmp_path / "base")
    (tmp_path / "train.yaml").write_text(
        f"conversations: ./{name}\nview: {view}\nbase: ./base\nstore: file:{tmp_path}/store\n"
    )
    config = replace(
        load_training(tmp_path / "train.yaml"),
        learning=LearningSettings(
            epochs=4, batch=4, rate=3e-3, precision="float32", packing=False, seed=1
        ),
    )
    assert config.training == f"train-{view}"
    training = start_training(config, LocalStore.at(tmp_path / "store"))
    (tmp_path / name).unlink()  # workers read it from the store
    events: list[Event] = []
    train(prepared(config, training), Place(), events.append)
    notes = notes_of(training)
    counts = notes["counts"]
    assert (counts["read"], counts["dropped_bad_format"], counts["problems_held_out"]) == (13, 1, 1)
    assert losses(notes)[-1] < losses(notes)[0]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("base: b", "name one of `run`, `runs` and"),
        (
            "base: b\nrun: r\nconversations: c.parquet",
            "name one of `run`, `runs` and",
        ),
    ],
)
def test_a_training_has_one_source(lines: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text(lines)
    with pytest.raises(ConfigurationError, match=said):
        load_training(tmp_path / "train.yaml")


@pytest.mark.parametrize(
    ("name", "said"), [("rows.txt", "is no .parquet"), ("rows.parquet", "can't be read")]
)
def test_a_file_that_cant_be_read_is_said_in_one_line(name: str, said: str, tmp_path: Path) -> None:
    tiny_base(tmp_path / "base")
    (tmp_path / "train.yaml").write_text(
        f"conversations: {name}\nbase: ./base\nstore: file:{tmp_path}/store\n"
    )
    with pytest.raises(InputError, match=said):
        start_training(load_training(tmp_path / "train.yaml"), LocalStore.at(tmp_path / "store"))
