"""Ceph's RADOS gateway: a production S3 server on this machine, one monitor, one disk, one gateway.

Its packages are taken from Debian and unpacked into `.stepmill/ceph`, nothing is installed; the
disk is a sparse file. It checks credentials and syncs what it acknowledges, so that killing all of
it at once loses nothing.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.s3_servers import KEY, ROOT, SECRET, S3Server, shared

HOME = ROOT / ".stepmill" / "ceph"
PACKAGES = ["radosgw", "ceph-mon", "ceph-osd", "ceph-common"]
LIBRARIES = HOME / "usr/lib/x86_64-linux-gnu"

CONF = """
[global]
fsid = {fsid}
mon_host = [v2:127.0.0.1:{port}/0]
mon_initial_members = a
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_msgr1 = false
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
keyring = {data}/keyring
run_dir = {data}/run
admin_socket =
log_file = {data}/$name.log
pid_file =
plugin_dir = {libraries}/ceph
erasure_code_dir = {libraries}/ceph/erasure-code
osd_class_dir = {libraries}/rados-classes
mon_data = {data}/mon
mon_data_avail_crit = 1
mon_data_avail_warn = 2
mon_allow_pool_size_one = true
osd_data = {data}/osd
osd_memory_target = 939524096
osd_objectstore = bluestore
bluestore_block_create = true
bluestore_block_size = 21474836480
osd_crush_chooseleaf_type = 0
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
rgw_enable_apis = s3
rgw_data = {data}/rgw
"""

KEYS = {
    "mon.": ["mon", "allow *"],
    "client.admin": ["mon", "allow *", "osd", "allow *", "mgr", "allow *"],
    "osd.0": ["mon", "allow profile osd", "osd", "allow *", "mgr", "allow profile osd"],
    "client.rgw": ["mon", "allow rw", "osd", "allow rwx"],
}


def ceph(data: Path) -> S3Server:
    """A new cluster in `data`, with one user; skips the test where Debian's packages can't be had.

    Its disk must exist before the gateway's user can, so the cluster is up once when this returns
    and is stopped again: `start` starts it.
    """
    programs = unpack()
    monitor, port = free_port(), free_port()
    settings = {
        "LD_LIBRARY_PATH": f"{LIBRARIES}:{LIBRARIES}/ceph:{HOME}/lib/x86_64-linux-gnu",
        "PYTHONPATH": str(HOME / "usr/lib/python3/dist-packages"),
        "CEPH_CONF": str(data / "ceph.conf"),
    }
    for folder in ("mon", "osd", "run"):
        (data / folder).mkdir(parents=True)
    fsid, disk = str(uuid.uuid4()), str(uuid.uuid4())
    (data / "ceph.conf").write_text(
        CONF.format(fsid=fsid, port=monitor, data=data, libraries=LIBRARIES)
    )

    def call(program: str, *words: str) -> None:
        done = subprocess.run(
            [str(programs / program), *words], env={"PATH": os.environ["PATH"], **settings},
            capture_output=True, text=True, timeout=120, cwd=data,
        )  # fmt: skip
        assert done.returncode == 0, f"{program} {words}: {done.stderr[-2000:]}"

    call("ceph-authtool", "--create-keyring", "keyring")
    for name, rights in KEYS.items():
        pairs = zip(rights[::2], rights[1::2], strict=True)
        caps = [word for kind, right in pairs for word in ("--cap", kind, right)]
        call("ceph-authtool", "keyring", "--gen-key", "-n", name, *caps)
    address = f"[v2:127.0.0.1:{monitor}/0]"
    call("monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, "monmap")
    call("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "keyring")
    commands = [
        [str(programs / "ceph-mon"), "-f", "-i", "a"],
        [str(programs / "ceph-osd"), "-f", "-i", "0"],
        [str(programs / "radosgw"), "-f", "-n", "client.rgw", "--rgw-frontends",
         f"beast endpoint=127.0.0.1:{port}"],
    ]  # fmt: skip
    server = S3Server(f"http://127.0.0.1:{port}", commands, settings, data)
    first = S3Server("", commands[:1], settings, data)
    first.run()
    call("ceph", "-n", "client.admin", "osd", "new", disk)
    call("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk, "--no-mon-config")
    first.stop()
    both = S3Server("", commands[:2], settings, data)
    both.run()
    call(
        "radosgw-admin", "-n", "client.rgw", "user", "create", "--uid", "tests", "--display-name",
        "tests", "--access-key", KEY, "--secret", SECRET,
    )  # fmt: skip
    both.stop()
    return server


def shared_ceph() -> S3Server:
    """One cluster for all tests of this process."""
    return shared(ceph)


def unpack() -> Path:
    """The folder of Ceph's programs, downloaded and unpacked on first use."""
    if not all(map(shutil.which, ("apt-get", "dpkg-deb"))) or not Path("/usr/bin/python3").exists():
        pytest.skip("Ceph's packages need Debian")
    HOME.mkdir(parents=True, exist_ok=True)
    with open(HOME.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (HOME / "unpacked").exists():
            _download(HOME)
            (HOME / "unpacked").touch()
    return HOME / "usr/bin"


def _download(home: Path) -> None:
    """Every package that this machine lacks for Ceph, without installing one."""
    plan = subprocess.run(
        ["apt-get", "--simulate", "--no-install-recommends", "install", *PACKAGES],
        capture_output=True, text=True,
    )  # fmt: skip
    if plan.returncode != 0:
        pytest.skip("Ceph's packages are not to be had: `apt-get update` may help")
    lines = plan.stdout.splitlines()
    names = [line.split()[1] for line in lines if line.startswith("Inst ")]
    with tempfile.TemporaryDirectory() as debs:
        subprocess.run(["apt-get", "download", *names], cwd=debs, check=True, capture_output=True)
        for deb in sorted(Path(debs).glob("*.deb")):
            subprocess.run(["dpkg-deb", "--extract", deb, home], check=True)
