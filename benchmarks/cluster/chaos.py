"""A build that is killed a hundred times: driver, actors, containers and nodes, at random.

    python -m benchmarks.chaos [--kills 100] [--seed N] [--problems N] [--json]
    python -m benchmarks.chaos --real [--kills 100] [--folder DIR --minutes 30]   the demo's models

A kill is SIGKILL to the driver, a worker of any role, the executor, a container, a whole node (its
raylet and all on it), an engine core (with real models) or a worker at a named point of its commit.
Kills wait for committed progress, never for a clock. When the driver is gone, the same command
continues the run. Shards are small, so that there are twice as many commits as kills. Real models
start slowly: after `--minutes` the script stops with exit code 3, and the same command goes on.

With scripted models the finished dataset must equal, byte for byte, that of a build without kills.
Only the card differs: it says what was spent. Real containers run the code; their seconds, the only
measured values in a row, are stored as 0. With real models, no commit made before a kill may
change. In both cases no row is lost or doubled (`audit`) and no container is left. Exit code 1 if
any of this fails.

Invariant: the kills follow from the seed; their exact moments depend on the machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import yaml

from launch.config import load
from storage.audit import audit
from storage.datasets.dataset import CARD, SUMS
from storage.datasets.download import download
from storage.fault_points import VARIABLE
from storage.objects.opening import open_store
from storage.runs.run import Run
from tests.faults.chaos_cards import REAL_WEIGHTS, WEIGHTS, deck, points
from tests.faults.chaos_game import Game, Kill
from tests.faults.chaos_record import RECORD, Played, begin, is_over
from tests.faults.chaos_victims import Nodes, containers
from tests.support.scripted_world import world_problems, write_problems
from workflows.runs.driving import standing
from workflows.runs.starting import start_run
from workflows.stages import STAGE_NAMES

ROOT = Path(__file__).parents[2]
SCRIPTED: dict[str, Any] = {
    "run": "chaos",
    "problems": "problems.jsonl",
    "shard_size": 2,
    "models": {
        role: {"kind": "scripted", "model": f"tests.scripted_models:{role}"}
        for role in ("policy", "completer", "rationale")
    },
    "stages": {
        "seed": 3,
        "sample": {"cap": 64},
        "estimate": {"k_hard": 16, "k_medium": 12, "k_easy": 8, "probe": 8},
    },
    "sandbox": {"slots": 2},
    "cluster": {"retry_pause_s": 0.2, "parallel_shards": 2, "workers_per_role": 1, "window": 4},
}
ENDING_S = 120.0
MOST_STOPS = 20
"""Ends of a driver that nobody killed, before the game is given up."""


@dataclass
class Report:
    """What came of it."""

    engine: str
    seed: int
    kills: list[Kill]
    commits: int
    seconds: float
    seconds_without: float | None
    stops: list[str] = field(default_factory=list)
    """Why a driver ended that nobody killed; the same command went on."""
    unexplained: list[str] = field(default_factory=list)
    """Tries that failed and no kill near them."""
    broken: list[str] = field(default_factory=list)
    """Promises that did not hold."""
    files: int = 0
    finished: bool = True


def scripted(folder: Path, problems: int) -> Path:
    """The configuration of the scripted build."""
    os.environ["STEPMILL_SCRIPTED_PROBLEMS"] = str(problems)
    write_problems(world_problems(problems), folder / "problems.jsonl")
    (folder / "build.yaml").write_text(yaml.safe_dump(SCRIPTED))
    return folder / "build.yaml"


def real(folder: Path, problems: int, kills: int) -> Path:
    """The demo's configuration, with its own problems, in shards enough for so many kills."""
    config = yaml.safe_load((ROOT / "configs/demo.yaml").read_text())
    shards = -(-2 * kills // len(STAGE_NAMES))
    size = max(1, min(config["shard_size"], problems // shards))
    config |= {"run": "chaos", "problems": "problems.jsonl", "shard_size": size}
    for model in config["models"].values():
        model["model"] = str((ROOT / "configs" / model["model"]).resolve())
    (folder / "build.yaml").write_text(yaml.safe_dump(config))
    world = [sys.executable, "-m", "demo.world", "--out", str(folder / "problems.jsonl")]
    subprocess.run([*world, "--problems", str(problems), "--seed", "1"], cwd=ROOT, check=True)
    return folder / "build.yaml"


def build(
    config: Path, store: str, nodes: Nodes, slots: int, game: Game, log: Path, until: float = inf
) -> tuple[bool, list[str]]:
    """Run the driver until the build is done (True) or until then (by the monotonic clock).

    Also returns why drivers ended that were not killed.
    """
    stops: list[str] = []
    command = [
        sys.executable, "-m", "tests.faults.chaos_driver", str(config), store, nodes.address,
        str(slots), *(["--timeless"] if game.timeless else []),
    ]  # fmt: skip
    while True:
        with open(log, "ab") as errors:
            driver = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )  # fmt: skip
        game.begin(driver.pid)
        assert driver.stdout is not None
        try:
            for line in driver.stdout:
                if line.startswith("{"):
                    game.play(json.loads(line))
                if time.monotonic() > until:
                    driver.send_signal(signal.SIGINT)
                    driver.communicate(timeout=ENDING_S)
                    return False, stops
        except BaseException:
            driver.kill()
            raise
        code = driver.wait()
        if code == 0:
            return True, stops
        if not game.driver_ended():
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            stops.append(f"exit code {code}: {''.join(last)[:300]}")
            print(f"  the driver stopped by itself: {stops[-1]}", file=sys.stderr, flush=True)
            if len(stops) > MOST_STOPS:
                raise SystemExit(f"given up after {len(stops)} stops; see {log}")


def start(config: Path, store: str) -> Run:
    """The run, with its problems stored."""
    loaded = load(config, store=store)
    return start_run(loaded, open_store(loaded.store), None)


def digests(run: Run, folder: Path) -> dict[str, str]:
    """Every data file of the downloaded dataset, and every commit's data; not the card, which
    says what was spent.
    """
    download(run, folder)
    by_file = {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name not in (CARD, SUMS)
    }
    for stage in run.spec.stages:
        by_file |= {f"{stage}/{c.shard}": c.sha256 for c in run.commits(stage)}
    return by_file


def play(
    folder: Path, kills: int, seed: int, problems: int, with_models: bool, minutes: float
) -> Report:
    """One build with its kills; before it, with scripted models, one without."""
    record = folder / RECORD
    played = Played.load(record) if record.exists() else None
    seed = played.seed if played else seed
    chance = random.Random(seed)
    config = real(folder, problems, kills) if with_models else scripted(folder, problems)
    slots = 1 if with_models else 3
    log = folder / "driver.log"
    without: float | None = None
    expected: dict[str, str] = {}
    if not with_models:
        store = f"file:{folder}/quiet"
        quiet = start(config, store)
        nodes = Nodes()
        began = time.monotonic()
        build(config, store, nodes, slots, Game(nodes, quiet, [], [], {}, True), log)
        without = time.monotonic() - began
        nodes.close()
        expected = digests(quiet, folder / "quiet-dataset")
        print(f"without kills: {without:.0f} s, {len(expected)} files", file=sys.stderr, flush=True)
    store = f"file:{folder}/store"
    run = start(config, store)
    total = run.spec.plan.shards * (len(run.spec.stages) - 1)
    cards = deck(kills, REAL_WEIGHTS if with_models else WEIGHTS, chance)
    marks = points(cards.count("point"), run, folder, chance)
    timed = [card for card in cards if card != "point"]
    due = sorted(chance.sample(range(1, max(len(timed) + 1, int(0.9 * total))), len(timed)))
    played = played or Played(seed, timed, due)
    os.environ[VARIABLE] = ";".join(f"{name}=kill-once:{path}" for path, name in marks.items())
    nodes = Nodes()
    began = time.monotonic()
    game = Game(nodes, run, played.cards, played.due, marks, not with_models)
    game.seen = {(commit.stage, commit.shard): commit for commit in played.seen}
    try:
        done, stops = build(config, store, nodes, slots, game, log, began + 60 * minutes)
        game.note_marks()
        left = containers(sorted(game.executors))
    finally:
        del os.environ[VARIABLE]
        nodes.close()
    played = played.after(game, time.monotonic() - began, stops)
    report = Report(
        "demo models" if with_models else "scripted", played.seed, played.kills, total,
        played.seconds, without, played.stops, played.unexplained, finished=done,
    )  # fmt: skip
    report.broken = broken(run, game, left)
    if not done:
        played.save(record)
        return report
    is_over(folder)
    if not standing(run).finished or run.success() is None:
        report.broken.append("the run is not finished")
    if len(report.kills) < kills:
        report.broken.append(f"{len(report.kills)} of {kills} kills happened")
    finished = digests(run, folder / "dataset")
    report.files = len(finished)
    if not with_models and finished != expected:
        differ = [
            name for name in finished.keys() | expected if finished.get(name) != expected.get(name)
        ]
        report.broken.append(f"the dataset differs: {sorted(differ)[:5]}")
    return report


def broken(run: Run, game: Game, left: list[int]) -> list[str]:
    """Promises that the run does not keep."""
    findings = [str(finding) for finding in audit(run).findings]
    findings += [
        f"commit {stage}/{shard} changed after it was seen"
        for (stage, shard), commit in game.seen.items()
        if run.commit(stage, shard) != commit
    ]
    findings += [f"container of process {pid} is left" for pid in left]
    return findings


def show(report: Report) -> None:
    """A table, and what held."""
    quiet = f" ({report.seconds_without:.0f} s without)" if report.seconds_without else ""
    kills = f"{len(report.kills)} kills over {report.commits} commits"
    print(f"{report.engine} engine, seed {report.seed}: {kills} in {report.seconds:.0f} s{quiet}")
    print(f"{'killed':<12}{'times':>6}{'shards':>8}{'lost s: median':>16}{'most':>8}{'tokens':>10}")
    kinds = Counter(kill.kind for kill in report.kills)
    for kind, times in sorted(kinds.items()):
        print(_line(kind, times, [kill for kill in report.kills if kill.kind == kind]))
    print(_line("all", len(report.kills), report.kills))
    for text in report.stops:
        print(f"stopped by itself and continued: {text}")
    for text in report.unexplained:
        print(f"failed near no kill: {text}")
    for text in report.broken:
        print(f"BROKEN: {text}")
    if not report.finished:
        print("not finished: the same command goes on")
    elif not report.broken:
        same = f"{report.files} files and shards as without kills, byte for byte; "
        print(
            ("" if report.seconds_without is None else same) + "nothing committed changed, kept "
            "and dropped add up to the plan, no row twice, no container left"
        )


def _line(name: str, times: int, kills: list[Kill]) -> str:
    seconds = [kill.seconds for kill in kills] or [0.0]
    shards = sum(kill.shards for kill in kills)
    tokens = statistics.median(kill.tokens for kill in kills) if kills else 0
    median, most = statistics.median(seconds), max(seconds)
    return f"{name:<12}{times:>6}{shards:>8}{median:>16.2f}{most:>8.1f}{tokens:>10,.0f}"


def main() -> None:
    """Play and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, help="default 100; 12 with --real")
    parser.add_argument("--seed", type=int, help="default: any")
    parser.add_argument("--problems", type=int, help="default 120; 96 with --real")
    parser.add_argument("--minutes", type=float, default=inf, help="stop after so many")
    parser.add_argument("--real", action="store_true", help="the demo's models and containers")
    parser.add_argument("--folder", type=Path, help="keep everything here")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.minutes < inf and (arguments.folder is None or not arguments.real):
        parser.error("--minutes needs --real, and --folder, where the rest is continued")
    # Whatever ends this must end the cluster too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    kills = arguments.kills if arguments.kills is not None else (12 if arguments.real else 100)
    problems = arguments.problems or (96 if arguments.real else 120)
    with tempfile.TemporaryDirectory(prefix="stepmill-chaos-") as folder:
        where = arguments.folder.resolve() if arguments.folder else Path(folder)
        where.mkdir(parents=True, exist_ok=True)
        asked = {"kills": kills, "problems": problems, "seed": arguments.seed}
        seed = begin(where, asked)["seed"]
        print(f"seed {seed}: again with --seed {seed}", file=sys.stderr, flush=True)
        report = play(where, kills, seed, problems, arguments.real, arguments.minutes)
    if arguments.json:
        print(json.dumps(asdict(report)))
    else:
        show(report)
    sys.exit(1 if report.broken else 0 if report.finished else 3)


if __name__ == "__main__":
    main()
