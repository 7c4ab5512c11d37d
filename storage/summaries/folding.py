"""Folds the receipts of a run's commits into summaries of whole blocks, as they come.

A thread of its own stores a block's summary once all of its shards are committed. Where too many
receipts would be held it forgets those of a block, and reads the commits once they are all there.
What it does not store, for whatever reason, the run's end does.

Invariant: it holds receipts of unfinished blocks alone, and `MOST_HELD` at most. It never delays or
stops the work.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from types import TracebackType

from storage.errors import StepmillError
from storage.runs.commits import Receipt
from storage.runs.run import Run
from storage.summaries.shards import ShardSet, block_of

MOST_HELD = 50_000
"""Receipts, some kilobytes each at most; a build in the order of its shards holds two blocks of
every stage."""
LEAVING_S = 5.0
"""Seconds that the end waits for summaries that are being stored."""

Block = tuple[str, int]


class Folding:
    """A context manager; give it every receipt, from any thread, more than once if need be."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._blocks = run.blocks
        self._open: dict[Block, dict[int, Receipt]] = {}
        self._forgotten: dict[Block, ShardSet] = {}
        """Committed shards of blocks without their receipts."""
        self._held = 0
        self._lock = threading.Lock()
        self._whole: SimpleQueue[tuple[Block, list[Receipt]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._store, name="summaries", daemon=True)

    def __enter__(self) -> Folding:
        if self._blocks.summed_up:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread.is_alive():
            self._whole.put(None)
            self._thread.join(LEAVING_S)

    def note(self, receipt: Receipt) -> None:
        """Take the receipt of a commit."""
        if not self._blocks.summed_up:
            return
        block = receipt.stage, block_of(receipt.shard)
        shards = len(self._blocks.shards_in(block[1]))
        with self._lock:
            if (committed := self._forgotten.get(block)) is not None:
                committed.add(receipt.shard)
                if len(committed) == shards:
                    del self._forgotten[block]
                    self._whole.put((block, []))
                return
            held = self._open.setdefault(block, {})
            self._held += receipt.shard not in held
            held[receipt.shard] = receipt
            if len(held) == shards:
                self._whole.put((block, self._let_go(block)))
            elif self._held > MOST_HELD:
                fewest = min(self._open, key=lambda other: len(self._open[other]))
                self._forgotten[fewest] = ShardSet(self._open[fewest])
                self._let_go(fewest)

    def _let_go(self, block: Block) -> list[Receipt]:
        receipts = self._open.pop(block)
        self._held -= len(receipts)
        return list(receipts.values())

    def _store(self) -> None:
        there: dict[str, list[int]] = {}
        while (whole := self._whole.get()) is not None:
            (stage, block), receipts = whole
            try:
                if stage not in there:
                    there[stage] = self._blocks.there(stage)
                if block not in there[stage]:
                    shards = self._blocks.shards_in(block)
                    receipts = receipts or list(self._run.receipts(stage, shards))
                    self._blocks.write(stage, block, receipts)
            except StepmillError:  # the work says so itself, and the run's end stores it
                continue
