"""What a row costs beside its tokens: ours, a bare asyncio loop, and other pipelines.

    python -m benchmarks.peers [--only ours,floor,...] [--rows 500,4000] [--kill 2000]

One OpenAI-compatible server answers every request after 20 ms. Every tool asks it for the same
rows, one sample each, with 64 in flight, and stores the answers in its own way. Figures:

    CPU ms a row   slope between the two numbers of rows, over all processes of the tool, without
                   the cost of the start.
    peak memory    the sum of resident memory over its processes, at the larger number of rows.
    asked again    requests that came twice, after all was killed (SIGKILL) in the middle and the
                   same command repeated; for ours also whether any belonged to a committed shard.

Each peer has its own virtual environment under .stepmill/peers, made at first use (network needed,
some 5 GB in all). A peer that can't be installed or does not finish is reported. `--remove` removes
the environments afterwards.

Invariant: all figures of one call come from one machine, one server and one set of rows. A tool's
figure counts every process that it started.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.ports import free_port

RUNNERS = Path(__file__).parent / "runners"
CACHE = Path(".stepmill/peers")
MARK = "STEPMILL_PEER"
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
SHARD = 100
POLL_S = 0.1


@dataclass(frozen=True)
class Tool:
    """One pipeline."""

    name: str
    runner: str
    packages: tuple[str, ...] = ()
    """What its environment holds; none: the project's own."""


TOOLS = (
    Tool("floor", "floor.py"),
    Tool("ours", "ours.py"),
    Tool(
        "datatrove",
        "datatrove_runner.py",
        ("datatrove[io]==0.10.1", "aiofiles", "httpx", "aiosqlite", "xxhash", "orjson", "pyyaml",
         "pandas", "typer"),
    ),
    Tool("data-designer", "data_designer_runner.py", ("data-designer==0.9.6",)),
    Tool("curator", "curator_runner.py", ("bespokelabs-curator==0.1.31",)),
    Tool("distilabel", "distilabel_runner.py", ("distilabel[openai]==1.5.3", "requests", "pillow")),
    Tool("ray.data", "ray_data.py"),
    Tool("ray.data.llm", "ray_data_llm.py"),
)  # fmt: skip


class Family:
    """A process and everything it started, found by a mark in the environment."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._mark = uuid.uuid4().hex
        self._cpu: dict[int, float] = {}
        self._strangers: set[int] = {os.getpid()}
        self.peak_mb = 0.0
        environment = os.environ | {
            MARK: self._mark, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{Path.cwd()}:{RUNNERS}",
            "RAY_AUTH_MODE": "disabled",
        }  # fmt: skip
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=environment,
                start_new_session=True,
            )  # fmt: skip

    def finished(self) -> bool:
        """Whether the command itself has ended; samples its family first."""
        self._sample()
        return self._process.poll() is not None

    @property
    def code(self) -> int | None:
        """Its exit code."""
        return self._process.poll()

    @property
    def cpu_s(self) -> float:
        """Processor seconds of all members, the gone ones as last seen."""
        return sum(self._cpu.values())

    def kill(self) -> None:
        """SIGKILL to all members, until none is left."""
        while members := list(self._members()):
            for pid in members:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.poll()
            time.sleep(POLL_S)

    def _sample(self) -> None:
        resident = 0.0
        for pid in self._members():
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                self._cpu[pid] = (int(fields[11]) + int(fields[12])) / TICK
                resident += int(fields[21]) * PAGE / 2**20
        self.peak_mb = max(self.peak_mb, resident)

    def _members(self) -> Iterator[int]:
        mark = f"{MARK}={self._mark}".encode()
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) in self._strangers:
                continue
            try:
                ours = mark in Path(f"/proc/{entry}/environ").read_bytes()
                state = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if ours and state != "Z":
                yield int(entry)
            elif not ours and int(entry) not in self._cpu and state != "Z":
                self._strangers.add(int(entry))


@dataclass(frozen=True)
class Ran:
    """One whole run."""

    cpu_s: float
    peak_mb: float
    seconds: float


class Failed(Exception):
    """A tool can't be installed, fails or does not end."""


