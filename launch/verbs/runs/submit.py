"""The verb `submit`: starts a build as a job of a Ray cluster, and follows its log.

Ray uploads the working folder, but for secrets (`launch.verbs.runs.sending`). The cluster's nodes
have the package itself (ray_cluster.yaml installs it). `ray job submit -- stepmill build …` does
the same in short, but sends secrets too.

Invariant: the job does not depend on this process. Ctrl-C and a lost connection end only the
following; the message says how to stop the job and how to continue the run.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientError

from launch.config import load
from launch.shown.text import say
from launch.verbs.runs.sending import sent
from storage.errors import ConfigurationError, InfrastructureError, first_line
from storage.secrecy import hidden, shown_url
from workflows.builds.configuration import BuildConfig
from workflows.inputs.places import is_url
from workflows.runs.reading import read

INTERRUPTED = 130
RETRY_SECONDS = 2.0
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
"""Ray's, which means nothing once other control characters are taken out."""
RETRIES = 30
"""Tries in a row to reach the head again before the command gives up following."""


@dataclass(frozen=True, slots=True)
class Submission:
    """The job that is sent to the cluster."""

    entrypoint: str
    working_dir: str
    excludes: tuple[str, ...]
    said: str = ""
    """What is sent, and what is not."""

    @property
    def runtime_env(self) -> dict[str, Any]:
        """The same as Ray's `runtime_env`."""
        return {"working_dir": self.working_dir, "excludes": list(self.excludes)}


def submission_of(
    config_file: Path, config: BuildConfig, overrides: list[str], folder: Path
) -> Submission:
    """Make the job that builds `config`; raises ConfigurationError for files outside `folder`."""
    inside = _inside(folder, config_file.resolve(), "the configuration")
    away = is_url(config.problems)  # the cluster reads it for itself
    problems = config.problems if away else _inside(folder, Path(config.problems), "`problems`")
    others = [name for name in (config.solutions, *config.leave_out.against) if name]
    beside = [_inside(folder, Path(name), "an input") for name in others if not is_url(name)]
    if isinstance(prompts := read(config_file).get("prompts"), str):
        _inside(folder, config_file.resolve().parent / prompts, "`prompts`")
    for role, engine in config.engines.items():
        if engine.kind == "vllm" and engine.model.startswith("/"):
            _inside(folder, Path(engine.model), f"models.{role}")
    command = ["stepmill", "build", inside, "--address", "auto", "--store", config.store]
    # The data's own folder stays here, but for the files that the build reads.
    excludes, goes = sent(folder, ([] if away else [problems]) + beside)
    entrypoint = shlex.join([*command, "--problems", problems, *overrides])
    return Submission(entrypoint, str(folder), excludes, goes.said(folder))


def _inside(folder: Path, file: Path, what: str) -> str:
    try:
        return str(file.resolve().relative_to(folder))
    except ValueError:
        raise ConfigurationError(
            f"{what} ({file}) lies outside of {folder}, which is what goes to the cluster: copy it "
            f"into this folder, or start from one that holds it"
        ) from None


def submit(
    config_file: Path,
    address: str,
    run: str | None,
    store: str | None,
    source: str | None = None,
) -> int:
    """Send the job, follow its log, and return the exit code of the build."""
    overrides = {"run": run, "store": store}
    config = load(config_file, **overrides)
    named = ["--run", config.run, *(["--from", source] if source else [])]
    job = submission_of(config_file, config, named, Path.cwd().resolve())
    # The excludes say it all; .gitignore would leave out files that the configuration names.
    os.environ.setdefault("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "1")
    client, head = _client(address), shown_url(address)
    say(f"stepmill: {job.said}", err=True)
    try:
        identity = client.submit_job(
            entrypoint=job.entrypoint,
            runtime_env=job.runtime_env,
            metadata={"stepmill_run": config.run},
        )
    except (RuntimeError, OSError) as error:
        raise InfrastructureError(f"{head} did not take the job: {_said(error, address)}") from None
    say(f"stepmill: job {identity} builds run {config.run} at {head}", err=True)
    try:
        return asyncio.run(_follow(client, identity))
    except KeyboardInterrupt:
        options = {"--address": head, "--run": run, "--store": store, "--from": source}
        given = [word for name, value in options.items() if value for word in (name, value)]
        again = shlex.join(["stepmill", "submit", str(config_file), *given])
        say(
            f"\nstepmill: no longer following; the job goes on\n"
            f"  follow it:  ray job logs --address {head} --follow {identity}\n"
            f"  stop it:    ray job stop --address {head} {identity}\n"
            f"  continue the run after it was stopped: {again}",
            err=True,
        )
        return INTERRUPTED


def _client(address: str) -> Any:
    """What sends jobs to a head. Raises ConfigurationError where none takes them."""
    head = shown_url(address)
    if not address.startswith(("http://", "https://")):
        raise ConfigurationError(
            f"--address {head!r}: jobs go to http://HOST:8265, the address of the dashboard"
        )
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(address)
    except AuthenticationError:
        raise ConfigurationError(
            f"the Ray head {head} may ask for its token and none is here: put the cluster's into "
            "RAY_AUTH_TOKEN or ~/.ray/auth_token, or set RAY_AUTH_MODE=disabled where it has none"
        ) from None
    except (OSError, RuntimeError) as error:
        raise ConfigurationError(
            f"no Ray head takes jobs at {head}: {_said(error, address)}; correct --address, or see "
            "whether its dashboard runs"
        ) from None


def _said(error: BaseException, address: str) -> str:
    """What Ray says, which may repeat the address."""
    return hidden(first_line(error).replace(address, shown_url(address)))


async def _follow(client: Any, identity: str) -> int:
    """Print the log until the job ends; reconnect when the connection is lost."""
    shown = failures = 0
    while failures < RETRIES:
        skip = shown
        try:
            async for chunk in client.tail_job_logs(identity):
                fresh = chunk[skip:]
                skip = max(0, skip - len(chunk))
                shown += len(fresh)
                if fresh:
                    failures = 0
                say(_COLOUR.sub("", fresh), nl=False)
            info = await asyncio.to_thread(client.get_job_info, identity)
            if info.status.is_terminal():
                return exit_code(str(info.status), info.driver_exit_code)
        except (RuntimeError, OSError, ClientError) as error:
            failures += 1
            say(f"stepmill: following again: {hidden(first_line(error))}", err=True)
        await asyncio.sleep(RETRY_SECONDS)
    raise InfrastructureError(f"lost sight of job {identity}; it may still run")


def exit_code(status: str, driver: int | None) -> int:
    """The exit code of the build; 130 for a stopped job, 3 for any other end."""
    if status == "SUCCEEDED":
        return 0
    if status == "STOPPED":
        return INTERRUPTED
    return driver if driver in (2, 3, INTERRUPTED) else 3
