"""What a run needs, checked before anything is written: input, store, models, GPUs, sandbox.

Invariant: every finding is one line that says what is wrong and what to do. `require` raises all
of them in one error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from actors.machines.looking import HERE, SANDBOX_REMEDY, Look, sandbox_answers
from actors.sandbox.contract import SandboxSettings
from actors.sandbox.image.rootfs import build_root, state_dir
from storage.errors import ConfigurationError, StepmillError, StoreRefused
from storage.objects.opening import open_store
from storage.objects.probe import probe_store
from storage.runs.run import Run
from storage.runs.specs import check_same
from workflows.runs.configuration import RunConfig
from workflows.runs.site import Site
from workflows.runs.workload import asked_nodes

STORE = "store"
STORE_REMEDY = "`stepmill docs configuration` says more of `store`"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

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
    """Run one check: its text becomes a finding that is well, a StepmillError one that is not."""
    try:
        return Finding(what, True, look())
    except StepmillError as error:
        return Finding(what, False, str(error), remedy)


def check_nodes(config: RunConfig) -> Iterator[Finding]:
    """Check the nodes that `cluster.ask` names, without joining a cluster."""
    if config.cluster.ask:
        yield attempt("nodes", lambda: f"{len(asked_nodes(config))} are asked of the cluster")


def check_models(config: RunConfig, looks: Sequence[Look]) -> Iterator[Finding]:
    """Yield a finding for each model, and for each fault of a node's sandbox, from the looks."""
    for role, engine in config.engines.items():
        seen = [look for look in looks if role in look.misfits]
        unfit = [(look, misfit) for look in seen for misfit in look.misfits[role]]
        for look, misfit in unfit:
            where = "" if look.where == HERE else f" ({look.where})"
            yield Finding(f"models.{role}", False, misfit.said + where, misfit.remedy)
        if not unfit and seen:
            count = len(seen[0].machine.gpus)
            on = f", {count} GPUs there" if count else ", on the processor"
            description = engine.model + (on if engine.kind == "vllm" else "")
            yield Finding(f"models.{role}", True, description)
            for note in seen[0].notes.get(role, ()):
                yield Finding(f"models.{role}", True, note)
    for look in looks:
        for misfit in look.misfits.get("sandbox", ()):
            yield Finding("sandbox", False, f"{misfit.said} ({look.where})", misfit.remedy)


def server_notes(look: Look) -> Iterator[str]:
    """Yield a line for each note on a model's server, with the roles that it holds for."""
    roles: dict[str, list[str]] = {}
    for role, notes in look.notes.items():
        for note in notes:
            roles.setdefault(note, []).append(role)
    for note, named in roles.items():
        yield f"models.{', '.join(named)}: {note}"


def probed_store(url: str) -> str:
    """Test that a store creates a key once and never replaces it, also when writers race.

    Raises StoreRefused, StoreUnavailable or ConfigurationError.
    """
    store = open_store(url)
    probe_store(store)
    return f"{store.url} creates once and never replaces"


def probed_at(site: Site, url: str) -> str:
    """As `probed_store`; a store that has passed is not tested again by the same command."""
    if url not in site.probed:
        site.probed[url] = probed_store(url)
    return site.probed[url]


def check_sandbox(settings: SandboxSettings) -> Finding:
    """Check that this machine can run model-written code, and say in what sandbox."""
    return attempt("sandbox", lambda: asyncio.run(sandbox_answers(settings)), SANDBOX_REMEDY)


def run_there(config: RunConfig) -> tuple[Run | None, Finding | None]:
    """The configuration's run, if it was begun, and why its store can't be used, if it can't.

    Raises StoreUnavailable, which may pass, and what a broken run raises.
    """
    try:
        return Run.find(open_store(config.store), config.run), None
    except (ConfigurationError, StoreRefused) as error:
        return None, Finding(STORE, False, str(error), STORE_REMEDY)


def examined(
    config: RunConfig, site: Site, *earlier: Finding, anyway: bool = False
) -> Iterator[Finding]:
    """Check everything: `earlier` findings of the caller first.

    A cluster is joined where all else is well, or `anyway`. Raises InfrastructureError where it
    can't be looked at.
    """
    findings = list(earlier)
    if all(finding.what != STORE for finding in earlier):
        findings.append(attempt(STORE, partial(probed_at, site, config.store), STORE_REMEDY))
    there = attempt("address", site.head) if site.remote else None
    findings += [*([there] if there else []), *check_nodes(config)]
    yield from findings
    if there is None or (there.ok and anyway) or all(finding.ok for finding in findings):
        looks = site.looks(config)
        yield from check_models(config, looks)
        for line in dict.fromkeys(note for look in looks for note in server_notes(look)):
            site.listener.say(line)
    if config.runs_code and not site.remote:
        yield check_sandbox(config.sandbox)


def require(config: RunConfig, site: Site, *earlier: Finding) -> str | None:
    """Check everything; return the digest of the folder that model-written code runs in, if any.

    `earlier`: findings of the caller. Raises ConfigurationError, a line for each that is not well.
    """
    findings = examined(config, site, *earlier)
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
    """Raise SpecMismatch where the run began with another sandbox image than `image`."""
    check_same(run.name, run.spec, replace(run.spec, image_digest=image))