class Bench:
    """One server and the tools."""

    def __init__(self, folder: Path, limit_s: float) -> None:
        self._folder = folder
        self._limit_s = limit_s
        self._port = free_port()
        self._server = subprocess.Popen(
            [sys.executable, str(RUNNERS / "server.py"), str(self._port)],
            stdout=subprocess.DEVNULL,
        )
        self._wait_for_server()

    def close(self) -> None:
        """Stop the server."""
        self._server.kill()
        self._server.wait()

    def whole(self, tool: Tool, rows: int) -> Ran:
        """Run a tool to its end. Raises Failed where rows are missing."""
        self._ask("/forget", post=True)
        out = self._out(tool, f"{rows}")
        started = time.monotonic()
        family = self._start(tool, rows, out)
        self._until(family, lambda: False)
        seen = self._ask("/seen")
        if family.code != 0 or seen["prompts"] < rows:
            raise Failed(f"exit code {family.code}, {seen['prompts']} of {rows} rows: {_last(out)}")
        ran = Ran(family.cpu_s, family.peak_mb, time.monotonic() - started)
        family.kill()
        return ran

    def killed(self, tool: Tool, rows: int) -> str:
        """Kill a run in its middle, repeat the command; says what was asked again."""
        self._ask("/forget", post=True)
        out = self._out(tool, "killed")
        family = self._start(tool, rows, out)
        self._until(family, lambda: self._ask("/seen")["requests"] >= rows // 2)
        family.kill()
        time.sleep(0.2)
        before = self._ask("/seen")["requests"]
        finished = SHARD * len(list(out.glob("store/runs/*/sample/commits/*.json")))
        again = self._start(tool, rows, out)
        try:
            self._until(again, lambda: False)
            code = again.code
        except Failed:
            code = None
        again.kill()
        seen = self._ask("/seen")
        if code != 0:
            return f"does not continue: {_last(out)}" if code else "hangs"
        repeated = f"{seen['requests'] - seen['prompts']} of {before}"
        if finished:
            twice = seen["requests"] - before - (rows - finished)
            repeated += f" ({finished} rows stood in finished shards; {twice} of those again)"
        return repeated

    def _start(self, tool: Tool, rows: int, out: Path) -> Family:
        url = f"http://127.0.0.1:{self._port}/v1"
        command = [
            str(python_of(tool)), str(RUNNERS / tool.runner),
            "--rows", str(rows), "--url", url, "--out", str(out),
        ]  # fmt: skip
        return Family(command, out / "log.txt")

    def _until(self, family: Family, enough: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self._limit_s
        try:
            while not family.finished() and not enough():
                if time.monotonic() > deadline:
                    raise Failed(f"not finished in {self._limit_s:.0f} s")
                time.sleep(POLL_S)
        finally:  # nothing outlives its run, whoever ends it
            if family.code is None:
                family.kill()

    def _out(self, tool: Tool, name: str) -> Path:
        out = self._folder / tool.name / name
        out.mkdir(parents=True)
        return out

    def _wait_for_server(self) -> None:
        for _ in range(300):
            with contextlib.suppress(OSError):
                self._ask("/seen")
                return
            time.sleep(0.1)
        raise SystemExit("the server does not come up")

    def _ask(self, route: str, post: bool = False) -> dict[str, int]:
        url = f"http://127.0.0.1:{self._port}{route}"
        request = urllib.request.Request(url, method="POST" if post else "GET")
        with urllib.request.urlopen(request, timeout=60) as reply:
            answer: dict[str, int] = json.load(reply)
        return answer


def _last(out: Path) -> str:
    lines = (out / "log.txt").read_text(errors="replace").strip().splitlines()
    return lines[-1][:160] if lines else "it said nothing"


def python_of(tool: Tool) -> Path:
    """The interpreter of a tool's environment, which is made at first use."""
    if not tool.packages:
        return Path(sys.executable)
    home = CACHE / tool.name
    python = home / "bin" / "python"
    if not (home / ".ready").exists():
        print(f"installing {tool.name}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        installed = subprocess.run(
            [str(python), "-m", "pip", "install", "-q", *tool.packages],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if installed.returncode:
            raise Failed(f"not installed: {(installed.stderr.strip().splitlines() or ['?'])[-1]}")
        (home / ".ready").touch()
    return python


def measured(bench: Bench, tool: Tool, few: int, many: int, kill: int) -> str:
    """One line of the table."""
    try:
        python_of(tool)
        small, large = bench.whole(tool, few), bench.whole(tool, many)
    except Failed as trouble:
        return f"{tool.name:14} {trouble}"
    cost = 1e3 * (large.cpu_s - small.cpu_s) / (many - few)
    try:
        again = bench.killed(tool, kill)
    except Failed as trouble:
        again = str(trouble)
    return (
        f"{tool.name:14} {cost:8.2f} {small.cpu_s:9.1f} {large.peak_mb:8.0f} "
        f"{large.seconds:8.1f}   {again}"
    )


def main() -> None:
    """Measure and print one line per tool as soon as it is known."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [tool.name for tool in TOOLS]
    parser.add_argument("--only", default=",".join(names), help="tools, separated by commas")
    parser.add_argument("--rows", default="500,4000", help="the two numbers of rows")
    parser.add_argument("--kill", type=int, default=2000, help="rows of the run that is killed")
    parser.add_argument("--limit", type=float, default=600, help="seconds that a run may take")
    parser.add_argument("--folder", type=Path, default=None, help="where outputs lie meanwhile")
    parser.add_argument("--remove", action="store_true", help="remove the environments at the end")
    arguments = parser.parse_args()
    few, many = (int(part) for part in arguments.rows.split(","))
    chosen = arguments.only.split(",")
    if unknown := [name for name in chosen if name not in names]:
        parser.error(f"{unknown[0]} is not one of {', '.join(names)}")
    head = ("CPU ms/row", "start CPU s", "peak MB", "seconds")
    print(f"{'tool':14} {head[0]} {head[1]} {head[2]} {head[3]}   asked again after SIGKILL")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        bench = Bench(Path(folder), arguments.limit)
        try:
            for tool in TOOLS:
                if tool.name in chosen:
                    print(measured(bench, tool, few, many, arguments.kill), flush=True)
        finally:
            bench.close()
    if arguments.remove:
        shutil.rmtree(CACHE, ignore_errors=True)


if __name__ == "__main__":
    main()
