"""Rows 27 to 40: what belongs to the host, the kernel or the other users."""

from __future__ import annotations

import os
from pathlib import Path

from case import Case

REPOSITORY = Path(__file__).resolve().parents[2]
CANARY = "canary-5e1f"
ABSTRACT = f"stepmill-canary-{os.getpid()}"

CASES = (
    Case(
        27,
        "writes where it must not",
        """
        for path in ("/x", "/usr/x", "/etc/passwd", "/lib/x", "/proc/x", "/dev/x", "/var/x", "/sys/x"):
            refused(path, lambda: open(path, "w"))
        refused("unlink", lambda: os.unlink("/usr/local/bin/python3"))
        """,
        ("ok",),
    ),
    Case(
        28,
        "reads what it must not",
        f"""
        for path in ("/etc/shadow", "/root/.bashrc", {str(REPOSITORY)!r}, {str(Path.home())!r} + "/.",
                     "/proc/1/environ", "/proc/1/root/etc", "/proc/1/mem", "/proc/kcore", "/var/run"):
            refused(path, lambda: os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(9))
        """,
        ("ok",),
        cannot={"docker-runsc": "gVisor shows process 1's environment: the box's own, fixed one"},
    ),
    Case(
        29,
        "looks for secrets in the environment",
        f"""
        seen = set(os.environ)
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try: data = open(f"/proc/{{pid}}/environ", "rb").read()
            except OSError: continue
            seen |= {{entry.split(b"=")[0].decode() for entry in data.split(b"\\0") if entry}}
            if {CANARY[::-1]!r}[::-1].encode() in data: print("BREACH canary")
        if any(name.startswith(("AWS", "RAY", "HF_", "DOCKER")) for name in seen): print("BREACH", seen)
        print(sorted(seen))
        """,
        ("ok",),
        lambda e: (
            set(eval(e.stdout))
            <= {
                "HOME",
                "HOSTNAME",
                "LANG",
                "OMP_NUM_THREADS",
                "OPENBLAS_NUM_THREADS",
                "PATH",
                "PWD",
                "PYTHONDONTWRITEBYTECODE",
                "PYTHONHASHSEED",
                "TMPDIR",
            }
        ),
    ),
    Case(
        30,
        "sees and kills other processes",
        """
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        if len(pids) > 4: print("BREACH", pids)
        if os.getppid() > 0: refused("parent", lambda: os.kill(os.getppid(), 9))
        try: os.kill(-1, 9)
        except OSError: pass
        try: os.kill(1, 9)
        except OSError: pass
        print("still here")
        """,
        ("ok",),
        lambda e: "still here" in e.stdout,
    ),
    Case(
        31,
        "reaches for the network",
        """
        for address in (("1.1.1.1", 53), ("169.254.169.254", 80), ("172.17.0.1", 22),
                        ("127.0.0.1", 6379), ("127.0.0.1", 8265), ("127.0.0.1", int(sys.stdin.read() or 1))):
            refused(address, lambda: socket.create_connection(address, 0.3))
        refused("dns", lambda: socket.getaddrinfo("example.org", 80))
        refused("udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        refused("tcp6", lambda: socket.socket(socket.AF_INET6))
        """,
        ("ok",),
    ),
    Case(
        32,
        "reaches for the host's unix sockets",
        f"""
        def connect(address):
            with socket.socket(socket.AF_UNIX) as ours:
                ours.settimeout(0.3)
                ours.connect(address)
        for address in ("\\0{ABSTRACT}", "/tmp/ray/session_latest/sockets/raylet", "/var/run/docker.sock",
                        "/run/containerd/containerd.sock"):
            refused(address, lambda: connect(address))
        """,
        ("ok",),
    ),
    Case(
        33,
        "opens unusual sockets",
        """
        for family in (2, 10, 16, 17, 38, 40, 44):
            for kind in (1, 2, 3):
                refused((family, kind), lambda: socket.socket(family, kind))
        """,
        ("ok",),
        lambda e: e.stdout.count(" 97") == 21,
    ),
    Case(
        34,
        "makes namespaces",
        """
        for name, attempt in {
            "unshare user": (272, 0x10000000), "unshare all": (272, 0x7E020000),
            "clone user": (56, 0x10000000 | 17, 0, 0, 0, 0), "clone pid": (56, 0x20000000 | 17, 0, 0, 0, 0),
            "clone3": (435, 0, 88), "setns": (308, 0, 0),
        }.items():
            result, why = call(*attempt)
            print("BREACH" if result >= 0 or why not in ("EPERM", "ENOSYS") else "refused", name, why)
        """,
        ("ok",),
    ),
    Case(
        35,
        "mounts and makes devices",
        """
        refused("block device", lambda: os.mknod("/tmp/b", 0o60600, os.makedev(254, 0)))
        refused("character device", lambda: os.mknod("/tmp/c", 0o20600, os.makedev(1, 1)))
        for name, attempt in {
            "mount": (165, b"none", b"/tmp", b"tmpfs", 0, 0), "umount": (166, b"/tmp", 0),
            "pivot_root": (155, b"/tmp", b"/tmp"), "chroot": (161, b"/tmp"),
            "open_by_handle_at": (304, 0, 0, 0), "name_to_handle_at": (303, 0, b"/", 0, 0, 0),
            "open_tree": (428, 0, b"/", 1), "move_mount": (429, 0, b"", 0, b"", 0), "fsopen": (430, b"tmpfs", 0),
            "mount_setattr": (442, 0, b"", 0, 0, 0),
        }.items():
            result, why = call(*attempt)
            print("BREACH" if result >= 0 or why not in ("EPERM", "ENOSYS") else "refused", name, why)
        """,
        ("ok",),
    ),
    Case(
        36,
        "traces and programs the kernel",
        """
        for name, attempt in {
            "ptrace": (101, 16, 1, 0, 0), "traceme": (101, 0, 0, 0, 0),
            "process_vm_readv": (310, 1, 0, 0, 0, 0, 0), "process_vm_writev": (311, 1, 0, 0, 0, 0, 0),
            "perf_event_open": (298, 0, 0, -1, -1, 0), "bpf": (321, 0, 0, 0), "userfaultfd": (323, 0),
            "kcmp": (312, 1, 1, 0, 0, 0), "pidfd_getfd": (438, 0, 0, 0), "process_madvise": (440, 0, 0, 0, 0, 0),
        }.items():
            result, why = call(*attempt)
            print("BREACH" if result >= 0 or why not in ("EPERM", "ENOSYS") else "refused", name, why)
        """,
        ("ok",),
    ),
    Case(
        37,
        "io_uring and keyrings",
        """
        for name, attempt in {
            "io_uring_setup": (425, 1, 0), "io_uring_enter": (426, 0, 0, 0, 0, 0), "io_uring_register": (427, 0, 0, 0, 0),
            "add_key": (248, b"user", b"k", b"v", 1, -3), "request_key": (249, b"user", b"k", 0, 0),
            "keyctl": (250, 0, -3, 1), "io_setup": (206, 1, 0),
        }.items():
            result, why = call(*attempt)
            print("BREACH" if result >= 0 or why not in ("EPERM", "ENOSYS") else "refused", name, why)
        """,
        ("ok",),
    ),
    Case(
        38,
        "turns the kernel's knobs",
        """
        def write(path, text):
            with open(path, "w") as file: file.write(text)
        for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/vm/drop_caches",
                     "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max",
                     "/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/cgroup.procs"):
            refused(path, lambda: write(path, "1"))
        refused("oom", lambda: write("/proc/self/oom_score_adj", "-1000"))
        refused("nice", lambda: os.nice(-10))
        import resource
        refused("limit", lambda: resource.setrlimit(resource.RLIMIT_NPROC, (4096, 4096)), (OSError, ValueError))
        print(call(302, 1, 7, 0, 0), call(203, 1, 8, b"\\1" * 8))
        """,
        ("ok",),
    ),
    Case(
        39,
        "becomes root",
        """
        for attempt in (os.setuid, os.setgid, os.seteuid): refused(attempt, lambda: attempt(0))
        refused("groups", lambda: os.setgroups([0]))
        status = open("/proc/self/status").read()
        lines = dict(line.split(":\\t") for line in status.splitlines() if ":\\t" in line)
        if int(lines["CapEff"], 16) or int(lines["CapPrm"], 16) or int(lines.get("CapAmb", "0"), 16): print("BREACH", lines)
        if lines.get("NoNewPrivs", "1") != "1" or lines["Uid"].split()[0] == "0": print("BREACH", lines)
        for folder, _, names in os.walk("/", onerror=lambda error: None):
            if folder.startswith(("/proc", "/sys")): continue
            for name in names:
                try: mode = os.lstat(f"{folder}/{name}").st_mode
                except OSError: continue
                if mode & 0o6000: print("BREACH", folder, name)
        """,
        ("ok",),
    ),
    Case(
        40,
        "32-bit system calls",
        """
        import mmap
        page = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, 7)
        page.write(bytes([0xB8, 20, 0, 0, 0, 0xCD, 0x80, 0xC3]))
        pid = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
        if pid == os.getpid(): print("BREACH", pid)
        """,
        ("killed", "ok"),
        lambda e: e.verdict == "ok" or e.signal in (11, 31),
    ),
    Case(
        40,
        "x32 system calls",
        "print(call(0x40000000 | 39))",
        ("killed", "ok"),
        lambda e: e.signal == 31 or "ENOSYS" in e.stdout,
    ),
)
