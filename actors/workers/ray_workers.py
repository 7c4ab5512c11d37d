"""The Ray wrappers: workers and code executors as actors, placed by custom resources.

What these actors wrap runs, and is tested, without Ray.

Invariant: an actor that died, for any reason, is `WorkerLost`. An error of the work comes out as it
was raised. Ray never repeats actor tasks; the schedule does.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants
from ray.actor import ActorHandle
from ray.exceptions import RayError

from actors.engines.start import Progress, Pulse, watched
from actors.owned_folder import ray_folder
from actors.ray_errors import DEATHS, reason
from actors.ray_errors import classified as classified
from actors.sandbox.contract import SandboxSettings
from actors.sandbox.executor import start_executor
from actors.workers.head_watch import head_watched
from actors.workers.placement import Placement
from actors.workers.ray_address import head_of
from actors.workers.ray_models import NodeModels
from actors.workers.ray_nodes import kept_nodes, shortage
from actors.workers.ray_places import RayPlaces
from actors.workers.ray_roles import MakeWorker as MakeWorker
from actors.workers.ray_roles import actor_of
from actors.workers.ray_token import have_token
from actors.workers.worker import ShardProgress
from storage.errors import InfrastructureError, WorkerLost, first_line
from storage.runs.commits import Receipt

CLOSE_SECONDS = 30.0
ANSWER_SECONDS = 2.0
"""Seconds to wait for the other workers' answers when one died; the dead are known by then."""
START_TRIES = 3
OBJECT_STORE_BYTES = 128 * 1024 * 1024
"""Small, because rows never pass through Ray's object store."""
MANY = 1000
"""Concurrent calls of one actor; the schedule bounds the shards in flight."""


