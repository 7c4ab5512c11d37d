"""Serves a verifier until it is told to stop.

Invariant: nothing listens before all replicas are open. When it ends, what was let in is answered
(within `serve.grace_s`) and nothing of the service is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from actors.serving.service import ServicePlan, serving
from actors.stopping import terminable
from actors.workers.ray_models import NodeModels
from storage.errors import ConfigurationError
from workflows.runs.checks import STORE, Finding, require
from workflows.runs.listening import SILENT, Listener
from workflows.runs.settling import recalled
from workflows.runs.site import START_S, Site
from workflows.scoring.asking import read_config
from workflows.serving.answering import open_answerer
from workflows.serving.door import ScoreDoor
from workflows.serving.gate import digest_of
from workflows.serving.questions import Usual
from workflows.serving.settings import LOCAL, ServeConfig

_ADAPTER: TypeAdapter[ServeConfig] = TypeAdapter(ServeConfig)
ROLE = "verifier"
TELLS_EVERY_S = 2.0
LEAST_TOKEN = 16
"""Characters of a token."""


def serve(
    config: ServeConfig,
    *,
    address: str | None = None,
    listener: Listener = SILENT,
    ready: Callable[[str], None] = lambda url: None,
    stop: threading.Event | None = None,
) -> None:
    """Serve the configuration's verifier until SIGTERM, Ctrl-C or `stop`.

    `ready` gets the URL once all replicas are open. Raises UserError before anything listens, and
    InfrastructureError.
    """
    if config.verify.prune != "off":
        raise ConfigurationError(
            "verify.prune is for score runs: a server's rewards are means over all histories"
        )
    token, told = token_of(config), stop or threading.Event()
    with Site(config.cluster, address, listener) as site, contextlib.ExitStack() as held:
        if not site.remote:
            check_port(config.serve.host, config.serve.port)
        config = recalled(config, None)
        image = require(config, site, Finding(STORE, True, "nothing is stored"))
        config = site.fitted(site.settled(config))
        config = replace(config, sandbox=replace(config.sandbox, image=image or ""))
        plan = plan_of(config, site)
        held.enter_context(terminable())  # Ray, which has started, sets a handler of its own
        asyncio.run(NodeModels(config.engines, listener.say).ready(ROLE, plan.placement.offered))
        usual = Usual(
            config.verify.mode, config.verify.histories, config.verify.seed, config.modes,
            config.serve,
        )  # fmt: skip
        door = partial(ScoreDoor, usual, token and digest_of(token))
        with serving(plan, partial(open_answerer, config), door, listener.say) as service:
            host = site.head().rpartition(":")[0] if site.remote else config.serve.host
            ready(f"http://{host}:{config.serve.port}")
            with contextlib.suppress(KeyboardInterrupt):
                while not told.wait(TELLS_EVERY_S):
                    for line in service.heard():
                        listener.say(line)
            listener.say("stopping: what is at work is answered, further requests are refused")
            if not service.drain(config.serve.grace_s):
                listener.say(
                    f"not all is answered after serve.grace_s ({config.serve.grace_s:g} s)"
                )


def config_of(
    model: str, settings: Path | None = None, asked: dict[str, Any] | None = None
) -> ServeConfig:
    """The configuration of serving `model`; as `workflows.scoring.asking.config_of`."""
    return read_config(_ADAPTER, model, settings, asked or {}, "serve")[0]


def token_of(config: ServeConfig) -> str | None:
    """The token of a configuration; None: none is set, and only this machine can ask.

    Raises ConfigurationError.
    """
    limits = config.serve
    if limits.token_file is not None:
        try:
            token = Path(limits.token_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"serve.token_file: can't be read: {error}") from None
        source = f"serve.token_file {limits.token_file}"
    else:
        token, source = os.environ.get(limits.token_env, "").strip(), f"${limits.token_env}"
    if token and (len(token) < LEAST_TOKEN or not re.fullmatch(r"[!-~]+", token)):
        raise ConfigurationError(
            f"{source}: a token has {LEAST_TOKEN} printable ASCII characters at least, without "
            "blanks: openssl rand -hex 32"
        )
    if not token and limits.token_file is not None:
        raise ConfigurationError(f"{source} is empty: write a token into it")
    if not token and limits.host not in LOCAL:
        raise ConfigurationError(
            f"serve.host {limits.host} can be reached by others: set ${limits.token_env}, or "
            "serve.token_file, to a token that requests must show"
        )
    return token or None


def plan_of(config: ServeConfig, site: Site) -> ServicePlan:
    """What is started in the site's cluster, which is joined or started now."""
    limits, place = config.serve, site.placed(config)[1][ROLE]
    return ServicePlan(
        name=f"stepmill-{limits.port}",
        host=limits.host,
        port=limits.port,
        replicas=limits.replicas,
        placement=place,
        sandbox=config.sandbox,
        executors=config.cluster.sandbox_actors,
        patience_s=max(START_S, config.cluster.place_patience_s),
        room_s=config.cluster.place_patience_s,
        closing_s=30.0,
    )


def check_port(host: str, port: int) -> None:
    """Raise ConfigurationError for an address of this machine that can't be listened on."""
    try:
        with socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        ):
            pass
    except OSError as error:
        raise ConfigurationError(
            f"{host}:{port} can't be listened on ({error.strerror or error}): name another "
            "--port or --host"
        ) from None
