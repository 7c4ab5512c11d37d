"""The finished dataset of a run: a few Parquet files, a card and their checksums.

    runs/{run}/dataset/{view}/data/train-{i}-of-{n}-{digest}.parquet
    runs/{run}/dataset/{view}/README.md
    runs/{run}/dataset/{view}/chat_template.jinja     where the view has one
    runs/{run}/dataset/{view}/SHA256SUMS         create-only, last: lists the dataset's files

Invariant: a dataset holds its view of every committed shard once, in the order of the plan.
`SHA256SUMS` never changes, even if the assembly is repeated, interrupted or run twice at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.datasets.card import Described, dataset_card
from storage.datasets.view import CHAT_TEMPLATE, GENPRM, View
from storage.errors import ConfigurationError, NothingFound, ObjectCorrupt
from storage.objects.store import is_key
from storage.rows import schemas
from storage.rows.kinds import EXAMPLES, stage_rows
from storage.rows.parquet import check_digest, sha256_of
from storage.runs import layout
from storage.runs.commits import put_content
from storage.runs.documents import MOST_BYTES, MOST_DATA_BYTES, put_settled
from storage.runs.origin import origin_run
from storage.runs.pilot_record import pilot_record
from storage.runs.run import Run
from storage.runs.success import Success

FILE_BYTES = 64 * 1024 * 1024
"""Most committed bytes that go into one file, unless one shard is larger."""
GROUP_ROWS = 1_000
"""Rows after which a row group is closed; it holds whole shards."""
SUMS = "SHA256SUMS"
CARD = "README.md"


@dataclass(frozen=True, slots=True)
class DatasetFile:
    """One file of a dataset, by its path within the view's folder."""

    path: str
    sha256: str


def assemble(
    run: Run, view: View = GENPRM, stages: Sequence[Described] = ()
) -> tuple[DatasetFile, ...]:
    """Write a finished run's dataset to the store, unless it is there already; list its files.

    `stages`: the run's stages, for the card. Raises NothingFound for an unfinished run.
    """
    try:
        return dataset_files(run, view.name)
    except NothingFound:
        success = run.success()
    if success is None:
        raise NothingFound(f"run {run.name!r} is not finished: resume it first")
    check_view(run, view)
    prefix = f"{layout.dataset_prefix(run.name)}{view.name}/"
    files: list[DatasetFile] = []
    total = 0
    parts = list(packed(run, success, view))
    for number, shards in enumerate(parts):
        data, rows = _encode_part(run, view, shards)
        total += rows
        digest = sha256_of(data)
        path = f"data/train-{number:05d}-of-{len(parts):05d}-{digest[:12]}.parquet"
        put_content(run.store, prefix + path, data, digest, patience=run.patience)
        files.append(DatasetFile(path, digest))
    origin, pilot = origin_run(run), pilot_record(run.store, run.name)
    card = dataset_card(run.name, run.spec, success, view, total, stages, origin, pilot)
    data = card.encode("utf-8", "replace")  # a document of the store may hold a lone surrogate
    standing = put_settled(run.store, prefix + CARD, data, run.patience)
    files.append(DatasetFile(CARD, sha256_of(standing)))
    if view.chat_template:
        standing = put_settled(
            run.store, prefix + CHAT_TEMPLATE, view.chat_template.encode(), run.patience
        )
        files.append(DatasetFile(CHAT_TEMPLATE, sha256_of(standing)))
    sums = put_settled(run.store, prefix + SUMS, sums_of(files), run.patience)
    return files_from(prefix + SUMS, sums)


def check_view(run: Run, view: View) -> None:
    """Raise ConfigurationError if the view reads a stage that the run lacks."""
    if lacking := [s for s in view.reads if s not in (*run.spec.stages, *view.without)]:
        raise ConfigurationError(
            f"view {view.name!r} is made of stage {lacking[0]!r}, which run {run.name!r} has not: "
            "ask for another view"
        )


def dataset_files(run: Run, view: str) -> tuple[DatasetFile, ...]:
    """The files of an assembled dataset. Raises NothingFound if it is not assembled."""
    key = f"{layout.dataset_prefix(run.name)}{view}/{SUMS}"
    return files_from(key, run.store.get(key, MOST_BYTES))


def dataset_views(run: Run) -> set[str]:
    """Names of the views whose assembly was begun, finished or not."""
    prefix = layout.dataset_prefix(run.name)
    return set(run.store.folders(prefix))


