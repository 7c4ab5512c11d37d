"""The README.md of a dataset on the hub: its views as configurations, licences, plots, figures.

The text is in `hub_card.md.jinja`, which ends as the card of a download does.

Invariant: a pure function of what it is given; the same push has the same card.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from huggingface_hub import DatasetCardData

from storage.datasets.card import TAGS, size_of, template
from storage.datasets.view import CHAT_TEMPLATE, FOLDER, View
from storage.plain_text import in_markdown

OURS = "stepmill"
"""The tag by which a repository is known to be one that was pushed from here."""


@dataclass(frozen=True, slots=True)
class HubView:
    """One configuration of the dataset on the hub."""

    name: str
    title: str
    rows: int
    lines: str = ""
    """Markdown: how trainers read it."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture of the card."""

    path: str
    caption: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Licence:
    """The licence of something that the dataset was made of."""

    what: str
    name: str
    licence: str


def hub_view(view: View, name: str, rows: int, repository: str, first: bool) -> HubView:
    """A view as the hub has it: its folder is `name`; only the first is read without a name."""
    lines = ""
    if view.trl:
        trl = view.trl.replace(f"{FOLDER}/{CHAT_TEMPLATE}", f"{name}/{CHAT_TEMPLATE}").strip()
        lines = f"With TRL, on a base model of yours:\n\n```python\n{trl}\n```\n"
    if view.chat_template:
        lines += (
            f"\n`hf download {repository} {name}/{CHAT_TEMPLATE} --repo-type dataset "
            "--local-dir .` fetches the template.\n"
        )
    if view.how and first:
        lines += "\n" + view.how.replace(FOLDER, repository)
    return HubView(name, view.title, rows, lines)


def hub_card(
    name: str,
    title: str,
    views: Sequence[HubView],
    licence: str,
    languages: Sequence[str],
    licences: Sequence[Licence],
    plots: Sequence[Plot],
    figures: dict[str, Any],
) -> str:
    """The card as Markdown. `views`: the default first. `figures`: of `storage.datasets.card`."""
    front_matter = DatasetCardData(
        language=list(languages),
        license=licence,
        pretty_name=title,
        tags=[*TAGS, OURS],
        size_categories=[size_of(views[0].rows)],
        configs=[
            {
                "config_name": view.name,
                "data_files": [{"split": "train", "path": f"{view.name}/*.parquet"}],
                **({"default": True} if number == 0 else {}),
            }
            for number, view in enumerate(views)
        ],
    ).to_yaml(line_break="\n")
    return template("hub_card.md.jinja").render(
        name=name,
        title=title,
        front_matter=front_matter,
        views=views,
        table_of_views=[(view.name, view.rows, view.title) for view in views],
        licence=licence,
        licences=[tuple(map(in_markdown, (of.what, of.name, of.licence))) for of in licences],
        plots=plots,
        **figures,
    )
