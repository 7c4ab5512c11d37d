r"""How does a served verifier bear a thousand clients at once, and what dies under them?

    python -m benchmarks.serving MODEL [--at-once 1000] [--replicas 2] [--set KEY=VALUE]
        [--rounds replica,clients]
    python -m benchmarks.serving tests.scripted_verifier:verifier \
        --set models.verifier.kind=scripted

Starts `stepmill serve` as a process and sends it, each time, `--at-once` requests at the same time.
The first round is always `quiet`; `--rounds` names the others:

    quiet      nothing happens
    replica    one replica is killed with SIGKILL while they are at work
    boxes      every container (or bubblewrap process) with code in it is killed
    engine     the container engine goes away while they are at work, and is back behind them
    clients    every second client goes away once all are in
    stop       the server is told to stop

A row says how many were answered, with the rewards of the quiet round (within `--tolerance`, since
vLLM is not batch-invariant) or with others; how many were refused in the form; and how many got
anything else. Of others it says where they part from the quiet round's: at a sampled `text`, at
what the same `code` printed, or at a `reward` alone. The last line says what was left of the
server's processes and containers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from demo import solutions, world
from tests.scripted_verifier import world_responses
from tests.support.boxes import boxes_of, kill_boxes
from tests.support.engine_proxy import EngineProxy, engine_proxy
from tests.support.served_process import TOKEN, Served, served
from tests.support.serving_load import GONE, Became, ask_at_once, asked_while, metrics

ROUNDS = ("replica", "boxes", "engine", "clients", "stop")
HABITS = solutions.Habits(slip=0.15)
SCRIPT = "tests.scripted_verifier:verifier"


@dataclass(frozen=True)
class Round:
    """What a round of requests became."""

    what: str
    became: Became
    seconds: float
    other: Counter[str]
    """Answers with other rewards than those of the quiet round, by where they part from it."""

    @property
    def row(self) -> dict[str, Any]:
        """As JSON."""
        waits = sorted(self.became.seconds) or [0.0]
        return {
            "round": self.what,
            "answered": len(self.became.answers),
            "other_rewards": self.other.total(),
            "parted_at": dict(self.other),
            "refused": dict(self.became.refused),
            "wrong": len(self.became.wrong),
            "seconds": round(self.seconds, 1),
            "median_s": round(statistics.median(waits), 1),
            "p99_s": round(waits[int(0.99 * (len(waits) - 1))], 1),
            "tokens": self.became.tokens,
        }


History = Mapping[str, Any]


def parted_at(histories: Sequence[History], before: Sequence[History]) -> str:
    """Where an answer with other rewards parts from an earlier one: `text`, `code` or `reward`."""

    def parts(history: History) -> Iterator[tuple[str, Any]]:
        for step in range(len(history["rewards"])):
            runs = [run for run in history["executions"] if run["step"] == step]
            yield "text", (history["analyses"][step], [run["code"] for run in runs])
            yield "code", [(run["verdict"], run["output"]) for run in runs]
            yield "text", history["verifications"][step]

    pairs = (
        pair
        for one, other in zip(histories, before, strict=False)
        for pair in zip(parts(one), parts(other), strict=False)
    )
    return next((what for (what, one), (_, other) in pairs if one != other), "reward")


def bodies(model: str, count: int) -> list[dict[str, Any]]:
    """Requests for solutions of the demo world, right ones and wrong ones."""
    if model == SCRIPT:  # it knows few problems, and draws its doubts by the name
        given = world_responses()
        pairs = [(given[at % len(given)].problem, given[at % len(given)].steps)
                 for at in range(count)]  # fmt: skip
    else:
        problems = list(world.sample(count, 7, "heldout"))
        rng = random.Random(0)
        pairs = [(each.text, list(solutions.write(each, HABITS, rng).steps)) for each in problems]
    return [
        {"id": f"r{at}", "problem": problem, "steps": steps}
        for at, (problem, steps) in enumerate(pairs)
    ]


def rounds(server: Served, proxy: EngineProxy, asked: argparse.Namespace) -> Iterator[Round]:
    """All of them, in order."""
    questions = bodies(asked.model, asked.at_once)
    quiet = Became()

    def done(what: str, asking: Callable[[], Any]) -> Round:
        began = time.monotonic()
        became: Became = asyncio.run(asking())
        seconds = time.monotonic() - began
        if not quiet.answers:
            quiet.answers.update(became.answers)
            quiet.histories.update(became.histories)
        others = became.other_than(quiet.answers, asked.tolerance)
        for line in [*became.wrong[:3], *list(others.values())[:9]]:
            print(f"  {what}: {line}", file=sys.stderr)
        parted = (parted_at(became.histories[each], quiet.histories[each]) for each in others)
        return Round(what, became, seconds, Counter(parted))

    def during(act: Callable[[], Any]) -> Callable[[], Any]:
        half = asked.at_once / 2
        return partial(asked_while, server.url, TOKEN, questions, act, half)

    (executor,) = server.pids("CodeExecutor")
    yield done("quiet", partial(ask_at_once, server.url, TOKEN, questions))
    if "replica" in asked.rounds:
        victim = server.pids(":Replica")[0]
        yield done("replica", during(partial(os.kill, victim, signal.SIGKILL)))
    if "boxes" in asked.rounds:
        yield done("boxes", during(partial(kill_boxes, executor)))
    if "engine" in asked.rounds:
        yield done("engine", during(proxy.cut))
        proxy.join()
    if "clients" in asked.rounds:
        leaving = frozenset(range(0, asked.at_once, 2))
        yield done("clients", partial(ask_at_once, server.url, TOKEN, questions, leaving))
        gone = asyncio.run(metrics(server.url, TOKEN))[GONE]
        print(f"clients that went away, as the server counted them: {gone:.0f}", file=sys.stderr)
    family = server.family()
    stop = partial(server.process.send_signal, signal.SIGTERM)
    if "stop" in asked.rounds:
        yield done("stop", during(stop))
    else:
        stop()
    code = server.process.wait(300)
    psutil.wait_procs(family, timeout=30)
    left = [each for each in family if each.is_running()]
    boxes = asyncio.run(boxes_of(executor))
    print(f"exit code {code}; processes left: {len(left)}, containers left: {len(boxes)}")


def main() -> None:
    """Serve, hurt, and print a row for each round."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--at-once", type=int, default=1000)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--rounds", default=",".join(ROUNDS))
    parser.add_argument("--tolerance", type=float, default=0.0)
    parser.add_argument("--set", action="append", default=[], help="as stepmill serve takes it")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the server ends with this process
    asked.rounds = frozenset(asked.rounds.split(","))
    if unknown := asked.rounds.difference(ROUNDS):
        parser.error(f"--rounds: there is no {min(unknown)!r}: any of {', '.join(ROUNDS)}")
    if Path(asked.model).is_dir():
        asked.model = str(Path(asked.model).resolve())
    with tempfile.TemporaryDirectory() as folder, engine_proxy() as proxy:
        more = [word for value in asked.set for word in ("--set", value)]
        began = time.monotonic()
        with served(
            Path(folder), asked.model, "--replicas", str(asked.replicas),
            "--set", f"sandbox.docker_host={proxy.address}", "--set", "serve.grace_s=1800",
            "--set", "serve.answer_s=1800", *more,
        ) as server:  # fmt: skip
            print(f"open after {time.monotonic() - began:.0f} s", flush=True)
            for each in rounds(server, proxy, asked):
                print(json.dumps(each.row), flush=True)


if __name__ == "__main__":
    main()
