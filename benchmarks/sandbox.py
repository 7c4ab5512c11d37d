"""Scripts per second through our sandbox, against the ways in which others run a script.

    python -m benchmarks.sandbox [--seconds 20] [--out results.json]
    python -m benchmarks.sandbox --blocks [--rounds 8]    CPU of a block, the supervisor's included

The ways run on one machine, with two slots and one script at a time per slot: `ours` (per backend),
`docker run` per script, `docker exec` into a warm container, and a bare `python` subprocess. Then
come sessions of eight blocks, and the time that ours adds to the script's own.

Invariant: the ways take turns in slices, so that a load on the machine hits all of them. Every
script's answer is checked, and a wrong one stops the benchmark.

`--blocks` is for comparing two versions, in turn. It prints medians of rounds of a session's blocks
under bubblewrap, whose processes' CPU is added up: nothing; half a second's sleep; the same
with five threads and twenty pipes, all of which the supervisor looks at every 50 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import psutil

from actors.sandbox import Backend, Limits, Request, SandboxSettings, open_sandbox
from actors.sandbox.docker.box import description, start, try_image
from actors.sandbox.docker.engine import find_engine
from actors.sandbox.docker.image import ensure_image
from actors.sandbox.image.rootfs import PYTHON, build_root, state_dir
from actors.sandbox.pool import Pool

SLOTS = 2
BLOCKS = 8
SCRIPT = """
from sympy import symbols, solve, simplify, Rational
x = symbols("x")
roots = solve(x**2 - 5*x + 6, x)
assert simplify((x**2 - 1) / (x - 1) - (x + 1)) == 0
print(sum(roots), Rational(1, 3) + Rational(1, 6))
"""
ANSWER = "5 1/2\n"
LIMITS = Limits(wall_s=60.0, cpu_s=60.0)
ASLEEP = "import time; time.sleep(0.5)"
BESIDE = """
import os, threading, time
pipes = [os.pipe() for _ in range(20)]
threads = [threading.Thread(target=time.sleep, args=(0.5,)) for _ in range(5)]
for each in threads: each.start()
for each in threads: each.join()
for end in sum(pipes, ()): os.close(end)
"""
BLOCK_KINDS = {"nothing": ("", 50), "asleep": (ASLEEP, 4), "threads and pipes": (BESIDE, 4)}
"""Code, and how often in a round."""
TARGETS = {"docker run": 25.0, "docker exec": 15.0, "subprocess": 15.0}


@dataclass
class Way:
    """One way to run a script, and what was measured of it."""

    name: str
    once: Callable[[], Awaitable[None]]
    seconds: list[float] = field(default_factory=list)
    elapsed: float = 0.0

    async def slice(self, length: float) -> None:
        """Run on all slots for some time."""
        began = time.monotonic()

        async def slot() -> None:
            while True:
                start = time.monotonic()
                await self.once()
                self.seconds.append(time.monotonic() - start)
                if time.monotonic() - began > length:
                    return

        await asyncio.gather(*(slot() for _ in range(SLOTS)))
        self.elapsed += time.monotonic() - began

    def figures(self) -> dict[str, float]:
        """Scripts per second and the spread of one script's time."""
        ordered = sorted(self.seconds)
        return {
            "scripts": len(ordered),
            "per_second": round(len(ordered) / self.elapsed, 2),
            "p50_ms": round(1000 * statistics.median(ordered), 2),
            "p99_ms": round(1000 * ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 2),
        }


def check(output: str) -> None:
    """Stop where a script did not do its work."""
    if output != ANSWER:
        raise SystemExit(f"wrong answer: {output!r}")


async def command(*words: str) -> None:
    """Run one command and check what it printed."""
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    check((await process.communicate())[0].decode())


def ours(name: str, pool: Pool) -> Way:
    """A fresh interpreter per script in our sandbox."""

    async def once() -> None:
        check((await pool.run(Request(SCRIPT), LIMITS)).stdout)

    return Way(name, once)


def sessions(pool: Pool) -> Way:
    """One interpreter for eight blocks; counted as one."""

    async def once() -> None:
        async with pool.session("benchmark") as session:
            for _ in range(BLOCKS):
                check((await session.run(SCRIPT, LIMITS)).stdout)

    return Way(f"session of {BLOCKS}", once)


def session_subprocess() -> Way:
    """The same eight blocks in one bare `python`."""

    async def once() -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SCRIPT * BLOCKS, stdout=asyncio.subprocess.PIPE
        )
        if (await process.communicate())[0].decode() != ANSWER * BLOCKS:
            raise SystemExit("wrong answer")

    return Way(f"subprocess of {BLOCKS}", once)


