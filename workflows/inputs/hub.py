"""Rows of a dataset of the Hugging Face Hub, through `datasets`, which keeps them in its cache.

    hf://datasets/NAME[@REVISION][?config=NAME&split=NAME]
    hf://datasets/NAME/FILE                   one file of its repository

Invariant: whatever keeps a dataset from being had is one line.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from storage.errors import InputError, first_line
from workflows.inputs.places import File, opened

SCHEME = "hf://"
_OPTIONS = ("config", "split")
_BATCH = 1024


class Dataset:
    """What a URL of the hub names."""

    def __init__(self, url: str) -> None:
        """Raises InputError for another form."""
        parts = urlsplit(url)
        path = parts.path.strip("/").split("/")
        self.options = dict(parse_qsl(parts.query))
        if parts.netloc != "datasets" or not path[0] or self.options.keys() - set(_OPTIONS):
            raise InputError(f"{url}: write hf://datasets/NAME[@REVISION][?config=…&split=…]")
        owned = "/".join(path[:2])
        self.name, _, revision = owned.partition("@")
        self.revision = revision or None
        self.file = "/".join(path[2:])
        self.url = url


def hub_rows(url: str) -> tuple[str, Iterator[tuple[str, Any]]]:
    """(what is read, its rows with their places). Raises InputError."""
    import datasets
    from huggingface_hub import constants

    from actors.models.hub import unreachable

    of = Dataset(url)
    said = unreachable()
    if said and not constants.HF_HUB_OFFLINE:
        raise InputError(f"{url}: {said}, or set HF_HUB_OFFLINE=1 to read what was fetched before")
    datasets.disable_progress_bars()
    for library in ("datasets", "huggingface_hub"):
        logging.getLogger(library).setLevel(logging.ERROR)
    with _explained(of, said):
        config = of.options.get("config")
        found = datasets.load_dataset(of.name, config, revision=of.revision)
    splits = list(found)
    split = of.options.get("split") or ("train" if "train" in splits else splits[0])
    if split not in splits:
        raise InputError(f"{url}: has no split {split!r}, only {', '.join(splits)}")
    if len(splits) > 1 and split != "train" and "split" not in of.options:
        raise InputError(f"{url}: has the splits {', '.join(splits)}: add ?split= and one of them")
    others = [name for name in splits if name != split]
    beside = f" (also there: {', '.join(others)})" if others else ""
    return f"{url}, split {split}{beside}", _rows(found[split])


def hub_file(url: str) -> File | None:
    """The file of a repository that a URL names; None where it names the dataset."""
    from huggingface_hub import hf_hub_download

    from actors.models.hub import unreachable

    of = Dataset(url)
    if not of.file:
        return None
    said = unreachable()
    with _explained(of, said):
        path = hf_hub_download(of.name, of.file, repo_type="dataset", revision=of.revision,
                               local_files_only=bool(said))  # fmt: skip
    return File(url, partial(opened, Path(path)))


def _rows(split: Any) -> Iterator[tuple[str, Any]]:
    number = 0
    for table in split.with_format("arrow").iter(_BATCH):
        for row in table.to_pylist():
            number += 1
            yield f"row {number}", row


@contextmanager
def _explained(of: Dataset, said: str) -> Iterator[None]:
    """What the two libraries raise, as one line."""
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import HfHubHTTPError, RemoteEntryNotFoundError

    try:
        yield
    except DatasetNotFoundError as error:
        hint = said or "correct its name, or set HF_TOKEN for one that is private or gated"
        raise InputError(f"{of.url}: the hub has no dataset {of.name}: {hint}") from error
    except RemoteEntryNotFoundError as error:
        raise InputError(f"{of.url}: it has no {of.file}") from error
    except (OSError, ValueError, RuntimeError, HfHubHTTPError) as error:
        if "config" in str(error).casefold() and "pick one" in str(error).casefold():
            raise InputError(f"{of.url}: {_configs(str(error))}") from error
        raise InputError(f"{of.url}: {said or 'can not be read: ' + first_line(error)}") from error


def _configs(text: str) -> str:
    """`Config name is missing. Please pick one among …: ['main', 'socratic']` -> what to add."""
    names = text.partition("[")[2].partition("]")[0].replace("'", "")
    return f"has the configurations {names}: add ?config= and one of them"