class RayCluster:
    """Workers as Ray actors: an implementation of the driver's cluster protocol."""

    def __init__(
        self,
        makers: Mapping[str, MakeWorker],
        placements: Mapping[str, Placement],
        sandbox: SandboxSettings,
        executors: int | None = None,
        models: NodeModels | None = None,
        say: Callable[[str], None] = lambda line: None,
        start_patience_s: float = math.inf,
        run: str = "",
    ) -> None:
        """`makers` and `placements` are by role. `executors`: how many code executors to start when
        needed; None: as many as the cluster's `sandbox` resource counts, or one. `models` are
        fetched before a worker starts. `say` gets one-line reports of an engine's start. A start
        without progress for `start_patience_s` is given up. `run`: prefix of the actors' names.
        """
        self._run = run or "run"
        # Ray frees a killed actor's name only after some time.
        self._namespace = f"stepmill-{secrets.token_hex(8)}"
        self._makers = dict(makers)
        self._placements = dict(placements)
        self._sandbox = sandbox
        self._most_executors = executors
        self._models = models
        self._say = say
        self._start_patience_s = start_patience_s
        self._workers: dict[int, ActorHandle] = {}
        self._executors: list[ActorHandle] = []
        self._places = RayPlaces(say)
        self._roles: dict[int, str] = {}
        self._pids: dict[int, int] = {}
        self._asked: dict[int, asyncio.Task[None]] = {}
        self._said: dict[int, list[ShardProgress]] = {}
        self._dead: dict[int, WorkerLost] = {}
        """Workers found dead that `found_dead` has not yet returned."""

    async def open(self, worker: int, role: str) -> None:
        """Start a worker on any node with room. Raises as `open_on`."""
        await self.open_on(worker, role, "", lambda node: None)

    async def open_on(
        self, worker: int, role: str, node: str, placed: Callable[[str], None]
    ) -> None:
        """Start a worker, on `node` if it has room; `placed` gets the node that it is put on.

        Raises WorkerLost, another InfrastructureError or a UserError.
        """
        place, name = self._placements[role], f"{role}-{worker}"
        self._roles[worker] = role
        if self._models is not None:
            for model in place.models or (role,):
                await self._models.ready(model, place.offered)
        executors = await self._open_executors() if place.needs_sandbox else []
        if worker not in self._roles:
            raise WorkerLost(f"worker {name} was closed before it was started")
        there: Any = None
        if bundle := place.bundle:
            node, there = await self._places.take(worker, f"stepmill-{name}", bundle, node)
            placed(node)
        actor = (
            ray.remote(actor_of(role))
            .options(
                name=f"{self._run}/{name}",
                namespace=self._namespace,
                num_cpus=place.cpus,
                num_gpus=place.gpus,
                resources=place.resources,
                scheduling_strategy=there,
                max_concurrency=MANY,
                max_restarts=0,
                max_task_retries=0,
            )
            .remote(self._makers[role], name, executors)
        )
        self._workers[worker] = actor
        with classified(f"worker {name}{self._places.where(worker)}"):
            pulse = Pulse(name, self._start_patience_s)
            self._pids[worker] = await watched(
                actor.open.remote(), lambda: _look(actor), pulse, self._say
            )

    def waiting(self) -> Collection[int]:
        """Numbers of the workers that wait for a node with room."""
        return self._places.waiting()

    def held(self) -> Mapping[str, Mapping[str, float]]:
        """Node -> the resources that this run's workers take of it."""
        return self._places.held()

    def shortage(self, roles: Collection[str]) -> str:
        """One line: what workers of some roles need, what nodes have, and which jobs hold it."""
        return shortage({role: self._placements[role].bundle for role in roles})

    async def _open_executors(self) -> list[ActorHandle]:
        there = await asyncio.to_thread(kept_nodes, ("sandbox",))
        room = there.get("sandbox", 0)
        where = {"sandbox": 1.0} if room else {}
        while len(self._executors) < (self._most_executors or max(1, room)):
            self._executors.append(self._start_executor(where))
        return self._executors

    def _start_executor(self, where: Mapping[str, float]) -> ActorHandle:
        name = f"{self._run}/executor-{len(self._executors)}"
        return start_executor(
            self._sandbox, where, max_restarts=-1, name=name, namespace=self._namespace
        )

    async def run(self, worker: int, stage: str, shard: int) -> Receipt:
        """Make and commit one shard."""
        return await self._call(worker, "work", stage, shard)

    async def isolate(self, worker: int, stage: str, shard: int) -> Receipt:
        """Make and commit one shard part by part, to find an item that kills workers."""
        return await self._call(worker, "isolate", stage, shard)

    async def hungry(self, worker: int) -> None:
        """Return once no request waits for the worker's engine. Raises WorkerLost."""
        actor = self._workers.get(worker)
        if actor is None:
            raise WorkerLost(f"worker {worker} is closed")
        with classified(f"worker {worker}"):
            await actor.hungry.remote()

    async def _call(self, worker: int, method: str, stage: str, shard: int) -> Receipt:
        actor = self._workers.get(worker)
        if actor is None:
            raise WorkerLost(f"worker {worker} is closed")
        try:
            with classified(self._named(worker)):
                receipt: Receipt = await getattr(actor, method).remote(stage, shard)
        except WorkerLost:
            await self._ask_who_else_died()
            raise
        return receipt

    def _named(self, worker: int) -> str:
        return f"worker {self._roles.get(worker, '')}-{worker}{self._places.where(worker)}"

    async def _ask_who_else_died(self) -> None:
        """Find the other dead workers of a node, so that the driver gives them no shard."""
        self._ask_all()
        if self._asked:
            await asyncio.wait(list(self._asked.values()), timeout=ANSWER_SECONDS)

    def found_dead(self) -> dict[int, WorkerLost]:
        """Worker -> how it died, for those found dead since the last call; each once."""
        dead, self._dead = self._dead, {}
        return dead

    def pids(self, role: str) -> list[int]:
        """Process ids of the running workers of a role."""
        return [pid for worker, pid in self._pids.items() if self._roles.get(worker) == role]

    async def progress(self) -> list[ShardProgress]:
        """How far all shards in flight have come, by each worker's last answer.

        A worker with a pending question gets no other one.
        """
        self._ask_all()
        await asyncio.sleep(0)
        for worker in self._said.keys() - self._workers.keys():
            del self._said[worker]
        return [part for parts in self._said.values() for part in parts]

    def _ask_all(self) -> None:
        for worker, actor in list(self._workers.items()):
            if worker in self._pids and worker not in self._asked:
                self._asked[worker] = asyncio.create_task(self._ask(worker, actor))

    async def _ask(self, worker: int, actor: ActorHandle) -> None:
        try:
            self._said[worker] = await actor.progress.remote()
        except RayError as error:
            self._said.pop(worker, None)
            # Without its process it is not asked again, and one that was closed has none.
            if isinstance(error, DEATHS) and self._pids.pop(worker, None) is not None:
                self._dead[worker] = WorkerLost(f"{self._named(worker)}: {reason(error)}")
        finally:
            self._asked.pop(worker, None)

    async def close(self, worker: int) -> None:
        """Stop a worker, gently first; never raises."""
        actor = self._workers.pop(worker, None)
        self._pids.pop(worker, None)
        role = self._roles.pop(worker, None)
        if actor is None:
            return self._places.give_back(worker)
        with contextlib.suppress(RayError, InfrastructureError, TimeoutError):
            await asyncio.wait_for(_gentle_close(actor), CLOSE_SECONDS)
        with contextlib.suppress(RayError):
            ray.kill(actor)
        self._places.give_back(worker)
        for executor in self._executors:  # frees what the worker held of them at once
            executor.forget.remote(f"{role}-{worker}")

    async def shutdown(self) -> None:
        """Stop every worker and executor."""
        for asking in list(self._asked.values()):
            asking.cancel()
        await asyncio.gather(*(self.close(worker) for worker in list(self._roles)))
        for actor in self._executors:
            with contextlib.suppress(RayError, TimeoutError):
                await asyncio.wait_for(_gentle_close(actor), CLOSE_SECONDS)
            with contextlib.suppress(RayError):
                ray.kill(actor)
        self._executors.clear()


