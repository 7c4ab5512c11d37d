"""OpenStack Swift with its S3 interface: the store that a sequential probe would let pass.

Its object server compares `If-None-Match` before it writes and not again when it renames, so that
of sixteen racing writers several are told that they created the object.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3

from tests.support.ports import free_port
from tests.support.s3_servers import SECRET, install, spawn, wait_until_it_answers

KEY = "test:AKIDSTEPMILLTESTS"
BUCKET = "stepmill-tests"

SWIFT_CONF = """
[swift-hash]
swift_hash_path_suffix = stepmill
swift_hash_path_prefix = tests
[storage-policy:0]
name = one
default = yes
"""

DEFAULTS = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {folder}
devices = {folder}/srv
mount_check = false
workers = 0
log_level = WARNING
"""

STORAGE_CONF = """
[pipeline:main]
pipeline = {role}-server
[app:{role}-server]
use = egg:swift#{role}
"""

PROXY_CONF = f"""
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck s3api tempauth slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:s3api]
use = egg:swift#s3api
[filter:slo]
use = egg:swift#slo
[filter:tempauth]
use = egg:swift#tempauth
user_{KEY.replace(":", "_")} = {SECRET} .admin
"""

MODULES = {
    "account": "swift.account.server",
    "container": "swift.container.server",
    "object": "swift.obj.server",
    "proxy": "swift.proxy.server",
}

LAUNCH = """
import importlib, sys
from swift.common import utils
utils.SWIFT_CONF_FILE, module, conf = sys.argv[1:]
sys.argv = ["swift", conf]
sys.exit(importlib.import_module(module).main())
"""


@contextmanager
def swift(folder: Path) -> Iterator[str]:
    """Four servers on one device; yields the endpoint of the S3 interface."""
    programs = install()
    (folder / "srv" / "d1").mkdir(parents=True)
    (folder / "swift.conf").write_text(SWIFT_CONF)
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    running: list[subprocess.Popen[bytes]] = []
    endpoints: dict[str, str] = {}
    try:
        for role, module in MODULES.items():
            port = free_port()
            own = PROXY_CONF if role == "proxy" else STORAGE_CONF.format(role=role)
            conf = folder / f"{role}.conf"
            conf.write_text(DEFAULTS.format(port=port, user=user, folder=folder) + own)
            if role != "proxy":
                _make_ring(programs / "swift-ring-builder", folder / f"{role}.builder", port)
            command = [
                str(programs / "python"), "-c", LAUNCH, str(folder / "swift.conf"), module,
                str(conf),
            ]  # fmt: skip
            running.append(spawn(command, {}, folder / f"{role}.log"))
            endpoints[role] = f"http://127.0.0.1:{port}"
            wait_until_it_answers(endpoints[role], running[-1], folder / f"{role}.log")
        client = boto3.client(
            "s3", endpoint_url=endpoints["proxy"], region_name="us-east-1",
            aws_access_key_id=KEY, aws_secret_access_key=SECRET,
        )  # fmt: skip
        client.create_bucket(Bucket=BUCKET)
        yield endpoints["proxy"]
    finally:
        for process in running:
            process.kill()
            process.wait()


def _make_ring(builder: Path, ring: Path, port: int) -> None:
    """One partition map of one device; `rebalance` warns with exit code 1."""
    for words in (["create", "4", "1", "1"], ["add", f"r1z1-127.0.0.1:{port}/d1", "1"]):
        subprocess.run([builder, ring, *words], check=True, capture_output=True)
    subprocess.run([builder, ring, "rebalance"], check=False, capture_output=True)
    if not os.path.exists(ring.with_name(f"{ring.stem}.ring.gz")):
        sys.exit(f"no ring for {ring.stem}")
