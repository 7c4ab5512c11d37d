"""What later stages read of a shard's rows, where that is much less than all of them.

A problem may have 2,048 samples, of which eight are selected. So beside the rows of a stage whose
kind says what is `needed` of them there may be a second object with that alone, in the same schema.
Its digest stands in the shard's commit.

Invariant: it follows from the rows. Whoever finds none reads the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from storage.rows.kinds import stage_rows
from storage.rows.parquet import EncodedShard, encode_shard

LESS = 0.5
"""Most of the rows' bytes that what is needed may have, to be stored apart."""


def encode_needed(stage: str, rows: Sequence[Any], encoded: EncodedShard) -> bytes:
    """The bytes of what is needed of a shard's rows; empty where it is not stored apart."""
    kind = stage_rows(stage)
    if kind.needed is None:
        return b""
    data = encode_shard(kind.record, kind.needed(rows)).data
    return data if len(data) < LESS * len(encoded.data) else b""
