"""The shapes in which a run's rows can be handed out: a view maps one shard's rows to other rows.

Invariant: a view is a pure function of one shard of committed rows, so that a dataset in another
shape costs no token; its name is the name of its folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from storage.rows.kinds import EXAMPLES
from storage.rows.records import Example

FOLDER = "path/to/this/folder"
"""Stands in a card for where a download lies."""
CHAT_TEMPLATE = "chat_template.jinja"
CHATML = (
    "{%- for message in messages %}{{- '<|im_start|>' + message['role'] + '\\n' }}"
    "{%- if message['role'] == 'assistant' %}"
    "{%- generation %}{{- message['content'] + '<|im_end|>' }}{%- endgeneration %}{{- '\\n' }}"
    "{%- else %}{{- message['content'] + '<|im_end|>\\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt or messages[-1]['role'] == 'user' %}"
    "{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
"""ChatML with the marks that trainers need to learn the assistant's words alone. It always asks for
an answer behind a user's turn: the authors' inference does not ask."""
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
    """Takes the shard's rows of each stage of `reads`, in that order."""
    reads: tuple[str, ...] = (EXAMPLES.stage,)
    without: tuple[str, ...] = ()
    """Those of `reads` that a run may lack: it has no rows of them."""
    trl: str = ""
    """Lines that train with TRL on `dataset`; "": it has no trainer for it."""
    chat_template: str = ""
    """A template that is handed out with the rows; "": none."""


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
