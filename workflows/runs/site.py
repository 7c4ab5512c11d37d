"""Where the work of a command is done: on this machine, or on a cluster that it joins.

Before any engine opens, the driver looks at this machine, or a task looks at one node of each kind
of the cluster. What they find decides the settings that a configuration leaves open.

Invariant: a command joins or starts a cluster once, and only when it needs one. This module writes
nothing to the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TypeVar

from actors.engines.contract import Chat
from actors.machines.looking import Look, Wanted, look_at
from actors.stopping import terminable
from actors.workers.placement import Placement
from actors.workers.ray_address import head_of
from actors.workers.ray_models import NodeModels
from actors.workers.ray_nodes import (
    NodeKind,
    amounts,
    kept_nodes,
    looked_at,
    node_kinds,
    nodes_asked,
    nodes_now,
    nodes_said,
    nodes_up,
    slots_of_cluster,
)
from actors.workers.ray_workers import MakeWorker, RayCluster, ray_session
from storage.errors import ConfigurationError, InfrastructureError
from storage.rows.records import Message
from storage.runs.run import Run
from workflows.runs.attending import Attended
from workflows.runs.configuration import ClusterSettings, RunConfig, needs_of
from workflows.runs.driving import continue_run, standing
from workflows.runs.listening import ENDING, SILENT, Listener, Watching
from workflows.runs.reporting import Reports, reported
from workflows.runs.settling import Place, fitted, settled
from workflows.runs.slots import SlotsNow
from workflows.runs.starting import Start
from workflows.runs.waiting import NODES_EVERY_S, wait_for_free_gpus, wait_for_gpus, wait_for_nodes
from workflows.runs.workers import makers
from workflows.runs.workload import (
    asked_nodes,
    kept_roles,
    placements,
    taking_turns,
    too_large,
    waits_for_gpus,
)
from workflows.schedule.beginning import Begin
from workflows.schedule.nodes import ENGINES

MEMORY_PATIENCE_S = 30.0
"""Seconds to wait for GPU memory that a command which was just killed is about to give back."""
START_S = 600.0
"""Least seconds without progress before an engine's start is given up: a disk may be slow."""
FORCED = {"policy": "Step 1:", "completer": "Step 1:", "prover": "Step 1:"}
"""Role -> the text that its answers are forced to begin with."""

Config = TypeVar("Config", bound=RunConfig)


