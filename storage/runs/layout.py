"""The keys of a run's objects in its store.

    runs/{run}/spec.json
    runs/{run}/{stage}/data/{shard}-{digest}.parquet
    runs/{run}/{stage}/needed/{shard}-{digest}.parquet
    runs/{run}/{stage}/commits/{shard}.json
    runs/{run}/{stage}/summaries/{block}.json
    runs/{run}/_SUCCESS.json
    runs/{run}/dataset/...

Invariant: a key is a pure function of run, stage, shard and digest. Shards are numbered from 0.
Shard i of every stage is made from shard i of the input.
"""

from __future__ import annotations

import re

from storage.errors import ConfigurationError

DEFAULT_STORE = "file:.stepmill/store"
"""The default store, relative to the working folder."""
RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_run_name(run: str) -> str:
    """Return the name. Raises ConfigurationError if it can't be a folder and part of a URL."""
    if not RUN_NAME.fullmatch(run) or run.endswith("."):
        raise ConfigurationError(
            f"run name {run!r}: use letters, digits, dot, dash and underscore, at most 100, and "
            "begin with a letter or digit"
        )
    return run


def run_prefix(run: str) -> str:
    """The prefix of every key of a run."""
    return f"runs/{run}/"


def spec_key(run: str) -> str:
    """Key of the run's spec."""
    return f"runs/{run}/spec.json"


def launch_key(run: str) -> str:
    """Key of the configuration that first started the run; not part of the spec."""
    return f"runs/{run}/launch.json"


def stopped_key(run: str) -> str:
    """Key of the reason why the run stopped; removed when it goes on. For people only."""
    return f"runs/{run}/stopped.json"


def chain_key(run: str) -> str:
    """Key of the pilot's record, if the run's labels need a pilot."""
    return f"runs/{run}/chain.json"


def success_key(run: str) -> str:
    """Key of the object that marks the run as finished."""
    return f"runs/{run}/_SUCCESS.json"


def data_prefix(run: str, stage: str) -> str:
    """The prefix of a stage's data, committed or not."""
    return f"runs/{run}/{stage}/data/"


def data_key(run: str, stage: str, shard: int, sha256: str) -> str:
    """Key of the rows of one attempt at a shard."""
    return f"{data_prefix(run, stage)}{shard:06d}-{sha256}.parquet"


def needed_prefix(run: str, stage: str) -> str:
    """The prefix of what later stages read of a stage's rows, committed or not."""
    return f"runs/{run}/{stage}/needed/"


def needed_key(run: str, stage: str, shard: int, sha256: str) -> str:
    """Key of what later stages read of a shard's rows."""
    return f"{needed_prefix(run, stage)}{shard:06d}-{sha256}.parquet"


def spare_key(key: str, number: int) -> str:
    """The key of the same rows where `number` earlier keys can't be used."""
    folder, slash, name = key.rpartition("/")
    shard, dash, rest = name.partition("-")
    return f"{folder}{slash}{shard}{dash}{number}-{rest}" if number else key


def commit_prefix(run: str, stage: str) -> str:
    """The prefix of a stage's commits."""
    return f"runs/{run}/{stage}/commits/"


def commit_key(run: str, stage: str, shard: int) -> str:
    """Key of a shard's commit."""
    return f"{commit_prefix(run, stage)}{shard:06d}.json"


def summary_prefix(run: str, stage: str) -> str:
    """The prefix of a stage's summaries."""
    return f"runs/{run}/{stage}/summaries/"


def summary_key(run: str, stage: str, block: int) -> str:
    """Key of the summary of a block of shards."""
    return f"{summary_prefix(run, stage)}{block:06d}.json"


def dataset_prefix(run: str) -> str:
    """The prefix of the run's datasets."""
    return f"runs/{run}/dataset/"


def shard_of(key: str) -> int | None:
    """The shard that a data or commit key belongs to; None for a foreign object."""
    match = re.match(r"(\d{6,})((?:-\d)?-[0-9a-f]{64}\.parquet|\.json)$", key.rpartition("/")[2])
    return int(match.group(1)) if match else None
