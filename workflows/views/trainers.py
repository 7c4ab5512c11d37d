"""Views of step labels under the names that public trainers of reward models read.

    openrlhf   Math-Shepherd's form: one text with a mark behind each step, one label a mark.
    axolotl    `type: stepwise_supervised`, which is TRL's form too: the rows of `discriminative`.

Invariant: as many marks in a text as labels. A solution that writes the mark itself is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from storage.datasets.view import FOLDER, View
from storage.rows.records import Example, PathLabels, Problem
from workflows.formats.steps import header
from workflows.views.reward_models import DISCRIMINATIVE, step_labelled

MARK = "ки"
"""The mark of Math-Shepherd's dataset (arXiv 2312.08935), for which mathematics has no use."""
RIGHT, WRONG = "+", "-"


@dataclass(frozen=True, slots=True)
class Marked:
    """A solution that passed consensus as one text, with a label for each of its T marks."""

    input: str
    """Problem and steps, a mark behind each step."""
    value: list[str]
    """T hard labels: "+" or "-". Its reader takes soft ones too, and torch refuses what it does."""
    problem_id: str
    path_id: str


def marked(
    problems: Sequence[Problem], labels: Sequence[PathLabels], examples: Sequence[Example]
) -> list[Marked]:
    """A row per example, in their order, without those whose own text has the mark."""
    return [
        Marked(
            row.prompt
            + "".join(
                f"\n{header(number)}{step} {MARK}" for number, step in enumerate(row.completions, 1)
            ),
            [RIGHT if right else WRONG for right in row.labels],
            row.problem_id,
            row.path_id,
        )
        for row in step_labelled(problems, labels, examples)
        if MARK not in "".join((row.prompt, *row.completions))
    ]


OPENRLHF = replace(
    DISCRIMINATIVE,
    name="openrlhf",
    title=f"Solutions that passed consensus in Math-Shepherd's form: the mark `{MARK}` behind each "
    f"step, and in `value` a `{RIGHT}` or `{WRONG}` for each mark. Solutions that write the mark "
    "themselves are left out.",
    row_type=Marked,
    rows=marked,
    how=f"""\
With OpenRLHF 0.9.5, the last release that trains process reward models:

```sh
python -m openrlhf.cli.train_prm --pretrain BASE --dataset {FOLDER} --dataset_split train \\
  --input_key input --label_key value --placeholder_token {MARK} --reward_tokens {RIGHT} {WRONG}
```

The mark must be one token of the base's tokenizer, also behind a blank: so it is in Mistral's; add
it to another's as a special token.
""",
)
AXOLOTL = replace(
    DISCRIMINATIVE,
    name="axolotl",
    title="Solutions that passed consensus as Axolotl's `stepwise_supervised` reads them: steps in "
    "`completions`, a label for each in `labels`.",
    how=f"""\
With Axolotl 0.19, in its configuration:

```yaml
process_reward_model: true
num_labels: 2
datasets:
  - path: {FOLDER}
    split: train
    type: stepwise_supervised
    step_separator: "\\n\\n"
```
""",
)
TRAINERS: tuple[View, ...] = (OPENRLHF, AXOLOTL)
