"""What a run needs, checked before anything is written: input, store, models, GPUs, sandbox.

Invariant: every finding is one line in plain words with what to do about it; `require` raises
all of them at once, so that nobody has to run into them one after the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from actors.machines.looking import HERE, SANDBOX_REMEDY, Look, sandbox_answers
from actors.sandbox.contract import SandboxSettings
from actors.sandbox.image.rootfs import build_root, state_dir
from storage.errors import ConfigurationError, StepmillError
from storage.objects.opening import open_store
from storage.objects.probe import probe_store
from storage.runs.run import Run
from storage.runs.specs import check_same
from workflows.runs.configuration import RunConfig
from workflows.runs.site import Site
from workflows.runs.workload import asked_nodes


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    ok: bool
    said: str
    """What was found, or what is missing."""
    remedy: str = ""
    """What to do; empty where all is well."""

    def __str__(self) -> str:
        """One line."""
        return f"{self.what}: {self.said}" + (f"; {self.remedy}" if self.remedy else "")


def attempt(what: str, look: Callable[[], str], remedy: str = "") -> Finding:
    """Run one check: what it returns is what was found, a StepmillError is what is missing."""
    try:
        return Finding(what, True, look())
    except StepmillError as error:
        return Finding(what, False, str(error), remedy)


def check_work(config: RunConfig) -> Iterator[Finding]:
    """The store, and what is asked of the cluster, as far as it can be said from here."""
    yield attempt("store", partial(probed_store, config.store))
    if config.cluster.ask:
        yield attempt("nodes", lambda: f"{len(asked_nodes(config))} are asked of the cluster")


def check_models(config: RunConfig, looks: Sequence[Look]) -> Iterator[Finding]:
    """What was found of each model where it is to run, and of the sandbox on its nodes."""
    for role, engine in config.engines.items():
        seen = [look for look in looks if role in look.misfits]
        unfit = [(look, misfit) for look in seen for misfit in look.misfits[role]]
        for look, misfit in unfit:
            where = "" if look.where == HERE else f" ({look.where})"
            yield Finding(f"models.{role}", False, misfit.said + where, misfit.remedy)
        if not unfit and seen:
            count = len(seen[0].machine.gpus)
            on = f", {count} GPUs there" if count else ", on the processor"
            said = engine.model + (on if engine.kind == "vllm" else "")
            yield Finding(f"models.{role}", True, said)
            for note in seen[0].notes.get(role, ()):
                yield Finding(f"models.{role}", True, note)
    for look in looks:
        for misfit in look.misfits.get("sandbox", ()):
            yield Finding("sandbox", False, f"{misfit.said} ({look.where})", misfit.remedy)


def server_notes(look: Look) -> Iterator[str]:
    """What was found of the servers of models, a line each, with the roles that it is true of."""
    roles: dict[str, list[str]] = {}
    for role, notes in look.notes.items():
        for note in notes:
            roles.setdefault(note, []).append(role)
    for note, named in roles.items():
        yield f"models.{', '.join(named)}: {note}"


def probed_store(url: str) -> str:
    """Show that a store creates once and never replaces, also when writers race.

    Raises StoreRefused, StoreUnavailable or ConfigurationError.
    """
    store = open_store(url)
    probe_store(store)
    return f"{store.url} creates once and never replaces"


def check_sandbox(settings: SandboxSettings) -> Finding:
    """Whether model-written code can be run on this machine, and in what."""
    return attempt("sandbox", lambda: asyncio.run(sandbox_answers(settings)), SANDBOX_REMEDY)


def require(config: RunConfig, site: Site, *found: Finding) -> str | None:
    """Check everything; returns the digest of the folder that model-written code runs in, if any.

    `found` was looked at before.

    Raises ConfigurationError with one line per thing that is missing.
    """
    findings = [*found, *check_work(config)]
    if all(finding.ok for finding in findings) or not site.remote:
        looks = site.looks(config)
        findings += check_models(config, looks)
        for line in dict.fromkeys(note for look in looks for note in server_notes(look)):
            site.listener.say(line)
    if config.runs_code and not site.remote:
        findings.append(check_sandbox(config.sandbox))
    missing = list(dict.fromkeys(finding for finding in findings if not finding.ok))
    if len(missing) == 1:
        raise ConfigurationError(str(missing[0]))
    if missing:
        raise ConfigurationError("\n  ".join(["this run can't start:", *map(str, missing)]))
    config.check_models()
    if not config.runs_code:
        return None
    return build_root(state_dir(config.sandbox.state_dir)).digest


def check_image(run: Run, image: str | None) -> None:
    """Raise SpecMismatch where a run was begun with another image than code would run in now."""
    check_same(run.name, run.spec, replace(run.spec, image_digest=image))