async def docker_ways(stack: AsyncExitStack) -> list[Way]:
    """`docker run` and `docker exec` on the same image; none without the docker client."""
    client = shutil.which("docker")
    if client is None:
        return []
    state = state_dir()
    engine = await find_engine(state)
    root = await asyncio.to_thread(build_root, state)
    image = await ensure_image(engine, root, partial(try_image, engine, "runc"))
    words = [client, "-H", engine.address]
    run = [*words, "run", "--rm", "--network=none", "--read-only", "--log-driver=none"]
    body = description(image.id, SandboxSettings(slots=1))
    body |= {"Cmd": [PYTHON, "-c", "import sys; sys.stdin.read()"]}
    held, attached = await engine.ask(lambda docker: start(docker, body))
    stack.callback(attached.close)
    return [
        Way("docker run", lambda: command(*run, image.tag, PYTHON, "-c", SCRIPT)),
        Way("docker exec", lambda: command(*words, "exec", held, PYTHON, "-c", SCRIPT)),
    ]


async def overhead(pool: Pool, count: int = 200) -> dict[str, float]:
    """What a run costs beyond its script's own time, which is measured inside the interpreter."""
    timed = f"import time\nt = time.perf_counter()\n{SCRIPT}\nprint(time.perf_counter() - t)"
    extra = []
    for _ in range(count):
        began = time.monotonic()
        seen = await pool.run(Request(timed), LIMITS)
        extra.append(time.monotonic() - began - float(seen.stdout.splitlines()[-1]))
    ordered = sorted(extra)
    return {
        "p50_ms": round(1000 * statistics.median(ordered), 2),
        "p99_ms": round(1000 * ordered[int(0.99 * count)], 2),
    }


async def measure(seconds: float) -> dict[str, object]:
    """Run everything and return the figures."""
    async with AsyncExitStack() as stack:
        pools = {}
        for backend in (Backend.DOCKER, Backend.BUBBLEWRAP):
            pool = open_sandbox(SandboxSettings(backend, slots=SLOTS))
            stack.push_async_callback(pool.close)
            await pool.start()
            pools[f"ours ({backend})"] = pool
        docker = pools[f"ours ({Backend.DOCKER})"]
        ways = [ours(name, pool) for name, pool in pools.items()]
        ways += await docker_ways(stack)
        ways.append(Way("subprocess", lambda: command(sys.executable, "-c", SCRIPT)))
        ways += [sessions(docker), session_subprocess()]
        for _ in range(5):
            for way in ways:
                await way.slice(seconds / 5)
        figures = {way.name: way.figures() for way in ways}
        extra = {name: await overhead(pool) for name, pool in pools.items()}
    base = figures[f"ours ({Backend.DOCKER})"]["per_second"]
    ratios = {
        name: round(base / figures[name]["per_second"], 1) for name in TARGETS if name in figures
    }
    ratios[f"subprocess of {BLOCKS}"] = round(
        figures[f"session of {BLOCKS}"]["per_second"]
        / figures[f"subprocess of {BLOCKS}"]["per_second"],
        1,
    )
    return {
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "limits": asdict(LIMITS),
        "ways": figures,
        "times_as_many": ratios,
        "targets": TARGETS,
        "overhead": extra,
    }


def cpu_s() -> float:
    """CPU time of all that this process has started."""
    below = psutil.Process().children(recursive=True)
    return sum(sum(process.cpu_times()[:4]) for process in below)


async def block_prices(rounds: int) -> None:
    """Print the CPU time of a block of each kind."""
    pool = open_sandbox(SandboxSettings(Backend.BUBBLEWRAP, slots=1))
    await pool.start()
    async with pool.session("blocks") as session:
        for name, (code, count) in BLOCK_KINDS.items():
            spent = []
            for _ in range(rounds):
                before = cpu_s()
                for _ in range(count):
                    if (seen := await session.run(code, LIMITS)).verdict != "ok":
                        raise SystemExit(f"{name}: {seen}")
                spent.append((cpu_s() - before) / count)
            print(f"{name:<20}{1000 * statistics.median(spent):>8.2f} ms of CPU", flush=True)
    await pool.close()


def table(result: dict[str, object]) -> str:
    """Show the figures to a person."""
    ways, ratios = result["ways"], result["times_as_many"]
    assert isinstance(ways, dict) and isinstance(ratios, dict)
    lines = [f"{'way':<20}{'scripts/s':>12}{'p50 ms':>10}{'p99 ms':>10}{'ours is':>10}"]
    for name, row in ways.items():
        ratio = f"{ratios[name]} x" if name in ratios else ""
        numbers = f"{row['per_second']:>12}{row['p50_ms']:>10}{row['p99_ms']:>10}"
        lines.append(f"{name:<20}{numbers}{ratio:>10}")
    lines.append(f"overhead over the script's own time: {result['overhead']}")
    lines.append(f"{result['cpus']} cpus, load {result['load']:.1f}")
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, write the JSON."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--seconds", type=float, default=20.0, help="per way")
    arguments.add_argument("--out", type=Path)
    arguments.add_argument("--blocks", action="store_true", help="only the CPU of a block")
    arguments.add_argument("--rounds", type=int, default=8, help="of blocks")
    chosen = arguments.parse_args()
    if chosen.blocks:
        return asyncio.run(block_prices(chosen.rounds))
    result = asyncio.run(measure(chosen.seconds))
    print(table(result))
    if chosen.out:
        chosen.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