def read_file(run: Run, view: str, file: DatasetFile) -> bytes:
    """A file's bytes, read twice if the digest differs. Raises ObjectCorrupt."""
    key = f"{layout.dataset_prefix(run.name)}{view}/{file.path}"
    data = run.store.get(key, MOST_DATA_BYTES)
    if sha256_of(data) != file.sha256:
        data = run.store.get(key, MOST_DATA_BYTES)
        check_digest(key, data, file.sha256)
    return data


def check_dataset(run: Run) -> Iterator[str]:
    """One sentence for each fault in the run's assembled datasets."""
    for view in sorted(dataset_views(run)):
        rows = 0
        try:
            for file in dataset_files(run, view):
                data = read_file(run, view, file)
                if file.path.endswith(".parquet"):
                    rows += pq.read_metadata(pa.BufferReader(data)).num_rows
        except NothingFound as error:
            yield f"{view} is incomplete: {error}"
            continue
        except ObjectCorrupt as error:
            yield str(error)
            continue
        if view == GENPRM.name and rows != (exported := run.totals(EXAMPLES.stage).rows):
            yield f"{view} has {rows} rows, the export {exported}"


def sums_of(files: list[DatasetFile]) -> bytes:
    """The text of SHA256SUMS, as `sha256sum -c` reads it."""
    return "".join(f"{file.sha256}  {file.path}\n" for file in files).encode()


def files_from(key: str, data: bytes) -> tuple[DatasetFile, ...]:
    """The files that `sums_of` listed. Raises ObjectCorrupt for any other text."""
    files = []
    for line in data.decode("utf-8", "replace").splitlines():
        match = re.fullmatch(r"([0-9a-f]{64})  ((?:[A-Za-z0-9_-]+/)?[A-Za-z0-9._-]+)", line)
        if match is None or not is_key(match.group(2)):
            raise ObjectCorrupt(f"{key} is no list of checksums: {line[:80]!r}")
        files.append(DatasetFile(match.group(2), match.group(1)))
    return tuple(files)


def packed(run: Run, success: Success, view: View) -> Iterator[list[int]]:
    """The shards of each file: as many as stay below `FILE_BYTES` of committed data."""
    part: list[int] = []
    size = 0
    stages = [run.named(stage, success) for stage in view.reads if stage in run.spec.stages]
    for shard, entries in enumerate(zip(*stages, strict=True)):
        more = sum(entry.bytes for entry in entries)
        if part and size + more > FILE_BYTES:
            yield part
            part, size = [], 0
        part.append(shard)
        size += more
    yield part


def _encode_part(run: Run, view: View, shards: list[int]) -> tuple[bytes, int]:
    """Encode the shards as one Parquet file and read it back; (bytes, rows)."""
    sink = pa.BufferOutputStream()
    rows = 0
    with pq.ParquetWriter(sink, schemas.schema_of(view.row_type), compression="zstd") as writer:
        held: list[pa.Table] = []
        for shard in shards:
            held.append(_table(run, view, shard))
            rows += held[-1].num_rows
            if sum(table.num_rows for table in held) >= GROUP_ROWS:
                writer.write_table(pa.concat_tables(held))
                held = []
        if held:
            writer.write_table(pa.concat_tables(held))
    data: bytes = sink.getvalue().to_pybytes()
    stored = sum(
        group.num_rows for group in pq.ParquetFile(pa.BufferReader(data)).iter_batches(GROUP_ROWS)
    )
    if stored != rows:
        raise ObjectCorrupt(f"a dataset file of {rows} rows holds {stored} once encoded")
    return data, rows


def _table(run: Run, view: View, shard: int) -> pa.Table:
    """A shard as a table of the view; the stored table itself if the view changes nothing."""
    if view is GENPRM:
        table = run.read_table(stage_rows(view.reads[0]), shard).replace_schema_metadata(None)
        if table.schema.equals(schemas.schema_of(view.row_type)):
            return table
    table = schemas.to_table(view.row_type, rows_in(run, view, shard))
    return schemas.completed(view.row_type, table, schemas.schema_of(view.row_type).names)


def rows_in(run: Run, view: View, shard: int) -> Sequence[Any]:
    """The view's rows of one committed shard. Raises NothingFound, ObjectCorrupt."""
    stored = (
        run.read_rows(stage_rows(stage), shard) if stage in run.spec.stages else []
        for stage in view.reads
    )
    return view.rows(*stored)
