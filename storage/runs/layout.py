"""Where everything of a run lies in its store.

    runs/{run}/spec.json
    runs/{run}/{stage}/data/{shard}-{digest}.parquet
    runs/{run}/{stage}/commits/{shard}.json
    runs/{run}/_SUCCESS.json
    runs/{run}/dataset/...

Invariant: a key is a pure function of run, stage, shard and digest; shards are numbered from 0
and shard i of every stage descends from shard i of the problems.
"""

from __future__ import annotations

import re

from storage.errors import ConfigurationError

DEFAULT_STORE = "file:.stepmill/store"
"""Where runs are kept, relative to the working folder, unless a person says where."""
RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_run_name(run: str) -> str:
    """The name itself, if it can be a folder and part of a URL."""
    if not RUN_NAME.fullmatch(run) or run.endswith("."):
        raise ConfigurationError(
            f"run name {run!r}: use at most 100 letters, digits and ._- after a letter or digit"
        )
    return run


def run_prefix(run: str) -> str:
    """Every key of a run starts with this."""
    return f"runs/{run}/"


def spec_key(run: str) -> str:
    """What the run is."""
    return f"runs/{run}/spec.json"


def launch_key(run: str) -> str:
    """The configuration that the run was first started with: advice, not identity."""
    return f"runs/{run}/launch.json"


def stopped_key(run: str) -> str:
    """Why the run stopped last, until it goes on: for people, not for decisions."""
    return f"runs/{run}/stopped.json"


def chain_key(run: str) -> str:
    """What the run's pilot said when it was started, where its labels need one."""
    return f"runs/{run}/chain.json"


def success_key(run: str) -> str:
    """That the run is finished."""
    return f"runs/{run}/_SUCCESS.json"


def data_prefix(run: str, stage: str) -> str:
    """All data of a stage, committed or not."""
    return f"runs/{run}/{stage}/data/"


def data_key(run: str, stage: str, shard: int, sha256: str) -> str:
    """One attempt's rows."""
    return f"{data_prefix(run, stage)}{shard:06d}-{sha256}.parquet"


def commit_prefix(run: str, stage: str) -> str:
    """All commits of a stage."""
    return f"runs/{run}/{stage}/commits/"


def commit_key(run: str, stage: str, shard: int) -> str:
    """The commit point of a shard."""
    return f"{commit_prefix(run, stage)}{shard:06d}.json"


def dataset_prefix(run: str) -> str:
    """The finished dataset."""
    return f"runs/{run}/dataset/"


def shard_of(key: str) -> int | None:
    """The shard that a data or commit key belongs to; None for a foreign object."""
    match = re.match(r"(\d{6,})(-[0-9a-f]{64}\.parquet|\.json)$", key.rpartition("/")[2])
    return int(match.group(1)) if match else None
