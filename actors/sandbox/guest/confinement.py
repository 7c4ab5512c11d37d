"""How a forked interpreter gives up everything before it runs strangers' code.

Two ways to keep solutions apart in one box, chosen by what the box permits:
`uid`         every solution is another user (Docker: the supervisor holds SETUID, SETGID, KILL);
`namespaces`  every solution has process, IPC and mount namespaces of its own (bubblewrap: the
              supervisor is root of a user namespace and nothing outside it).

Invariant: when `confine` returns, the process has no capability, can't gain one, has no descriptor
but its own, and the filter is in force. Any failure raises; the caller then ends the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import signal
import struct
from dataclasses import dataclass

libc = ctypes.PyDLL(None, use_errno=True)
"""PyDLL: the interpreter's lock is held, as a raw clone or a filter needs."""

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 22, 38, 47
PR_CAP_AMBIENT_CLEAR_ALL, SECCOMP_MODE_FILTER = 4, 2
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 0x1000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
CAPABILITY_VERSION_3 = 0x20080522
RLIMIT_SIGPENDING, SIGNALS_PENDING = 11, 256
"""Python has no name for it. The kernel holds 80 bytes for each signal, and a large machine lets a
user have millions."""

SCRATCH = ("/tmp", "/dev/shm")
DEVICES = ("null", "full", "random", "urandom")
"""They are the machine's own: whoever may write to one may also set its time, for all to see."""


@dataclass(frozen=True)
class Ceiling:
    """The limits of a process that the kernel enforces; the soft ones may be lowered per block."""

    memory_bytes: int
    pids: int
    open_files: int
    file_bytes: int
    cpu_s: int

    def apply(self, hard: Ceiling) -> None:
        """Set these as the soft limits under `hard`."""
        for name, soft, most in (
            (resource.RLIMIT_AS, self.memory_bytes, hard.memory_bytes),
            (resource.RLIMIT_NPROC, self.pids, hard.pids),
            (resource.RLIMIT_NOFILE, self.open_files, hard.open_files),
            (resource.RLIMIT_FSIZE, self.file_bytes, hard.file_bytes),
            (resource.RLIMIT_CPU, self.cpu_s, hard.cpu_s),
            (resource.RLIMIT_MEMLOCK, 0, 0),
        ):
            resource.setrlimit(name, (min(soft, most), most))
        # With 0 a machine that pipes core dumps into a program would start it; with 1 it does not.
        with contextlib.suppress(ValueError):
            resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
        # gVisor lets nobody set these; the filter refuses message queues anyway.
        for name, most in ((resource.RLIMIT_MSGQUEUE, 0), (RLIMIT_SIGPENDING, SIGNALS_PENDING)):
            with contextlib.suppress(ValueError):
                resource.setrlimit(name, (most, most))


@dataclass(frozen=True)
class Scratch:
    """Size of the writable file systems that a solution gets of its own."""

    bytes: int
    inodes: int


def check(result: int, what: str) -> int:
    """Raise OSError where a C call failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def keep_descriptors(*sources: int) -> None:
    """Make the sources descriptors 0, 1, 2, … and close all others."""
    # Lifted first, so that no target overwrites a source that is still needed.
    lifted = [fcntl.fcntl(source, fcntl.F_DUPFD, 64) for source in sources]
    for target, source in enumerate(lifted):
        os.dup2(source, target, inheritable=True)
    os.closerange(len(sources), 1 << 20)


def reset_signals() -> None:
    """Undo what the supervisor set, and Python's own choices stay."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def become_user(uid: int) -> None:
    """Leave root; with it go all capabilities."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def enter_namespaces(scratch: Scratch) -> None:
    """Take namespaces of one's own with fresh scratch space and a /proc that can't be written.

    Be nobody in them: not even the root of the box's user namespace is within reach.
    """
    check(libc.unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS), "unshare")
    mount("none", "/", "", MS_REC | MS_PRIVATE, "")
    for path in SCRATCH:
        options = f"size={scratch.bytes},nr_inodes={scratch.inodes},mode=1777"
        mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)
    for name in DEVICES:
        with contextlib.suppress(OSError):
            flags = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC
            mount("none", f"/dev/{name}", "", flags, "")
    before = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    # Process 1, which later solutions share a group with, and settings of the box have files there.
    mount("proc", "/proc", "proc", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "")
    check(libc.unshare(CLONE_NEWUSER), "unshare user")
    for name, line in (
        ("setgroups", b"deny"),
        ("uid_map", b"65534 0 1"),
        ("gid_map", b"65534 0 1"),
    ):
        number = os.open(f"self/{name}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=before)
        os.write(number, line)
        os.close(number)
    os.close(before)


def mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    """Mount a file system."""
    arguments = (source.encode(), target.encode(), kind.encode(), flags, options.encode())
    check(libc.mount(*arguments), f"mount {target}")


def drop_capabilities() -> None:
    """Give up every capability of this process."""
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = struct.pack("II", CAPABILITY_VERSION_3, 0)
    check(libc.capset(header, bytes(24)), "capset")


def install_filter(program: bytes) -> None:
    """Put a seccomp program (see actors.sandbox.seccomp) in force, for this process for ever."""
    instructions = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    program_ = Program(len(program) // 8, ctypes.cast(instructions, ctypes.c_void_p))
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program_)), "seccomp")


def yield_to_others() -> None:
    """Be the first to go when memory ends, and the last to be scheduled."""
    # Some kernels (gVisor) have neither; nothing of the contract rests on them. The score can't be
    # lowered again: /proc can't be written, or its files are root's (see docker/image.py).
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    with contextlib.suppress(OSError):
        os.nice(5)
