"""The demo on a cluster: S3, three Ray nodes, submitted as a job, one node killed in the middle.

    python -m benchmarks.demo_cluster [--problems 48] [--out FOLDER] [--server ceph|ministack]

On this machine it starts Ceph's gateway (ministack where Debian's packages can't be had) and a Ray
cluster of three nodes with token authentication. The plain `ray job submit` starts the run and is
stopped once a shard is estimated. `stepmill submit` continues it. Then the raylet of one of the two
working nodes is killed. The run must finish, audit clean and download. At the end all is stopped.

Invariant: the log of the job triggers each step. Exit code 0 means that every step was seen.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import yaml

from actors.workers.ray_roles import ACTORS
from storage.objects.opening import open_store
from storage.runs.run import Run
from tests.support.ceph_server import ceph
from tests.support.ray_nodes import BIN, RayNodes, ray_nodes
from tests.support.s3_servers import S3Server, ministack

ROOT = Path(__file__).parents[2]
RUN = "demo-cluster"
NODE = {"policy": 1, "completer": 1, "rationale": 1, "sandbox": 1}
"""What either node may run; the head runs the driver only."""
MODELS = ("policy", "completer", "rationale")


def say(text: str) -> None:
    """One line about what happens, with the time."""
    print(f"{time.strftime('%H:%M:%S')} == {text}", flush=True)


def s3_server(kind: str, data: Path) -> S3Server:
    """Ceph's gateway, or ministack where that can't be had."""
    data.mkdir()
    if kind == "ceph":
        try:
            return ceph(data)
        except pytest.skip.Exception as reason:
            say(f"{reason}: ministack instead")
    return ministack(data)


def project(folder: Path, problems: int) -> Path:
    """What is sent to the cluster: configuration, problems and models."""
    folder.mkdir()
    config = yaml.safe_load((ROOT / "configs/demo.yaml").read_text())
    config |= {"run": RUN, "problems": "problems.jsonl"}
    del config["cluster"]["engine_slots"]  # the nodes say what they have
    config["cluster"] |= {"workers_per_role": 1}
    for role in MODELS:
        shutil.copytree(ROOT / "demo/models" / role, folder / "models" / role)
        config["models"][role]["model"] = f"./models/{role}"
    (folder / "build.yaml").write_text(yaml.safe_dump(config))
    world = [sys.executable, "-m", "demo.world", "--out", str(folder / "problems.jsonl")]
    subprocess.run([*world, "--problems", str(problems), "--seed", "1"], cwd=ROOT, check=True)
    return folder


def plain_submit(ray: RayNodes, folder: Path, store: str) -> None:
    """`ray job submit`, followed until a shard is estimated, then `ray job stop`."""
    job = "demo-cluster-by-ray"
    where = ["--address", ray.dashboard]
    command = [
        str(BIN / "ray"), "job", "submit", *where, "--submission-id", job, "--working-dir", ".",
        "--", "stepmill", "build", "build.yaml", "--address", "auto", "--store", store,
    ]  # fmt: skip
    say("ray job submit --working-dir . -- stepmill build build.yaml --address auto --store …")
    following = popen(command, ray, folder)
    if not seen(following, r"estimate [1-9]"):
        raise SystemExit("the job ended before anything was estimated")
    say("something is estimated: ray job stop")
    stop = [str(BIN / "ray"), "job", "stop", *where, job]
    subprocess.run(stop, cwd=folder, env=ray.environment, check=True, stdout=subprocess.DEVNULL)
    following.communicate()


def submit(ray: RayNodes, folder: Path, store: str) -> int:
    """`stepmill submit`, followed to its end; the first node is killed while rationales are made.

    Returns the exit code.
    """
    command = [
        str(BIN / "stepmill"), "submit", "build.yaml", "--address", ray.dashboard, "--store", store,
    ]  # fmt: skip
    say("stepmill submit build.yaml: it continues the run")
    following = popen(command, ray, folder)
    if seen(following, r"estimate [2-9]|rationalize [1-9]"):
        busiest = max((1, 2), key=lambda node: workers_on(ray, node))
        say(f"killing node {busiest} with {workers_on(ray, busiest)} workers")
        ray.kill(busiest)
    if not seen(following, r"worker was lost"):
        raise SystemExit("no worker was lost: the node was not in use")
    seen(following, r"is finished")
    following.communicate()
    return following.returncode


def workers_on(ray: RayNodes, node: int) -> int:
    """How many workers a node has."""
    kinds = (kind.__name__ for kind in ACTORS.values())
    return sum(len(ray.pids_below(node, f"ray::{kind}")) for kind in kinds)


def popen(command: list[str], ray: RayNodes, folder: Path) -> subprocess.Popen[str]:
    """A command whose output is followed."""
    return subprocess.Popen(
        command, cwd=folder, env=ray.environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def seen(following: subprocess.Popen[str], pattern: str) -> bool:
    """Show the output up to a line that matches; False where it ended before."""
    assert following.stdout is not None
    for line in following.stdout:
        print("  " + line, end="", flush=True)
        if re.search(pattern, line):
            return True
    return False


def stepmill(*words: str) -> subprocess.CompletedProcess[str]:
    """A verb that reads the store."""
    return subprocess.run([BIN / "stepmill", *words], text=True, capture_output=True, check=False)


def commits(store: str) -> dict[str, dict[int, str]]:
    """Attempt of every commit."""
    run = Run.open(open_store(store), RUN)
    return {s: {n: c.attempt for n, c in run.committed(s).items()} for s in run.spec.stages}


def main() -> None:
    """Play the whole thing; exit code 1 where something was not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, default=48)
    parser.add_argument("--out", type=Path, default=Path(".stepmill/demo-cluster-dataset"))
    parser.add_argument("--server", choices=["ceph", "ministack"], default="ceph")
    arguments = parser.parse_args()
    # Whatever ends this must end the cluster too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="stepmill-demo-") as temporary:
        folder = Path(temporary)
        say("starting an S3 server")
        server = s3_server(arguments.server, folder / "s3")
        server.start()
        store = server.url("demo")
        say(f"{store}; starting three Ray nodes with token authentication")
        try:
            work = project(folder / "project", arguments.problems)
            with ray_nodes([NODE, NODE]) as ray:
                plain_submit(ray, work, store)
                before = commits(store)
                code = submit(ray, work, store)
            done = verdict(store, before, code, arguments.out)
        finally:
            server.stop()
    say(f"{'done' if done else 'FAILED'} in {time.monotonic() - began:.0f} s; everything stopped")
    sys.exit(0 if done else 1)


def verdict(store: str, before: dict[str, dict[int, str]], code: int, out: Path) -> bool:
    """Audit, download, and whether what was committed by the first job still stands."""
    after = commits(store)
    stands = all(before[stage].items() <= after[stage].items() for stage in before)
    audited = stepmill("audit", RUN, "--store", store, "--json")
    shutil.rmtree(out, ignore_errors=True)
    copied = stepmill("download", RUN, str(out), "--store", store)
    findings = json.loads(audited.stdout or "{}").get("findings", [audited.stderr])
    say(f"exit code of the job {code}; commits of the first job unchanged: {stands}")
    say(f"audit: exit code {audited.returncode}, findings {findings}")
    say(f"download: exit code {copied.returncode}; {copied.stdout.strip()} {out}")
    sums = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=out, check=False)
    return code == 0 and stands and not audited.returncode and not (
        copied.returncode or sums.returncode
    )  # fmt: skip


if __name__ == "__main__":
    main()
