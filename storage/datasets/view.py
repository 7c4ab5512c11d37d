"""A view is a shape of the dataset: it maps the rows of one shard to rows of that shape.

Invariant: a view is a pure function of one shard of committed rows, so another shape costs no
token. The view's name is the name of its folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from storage.rows.kinds import EXAMPLES
from storage.rows.records import Example

FOLDER = "path/to/this/folder"
"""Placeholder in a card for the folder of a download."""
CHAT_TEMPLATE = "chat_template.jinja"
CHATML = (
    "{%- for message in messages %}{{- '<|im_start|>' + message['role'] + '\\n' }}"
    "{%- if message['role'] == 'assistant' %}"
    "{%- generation %}{{- message['content'] + '<|im_end|>' }}{%- endgeneration %}{{- '\\n' }}"
    "{%- else %}{{- message['content'] + '<|im_end|>\\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt or messages[-1]['role'] == 'user' %}"
    "{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
"""ChatML with the marks by which trainers learn only the assistant's words. It always adds a
generation prompt after a user's turn, because the authors' inference code asks for none."""
_SFT = f"""\
from trl import SFTConfig, SFTTrainer
rows = dataset.select_columns(["conversations"]).rename_column("conversations", "messages")
SFTTrainer("BASE", args=SFTConfig("OUT", assistant_only_loss=True, chat_template_path="{FOLDER}/\
{CHAT_TEMPLATE}", max_length=8192), train_dataset=rows).train()
"""


@dataclass(frozen=True, slots=True)
class View:
    """One shape of the dataset."""

    name: str
    title: str
    """One sentence for the dataset card."""
    row_type: type[Any]
    """A dataclass of the kind that `storage.rows.schemas` understands."""
    rows: Callable[..., Sequence[Any]]
    """The mapping: its arguments are the shard's rows of each stage of `reads`, in order."""
    reads: tuple[str, ...] = (EXAMPLES.stage,)
    without: tuple[str, ...] = ()
    """Stages of `reads` that a run may lack; the mapping gets no rows of them."""
    trl: str = ""
    """Python lines that train with TRL on `dataset`; "": TRL has no trainer for it."""
    how: str = ""
    """Markdown for the card: how another trainer than TRL reads it; "": nothing to say."""
    chat_template: str = ""
    """A chat template to store beside the rows; "": none."""


def conversations(name: str, title: str, rows: Callable[..., Sequence[Any]]) -> View:
    """A view of examples as conversations."""
    return View(name, title, Example, rows, trl=_SFT, chat_template=CHATML)


GENPRM = conversations(
    "genprm",
    "Conversations in GenPRM's format: a user turn per solution step, an assistant turn "
    "that judges it with a boxed Yes or No, after the analysis and executed Python that the run "
    "has of it.",
    lambda examples: examples,
)