class Site:
    """A context manager; its exit leaves the cluster that it joined, or ends the one it started."""

    def __init__(
        self,
        cluster: ClusterSettings,
        address: str | None,
        listener: Listener = SILENT,
        reports: Reports | None = None,
    ) -> None:
        """`address`: of a cluster to join, instead of `cluster.ray_address`. `reports`: the
        configuration whose `report_to` names trackers. Raises ConfigurationError.
        """
        self.listener = reported(listener, reports) if reports and reports.report_to else listener
        self.probed: dict[str, str] = {}
        """Store that passed its test -> what is said of it."""
        self._address = address or cluster.ray_address or os.environ.get("RAY_ADDRESS") or None
        self._executors = cluster.sandbox_actors
        self._open = contextlib.ExitStack()
        self._joined = False
        self._head = ""
        self._progress: Watching | None = None
        self._on_gpus = False
        """Whether engines are opened on GPUs of the cluster that was joined, there or to come."""
        self._looks: list[tuple[RunConfig, tuple[tuple[NodeKind | None, Look], ...]]] = []

    def __enter__(self) -> Site:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def gpus(self) -> int:
        """Join or start the cluster, and count its GPUs."""
        self._join()
        return kept_nodes(("GPU",)).get("GPU", 0)

    def gpus_for(self, workers: int, cores: int, patience_s: float) -> None:
        """Wait until the cluster has a free GPU with `cores` free cores for each worker.

        Ray's autoscaler is asked for them. Raises RunStopped after `patience_s`, and
        ConfigurationError where no node with GPUs has the cores.
        """
        with terminable():
            self._join()
            with nodes_asked([{"GPU": 1.0, "CPU": float(cores)}] * workers):
                wait_for_free_gpus(workers, cores, patience_s, self.listener.say)

    def machines(self, on_gpus: bool = False) -> list[Look]:
        """Look at this machine, or at one node of each kind that a training may use."""
        if not self.remote:
            return [look_at(Wanted())]
        self._join()
        needed = "GPU" if on_gpus else "CPU"
        return [looked_at(kind, Wanted()) for kind in node_kinds() if needed in kind.resources]

    @property
    def remote(self) -> bool:
        """Whether the work is done on a cluster that this machine only joins."""
        return self._address is not None

    def head(self) -> str:
        """HOST:PORT of the cluster to join. Raises ConfigurationError where no head answers."""
        try:
            self._head = self._head or head_of(self._address or "auto")
        except InfrastructureError as error:
            raise ConfigurationError(str(error)) from None
        return self._head

    def looks(self, config: RunConfig) -> list[Look]:
        """Look where the work of `config` is to be done, at each kind of node once."""
        return [look for _, look in self._looked(config)]

    def settled(self, config: Config, *begun: Run | None) -> Config:
        """Return the configuration with everything decided that the result depends on.

        `begun`: this run, then the one that it derives from, if there are any.
        """
        specs = [run.spec.configuration.get("engines") if run else None for run in begun]
        return settled(config, partial(self._place, config), *specs)

    def fitted(self, config: Config) -> Config:
        """Return the configuration with what only speed depends on decided for this place."""
        return fitted(config, partial(self._place, config))

    def placed(self, config: RunConfig) -> tuple[bool, dict[str, Placement]]:
        """Join or start the cluster; return (whether engines get GPUs, what a worker takes)."""
        self._join()
        on_gpus = self._on_gpus or self.gpus() > 0
        kept = kept_roles(config, slots_of_cluster(tuple(config.engines)))
        return on_gpus, placements(config, on_gpus, kept)

    def complete(self, run: Run, config: RunConfig, start: Start | None = None) -> None:
        """Make and commit the shards that a run lacks.

        `start` stores the run, which is not stored yet, once its first engines are open.
        """
        if start is None and (run.success() is not None or standing(run).finished):
            return
        with terminable(told=self._ending):
            config = self.fitted(config)
            made = makers(run, config, start.chain if start else None)
            self._drive_all(run, config, made, start.store if start else None)

    def _ending(self) -> None:
        if self._progress is not None:
            self._progress.ending()
        else:
            self.listener.say(ENDING)

    def _join(self) -> None:
        if not self._joined:
            head = self.head() if self.remote else None
            session = ray_session(head, self._executors or 1, self.listener.head_lost)
            self._open.enter_context(session)
            self._joined = True
            if head:
                gpus = kept_nodes(("GPU",)).get("GPU", 0)
                self.listener.say(
                    f"joined the Ray cluster at {head}: {nodes_up()} nodes, {gpus} GPUs"
                )

    def _looked(self, config: RunConfig) -> tuple[tuple[NodeKind | None, Look], ...]:
        for known, looks in self._looks:
            if known.engines == config.engines and known.runs_code == config.runs_code:
                return looks
        looks = self._look_at_nodes(config) if self.remote else ((None, _look_here(config)),)
        self._looks.append((config, looks))
        return looks

    def _look_at_nodes(self, config: RunConfig) -> tuple[tuple[NodeKind, Look], ...]:
        if not config.runs_code and not any(e.kind == "vllm" for e in config.engines.values()):
            return ()
        patience = config.cluster.place_patience_s
        with terminable():
            self._join()
            bundles = asked_nodes(config)
            with nodes_asked(bundles):
                wait_for_nodes(bundles, patience, self.listener.say)
                looked = self._looks_now(config)
                looks = [look for _, look in looked]
                if not self._on_gpus and (waiting := waits_for_gpus(config, looks)):
                    self._on_gpus = True
                    wait_for_gpus(waiting, patience, self.listener.say)
                    looked = self._looks_now(config)
        return looked

    def _looks_now(self, config: RunConfig) -> tuple[tuple[NodeKind, Look], ...]:
        """Look at one node of each kind that may hold engines or sandboxes.

        Raises ConfigurationError for an engine that no node can hold.
        """
        kinds = node_kinds()
        there = {name for kind in kinds for name in kind.resources}
        self._on_gpus = self._on_gpus or "GPU" in there
        kept = kept_roles(config, there)
        bundles = {
            role: place.bundle
            for role, place in placements(config, self._on_gpus, kept).items()
            if place.bundle
        }
        if bundles and not config.cluster.ask and "GPU" in there:
            for role in too_large(bundles, [kind.resources for kind in kinds]):
                raise ConfigurationError(
                    f"models.{role} needs {amounts(bundles[role])}, which none has "
                    f"({nodes_said(nodes_now(), bundles[role].keys() - {'CPU'})}): lower "
                    f"tensor_parallel, or let cluster.ask ask for such nodes"
                )
        looks = []
        for kind in kinds:
            roles = [
                role
                for role, engine in config.engines.items()
                if (
                    engine.kind != "vllm"
                    or not too_large({role: bundles.get(role, {})}, [kind.resources])
                )
                and _holds(kind, role, kept, self._on_gpus)
            ]
            code = config.runs_code and "sandbox" in kind.resources
            if roles or code:
                look = looked_at(kind, wanted(config, roles, code))
                looks.append((kind, lasting(look)))
        return tuple(looks)

    def _place(self, config: RunConfig, role: str) -> Place | None:
        looks = [look for _, look in self._looked(config) if role in look.facts]
        return Place([look.machine for look in looks], looks[0].facts[role]) if looks else None

    def _drive_all(
        self, run: Run, config: RunConfig, starts: Mapping[str, MakeWorker], begin: Begin | None
    ) -> None:
        roles = config.worker_roles
        bundles = asked_nodes(config)
        self._join()
        with nodes_asked(bundles):
            if self.remote:
                wait_for_nodes(bundles, config.cluster.place_patience_s, self.listener.say)
            on_gpus, places = self.placed(config)
            # What the specification names is what runs, on every node.
            sandbox = replace(config.sandbox, image=run.spec.image_digest or config.sandbox.image)
            state = standing(run)
            before = {stage: len(shards) for stage, shards in state.done.items()}
            road = run.spec.stages[1:]
            with self.listener.working(run.name, road, state.shards, before) as progress:
                self._progress = progress
                models = NodeModels(config.engines, progress.say)
                cluster = RayCluster(
                    starts, places, sandbox, config.cluster.sandbox_actors, models,
                    progress.say, max(START_S, config.cluster.place_patience_s), run.name,
                )  # fmt: skip
                now = SlotsNow(roles, config.cluster.engine_slots, on_gpus, cluster.held)
                later, slots = now if self.remote else None, now()
                if on_gpus and (turns := taking_turns(config, sum(slots[ENGINES].values()))):
                    progress.note(turns)
                attended = Attended(run, progress, begin)
                work = continue_run(
                    run, config, cluster, slots, attended.happened, later, on_gpus,
                    attended.begin, state, progress.earlier,
                )  # fmt: skip
                try:
                    asyncio.run(attended.drive(work, cluster))
                except asyncio.CancelledError:
                    raise KeyboardInterrupt from None


