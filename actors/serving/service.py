"""Starts a service on Ray Serve, and ends it: its replicas, its door, its code executors.

Invariant: when `serving` is left, nothing of the service is left in the cluster: no replica, no
executor, and no Ray Serve either, unless it was there before.
"""

from __future__ import annotations

import contextlib
import logging
import math
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ray
from ray import serve
from ray.actor import ActorHandle
from ray.exceptions import RayError
from ray.serve.context import _get_global_client
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from actors.ray_errors import classified, origin
from actors.sandbox.contract import SandboxSettings
from actors.sandbox.executor import start_executor
from actors.serving.contract import MakeAnswerer, MakeDoor
from actors.serving.herald import Heard, Herald
from actors.serving.replicas import DOOR, REPLICAS, DoorDeployment, Replica
from actors.workers.placement import Placement
from actors.workers.ray_nodes import kept_nodes, shortage
from storage.errors import ConfigurationError, InfrastructureError, RunStopped, first_line

CLOSE_S = 30.0
CONTROLLER = "SERVE_CONTROLLER_ACTOR"
LOOKS_EVERY_S = 1.0
MANY = 100_000
"""Concurrent requests of a door, which bounds them itself; and of a replica, whose engine does."""
ROOM_SAID_S = 60.0
"""Seconds without a place for a replica before that is said."""
FAILED = frozenset({"DEPLOY_FAILED", "UNHEALTHY"})
"""What Ray Serve calls an application that does not come up."""
OPENING_TRIES = 3
"""Times that the first start of a replica is tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePlan:
    """What is started, and where."""

    name: str
    host: str
    port: int
    replicas: int
    placement: Placement
    """What a replica takes of a node."""
    sandbox: SandboxSettings
    executors: int | None
    """Actors that run code; None: as many as the cluster's `sandbox` resource counts, or one."""
    patience_s: float
    """Longest start of an engine in which nothing moves."""
    room_s: float
    """Longest wait for nodes with room for all replicas."""
    closing_s: float
    """Longest end of a replica."""


class Service:
    """A service that is open."""

    def __init__(self, door: DeploymentHandle[Any], herald: ActorHandle[Any]) -> None:
        self._door = door
        self._herald = herald

    def heard(self) -> list[str]:
        """What replicas said since the last call; a herald that does not answer has no news."""
        with contextlib.suppress(RayError):
            lines: list[str] = ray.get(self._herald.heard.remote(), timeout=CLOSE_S).lines
            return lines
        return []

    def drain(self, most_s: float) -> bool:
        """Let no further request in, and wait for those that are at work; whether all ended."""
        try:
            self._door.drained.remote().result(timeout_s=most_s)
        except (TimeoutError, RayError, RayServeException):
            return False
        return True


@contextlib.contextmanager
def serving(
    plan: ServicePlan, make: MakeAnswerer, door: MakeDoor, say: Callable[[str], None]
) -> Iterator[Service]:
    """Open a service in the cluster that this process has joined, and end it.

    Returns once all replicas are open; `say` gets a line for each thing that happens meanwhile.
    Raises UserError for a model that can't run so, ConfigurationError where Ray Serve runs in the
    cluster already, and InfrastructureError.
    """
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    with contextlib.ExitStack() as held:
        executors = _executors(plan) if plan.placement.needs_sandbox else []
        for executor in executors:
            held.callback(_end, executor)
        herald = ray.remote(Herald).options(num_cpus=0).remote(executors)
        held.callback(ray.kill, herald)
        held.enter_context(_ray_serve(plan))
        held.callback(_delete, plan.name)
        handle = _opened(plan, herald, _application(plan, make, door, herald, executors), say)
        yield Service(handle, herald)


def _application(
    plan: ServicePlan,
    make: MakeAnswerer,
    door: MakeDoor,
    herald: ActorHandle[Any],
    executors: list[ActorHandle[Any]],
) -> serve.Application:
    place = plan.placement
    replicas = serve.deployment(
        name=REPLICAS,
        num_replicas=plan.replicas,
        max_ongoing_requests=MANY,
        max_constructor_retry_count=OPENING_TRIES,
        graceful_shutdown_timeout_s=plan.closing_s,
        ray_actor_options={
            "num_cpus": place.cpus,
            "num_gpus": place.gpus,
            "resources": place.resources,
        },
    )(Replica).bind(make, herald, executors, plan.patience_s)
    return serve.deployment(
        name=DOOR,
        max_ongoing_requests=MANY,
        graceful_shutdown_timeout_s=plan.closing_s,
        ray_actor_options={"num_cpus": 0},
    )(serve.ingress()(DoorDeployment)).bind(replicas, herald, plan.name, door)


