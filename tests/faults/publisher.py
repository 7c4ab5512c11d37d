"""A process that does one thing to a run, to be stopped or killed at a fault point.

python -m tests.faults.publisher STORE shard SHARD TEXT    publish a shard of `sample`, say who won
python -m tests.faults.publisher STORE build               start the run, do all of it, finish
python -m tests.faults.publisher STORE work SEED           each shard of `sample`, in any order
python -m tests.faults.publisher STORE write               objects for ever, one line each
python -m tests.faults.publisher STORE full                a shard larger than any file may be
"""

from __future__ import annotations

import hashlib
import os
import random
import resource
import sys
from itertools import count

from storage.errors import StoreUnavailable
from storage.objects.opening import open_store
from storage.rows.kinds import PATHS
from storage.runs.run import Run
from tests.support.whole_run import QUICK, path, started, work_shard


def main(url: str, verb: str, *args: str) -> None:
    """Do it."""
    store = open_store(url)
    if verb == "shard":
        shard, text = int(args[0]), args[1]
        run = Run.open(store, "whole", QUICK)
        first = path(f"train/{3 * shard}", 0)
        receipt = run.publish(PATHS, shard, [first], role=text, counts={text: 1})
        print("won" if receipt.won else "adopted", receipt.attempt, flush=True)
    elif verb == "build":
        run = started(store)
        for shard in range(run.spec.plan.shards):
            for stage in run.spec.stages[1:]:
                if shard not in run.shards_of(stage):
                    work_shard(run, shard)
                    print("worked", shard, flush=True)
                    break
        run.finish()
    elif verb == "work":
        chance = random.Random(int(args[0]))
        run = Run.open(store, "whole")
        for shard in chance.sample(range(run.spec.plan.shards), run.spec.plan.shards):
            noise = chance.randrange(1_000_000)  # no two attempts sample the same
            receipt = run.publish(PATHS, shard, [path(f"train/{shard}", noise)])
            print(shard, receipt.attempt, receipt.sha256, flush=True)
    elif verb == "write":
        for number in count():
            data = os.urandom(1 << 20)
            name = hashlib.sha256(data).hexdigest()
            print(store.put_new(f"objects/{number:06d}-{name}", data).value, flush=True)
    elif verb == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            store.put_new("objects/large", os.urandom(1 << 20))
        except StoreUnavailable as error:
            print(error, flush=True)


main(*sys.argv[1:])
