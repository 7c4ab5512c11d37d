"""A build submitted to a real Ray head over HTTP, with token authentication on."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray._private.runtime_env.packaging import create_package

from actors.owned_folder import ray_folder
from launch.config import load
from launch.verbs.runs.submit import Submission, exit_code, submission_of
from storage.audit import audit
from storage.errors import ConfigurationError
from storage.objects.opening import open_store
from storage.runs.run import Run
from tests.support.ports import free_port
from tests.support.submitted import BIN, project


def test_the_job_is_the_same_build_with_paths_as_the_cluster_sees_them(tmp_path: Path) -> None:
    folder = project(tmp_path / "project")
    config = load(folder / "build.yaml")
    job = submission_of(folder / "build.yaml", config, ["--run", "r"], folder)
    assert job.entrypoint == (
        f"stepmill build build.yaml --address auto --store file://{tmp_path}/store "
        f"--problems problems.jsonl --run r"
    )
    assert {".venv", ".git", ".stepmill/*"} <= set(job.excludes)
    with pytest.raises(ConfigurationError, match="lies outside of"):
        submission_of(folder / "build.yaml", config, [], tmp_path / "elsewhere")


def test_what_lies_in_a_bucket_does_not_go_along_and_given_solutions_do(tmp_path: Path) -> None:
    folder = project(tmp_path / "project")
    config = load(folder / "build.yaml", problems="s3://b/p.jsonl", solutions="given.jsonl")
    job = submission_of(folder / "build.yaml", config, [], folder)
    assert job.entrypoint.endswith("--problems s3://b/p.jsonl")
    assert [name for name in job.excludes if name.startswith("!")] == ["!/given.jsonl"]


def test_secrets_do_not_go_along_and_what_goes_is_said(tmp_path: Path) -> None:
    folder = project(tmp_path / "project")
    secrets = [
        ".env", ".env.local", "prod.env", "tls/server.pem", "deploy.key", "id_ed25519", ".netrc",
        ".aws/credentials", ".ssh/known_hosts", ".kube/config", "token", "credentials.json",
        "my-credentials-2.json", "client_secret_1.json", "service-account.json", "a b/secrets.yaml",
    ]  # fmt: skip
    for name in secrets:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("hunter2")
    (folder / "plain.txt").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2")
    (tmp_path / "elsewhere").write_text("hunter2")
    (folder / "link [1]!").symlink_to(tmp_path / "elsewhere")
    (folder / "inner").symlink_to(folder / "build.yaml")
    (folder / "circle").symlink_to("circle")
    (folder / "tokens.txt").write_text("goes: words about tokens")
    config = load(folder / "build.yaml", solutions=str(folder / "deploy.key"))
    job = submission_of(folder / "build.yaml", config, [], folder)
    package = tmp_path / "package.zip"
    create_package(str(folder), package, False, excludes=list(job.excludes))
    with zipfile.ZipFile(package) as packed:
        names = {name for name in packed.namelist() if not name.endswith("/")}
        holds = {name for name in names if b"hunter2" in packed.read(name)}
    assert holds == {"deploy.key"}  # which the configuration names
    assert {"build.yaml", "problems.jsonl", "tokens.txt", "inner"} <= names
    assert job.said.startswith(f"{len(names)} files, 0.")
    assert f"of {folder} are sent; kept back as secret: .aws, .env, " in job.said
    assert job.said.endswith("more")


def test_a_pipe_in_the_folder_is_neither_sent_nor_waited_for(tmp_path: Path) -> None:
    folder = project(tmp_path / "project")
    os.mkfifo(folder / "pipe")
    looked: list[Submission] = []
    config = load(folder / "build.yaml")
    looking = threading.Thread(
        target=lambda: looked.append(submission_of(folder / "build.yaml", config, [], folder)),
        daemon=True,
    )
    looking.start()
    looking.join(20)
    (job,) = looked
    assert "/pipe" in job.excludes
    assert job.said.endswith("kept back as secret: pipe")


@pytest.mark.parametrize(
    ("status", "driver", "code"),
    [
        ("SUCCEEDED", 0, 0),
        ("FAILED", 2, 2),
        ("FAILED", 3, 3),
        ("FAILED", -9, 3),
        ("STOPPED", 1, 130),
    ],
)
def test_exit_codes_are_the_builds_own(status: str, driver: int, code: int) -> None:
    assert exit_code(status, driver) == code


@contextlib.contextmanager
def ray_head() -> Iterator[tuple[str, dict[str, str]]]:
    """A head in its own folder; yields the dashboard's address and the environment to reach it."""
    with ray_folder() as folder:
        token = folder / "token"
        token.write_text(secrets.token_hex(32))
        environment = os.environ | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_worker_niceness": "0",
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }
        environment.pop("RAY_ADDRESS", None)
        ports = [free_port() for _ in range(3)]
        command = [
            BIN / "ray", "start", "--head", "--block", "--temp-dir", folder, "--num-cpus", "2",
            "--port", str(ports[0]), "--dashboard-port", str(ports[1]),
            "--ray-client-server-port", str(ports[2]), "--dashboard-host", "127.0.0.1",
            "--object-store-memory", str(128 * 1024 * 1024), "--resources", '{"sandbox": 1}',
            "--disable-usage-stats",
        ]  # fmt: skip
        head = _up(command, environment)
        try:
            yield f"http://127.0.0.1:{ports[1]}", environment
        finally:
            os.killpg(head.pid, signal.SIGTERM)
            head.wait(60)


def _up(command: list[object], environment: dict[str, str]) -> subprocess.Popen[str]:
    """A head that is up: Ray gives its own processes 30 seconds, which a busy machine may miss."""
    for _ in range(3):
        head = subprocess.Popen(
            [str(part) for part in command], env=environment, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert head.stdout is not None
        if any("Ray runtime started" in line for line in head.stdout):
            return head
        with contextlib.suppress(ProcessLookupError):
            os.killpg(head.pid, signal.SIGKILL)
    raise AssertionError("no Ray head comes up here")


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.timeout(900)
def test_a_submitted_build_is_followed_to_its_end_and_leaving_it_does_not_stop_it(
    tmp_path: Path,
) -> None:
    folder = project(tmp_path / "project")
    with ray_head() as (address, environment):
        command = [BIN / "stepmill", "submit", "build.yaml", "--address", address]
        left = subprocess.Popen(
            command, cwd=folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert left.stdout is not None
        assert left.stdout.readline(), "the log is followed"
        left.send_signal(signal.SIGINT)
        _, said = left.communicate(timeout=120)
        assert left.returncode == 130
        assert "the job goes on" in said
        assert "ray job stop" in said
        whole = subprocess.run(
            command, cwd=folder, env=environment, text=True, capture_output=True, timeout=600
        )  # beside the first job, which still runs: two drivers on one run
        print(whole.stdout[-3000:], whole.stderr[-3000:])
        assert whole.returncode == 0
        assert "is finished" in whole.stdout
        wrong = subprocess.run(
            [*command, "--store", "ftp://nowhere"], cwd=folder, env=environment, text=True,
            capture_output=True, timeout=120,
        )  # fmt: skip
        assert wrong.returncode == 2
    result = audit(Run.open(open_store(f"file://{tmp_path}/store"), "r"))
    assert (result.findings, result.finished) == ((), True)