def wanted(config: RunConfig, roles: Sequence[str], code: bool) -> Wanted:
    """What a look at a machine checks, for some roles of a run; `code`: the sandbox too."""
    engines = {role: config.engines[role] for role in roles}
    chats = {
        role: Chat(
            (Message("system", "Be brief."), Message("user", "1 + 1?")), FORCED.get(role, "")
        )
        for role in roles
    }
    needs = {role: needs_of(config, role) for role in roles}
    return Wanted(engines, chats, needs, config.sandbox if code else None)


def _look_here(config: RunConfig) -> Look:
    """Look at this machine, again while what is unfit may pass (`MEMORY_PATIENCE_S`)."""
    given_up = time.monotonic() + MEMORY_PATIENCE_S
    while True:
        look = look_at(wanted(config, list(config.engines), False))
        unfit = [misfit for misfits in look.misfits.values() for misfit in misfits]
        only_passing = bool(unfit) and all(misfit.passing for misfit in unfit)
        if not only_passing or time.monotonic() > given_up:
            return look
        time.sleep(NODES_EVERY_S)


def lasting(look: Look) -> Look:
    """Drop the misfits that may pass: others may be at work on a cluster's node just now."""
    unfit = {
        role: tuple(misfit for misfit in misfits if not misfit.passing)
        for role, misfits in look.misfits.items()
    }
    return replace(look, misfits=unfit)


def _holds(kind: NodeKind, role: str, kept: Sequence[str], on_gpus: bool) -> bool:
    """Whether engines of a role may be opened on a kind of node."""
    if role in kept:
        return role in kind.resources
    return ("GPU" if on_gpus else "CPU") in kind.resources