async def _look(actor: ActorHandle) -> Progress | None:
    """How far a start is; None if the actor died, which its call of `open` reports."""
    with contextlib.suppress(RayError):
        return await actor.starting.remote()  # type: ignore[no-any-return]
    return None


async def _gentle_close(actor: ActorHandle) -> None:
    await actor.close.remote()


@contextlib.contextmanager
def ray_session(
    address: str | None, sandbox_actors: int, head_lost: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Join the cluster at `address` (or $RAY_ADDRESS), or start a private one on this machine.

    Raises ConfigurationError and InfrastructureError where no head answers at `address`.

    A private cluster serves this user only (token authentication), listens on the loopback alone,
    has its own folder, and always ends with this process. A thread calls `head_lost` when the head
    is gone (`actors.workers.head_watch`).
    """
    address = address or os.environ.get("RAY_ADDRESS")
    folder = None
    with contextlib.ExitStack() as session:
        if address:
            head = head_of(address)
            session.callback(ray.shutdown)
            _join(head, {"address": head})
        else:
            folder = session.enter_context(ray_folder())
            session.callback(ray.shutdown)
            _start(folder, sandbox_actors)
        if head_lost is not None:
            head = ray.get_runtime_context().gcs_address
            session.enter_context(head_watched(head, head_lost, folder))
        yield


def _start(folder: Path, sandbox_actors: int) -> None:
    """Start a cluster on this machine. Ray gives its processes 30 seconds; a busy machine that
    misses them tries again.
    """
    have_token()
    for attempt in range(START_TRIES):
        local: dict[str, Any] = {
            "address": "local",
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
            "resources": {"sandbox": float(sandbox_actors)},
            "_temp_dir": str(folder / str(attempt)),
        }
        try:
            with _loopback():
                return _join("this machine", local)
        except InfrastructureError:
            ray.shutdown()
            if attempt + 1 == START_TRIES:
                raise


@contextlib.contextmanager
def _loopback() -> Iterator[None]:
    """Let Ray take the loopback for this node's address: its processes then listen there alone.

    Ray does so by itself where it makes no clusters of several machines (macOS, Windows). It reads
    the variable for that when it is imported, and turns `_node_ip_address="127.0.0.1"` into the
    machine's outer address.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _join(name: str, where: dict[str, Any]) -> None:
    try:
        ray.init(**where, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # Ray raises bare ones; every one is the infrastructure's
        raise InfrastructureError(f"Ray at {name}: {first_line(error)}") from error