def _opened(
    plan: ServicePlan,
    herald: ActorHandle[Any],
    application: serve.Application,
    say: Callable[[str], None],
) -> DeploymentHandle[Any]:
    """Run the application, and wait for its replicas; say how far they are."""
    target = serve.RunTarget(target=application, name=plan.name, route_prefix="/")
    (handle,) = serve.run_many([target], wait_for_applications_running=False)
    placed, moved_at, told = 0, time.monotonic(), False
    while (state := serve.status().applications[plan.name]).status != "RUNNING":
        now, before = time.monotonic(), placed
        placed = _tell(herald, say)
        if state.status in FAILED:
            said = [state.message, *(each.message for each in state.deployments.values())]
            raise InfrastructureError(
                f"no replica opened: {next(filter(None, said), state.status)}"
            )
        time.sleep(LOOKS_EVERY_S)
        moved_at = now if placed > before else moved_at
        if placed >= plan.replicas or now - moved_at < ROOM_SAID_S:
            continue
        lacking = f"{plan.replicas - placed} replicas find no room: {_shortage(plan)}"
        if now - moved_at > plan.room_s:
            raise RunStopped(f"{lacking}; ask for fewer with --replicas")
        if not told:
            say(f"{lacking}; it is waited for")
            told = True
    _get_global_client().wait_for_proxies_serving()  # they hear of the route a moment later
    _tell(herald, say)
    return handle


def _tell(herald: ActorHandle[Any], say: Callable[[str], None]) -> int:
    """Say what replicas said; how many have a place. Raises the UserError that one has met."""
    with classified("the service"):
        heard: Heard = ray.get(herald.heard.remote())
    for line in heard.lines:
        say(line)
    if heard.refused is not None:
        raise heard.refused
    return heard.placed


def _shortage(plan: ServicePlan) -> str:
    place = plan.placement
    return shortage({"verifier": place.bundle or {"CPU": place.cpus}})


@contextlib.contextmanager
def _ray_serve(plan: ServicePlan) -> Iterator[None]:
    """Ray Serve with its HTTP proxy on the head node; ended unless it was there before."""
    if _is_there():
        raise ConfigurationError(
            "Ray Serve runs in this cluster already, with a port of its own: end it with `serve "
            "shutdown`, or start this service in a cluster of its own"
        )
    try:
        serve.start(
            proxy_location="HeadOnly",
            http_options={"host": plan.host, "port": plan.port},
            logging_config={"log_level": "ERROR", "enable_access_log": False},
        )
        yield
    except (RayServeException, RayError, TimeoutError) as error:
        raise InfrastructureError(f"Ray Serve: {first_line(origin(error))}") from error
    finally:
        with contextlib.suppress(RayError, RayServeException):
            serve.shutdown()


def _is_there() -> bool:
    try:
        ray.get_actor(CONTROLLER, namespace="serve")
    except ValueError:
        return False
    return True


def _executors(plan: ServicePlan) -> list[ActorHandle[Any]]:
    room = kept_nodes(("sandbox",)).get("sandbox", 0)
    where = {"sandbox": 1.0} if room else {}
    namespace = f"stepmill-{secrets.token_hex(8)}"
    return [
        start_executor(
            plan.sandbox, where, max_restarts=-1, name=f"{plan.name}/executor-{number}",
            namespace=namespace,
        )
        for number in range(plan.executors or max(1, math.floor(room)))
    ]  # fmt: skip


def _end(executor: ActorHandle[Any]) -> None:
    with contextlib.suppress(RayError):
        ray.get(executor.close.remote(), timeout=CLOSE_S)
    with contextlib.suppress(RayError):
        ray.kill(executor)


def _delete(name: str) -> None:
    with contextlib.suppress(RayError, RayServeException):
        serve.delete(name)
