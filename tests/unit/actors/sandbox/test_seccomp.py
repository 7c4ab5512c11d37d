"""The seccomp program, interpreted as the kernel would, for both kinds of machine."""

from __future__ import annotations

import errno
import struct
from functools import cache
from pathlib import Path

import pytest

from actors.sandbox import seccomp
from storage.errors import SandboxUnavailable

HEADERS = Path(__file__).parents[3] / "data" / "kernel"
ENOSYS, NO_LOCK = seccomp.refuse(errno.ENOSYS), seccomp.refuse(errno.ENOLCK)
NO_FAMILY = seccomp.refuse(errno.EAFNOSUPPORT)
AS_IF = seccomp.refuse(0)
NO_MEMORY, INVALID = seccomp.refuse(errno.ENOMEM), seccomp.refuse(errno.EINVAL)
SHARED, PRIVATE, SHARED_VALIDATE, ANONYMOUS, HUGE_PAGES = 1, 2, 3, 0x20, 0x40000
ARM_32 = 0x40000028
I386 = 0x40000003
CLONE_SIGCONT, CLONE_NEWUSER, CLONE_NEWTIME = 18, 0x10000000, 0x80


def _header(machine: str) -> dict[str, int]:
    """Name -> number, as Debian's kernel headers have it."""
    lines = (HEADERS / f"{machine}.txt").read_text().splitlines()
    pairs = (line.split() for line in lines if not line.startswith("#"))
    return {name: int(number) for name, number in pairs}


@cache
def _steps(machine: str, keep_children: bool, keep_memory: bool) -> list[tuple[int, ...]]:
    program = seccomp.program(machine, keep_children, keep_memory)
    return list(struct.iter_unpack("<HBBI", program))


def _judge(
    number: int,
    *arguments: int,
    arch: int = seccomp.AUDIT_ARCH_X86_64,
    machine: str = "x86_64",
    keep_children: bool = False,
    keep_memory: bool = False,
) -> int:
    """Run the seccomp program as the kernel would."""
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("<IIQ6Q", number, arch, 0, *(value & (1 << 64) - 1 for value in padded))
    steps = _steps(machine, keep_children, keep_memory)
    at = register = 0
    while True:
        code, then, otherwise, value = steps[at]
        at += 1
        if code == seccomp.LOAD:
            register = struct.unpack_from("<I", data, value)[0]
        elif code == seccomp.AND:
            register &= value
        elif code == seccomp.RETURN:
            return int(value)
        elif code == seccomp.JUMP:
            at += value
        else:
            true = {
                seccomp.JEQ: register == value,
                seccomp.JGE: register >= value,
                seccomp.JGT: register > value,
            }[code]
            at += then if true else otherwise


ON_EVERY_MACHINE = [
    ("read", (), seccomp.ALLOW),
    ("execve", (), seccomp.ALLOW),
    ("clone", (0x01200011,), seccomp.ALLOW),
    ("clone", (0x003D0F00,), seccomp.ALLOW),
    ("clone", (CLONE_NEWUSER | 17,), seccomp.EPERM),
    ("clone", (CLONE_NEWTIME | 17,), seccomp.EPERM),
    ("clone", (CLONE_SIGCONT,), seccomp.EPERM),
    ("socket", (1, 1), seccomp.ALLOW),
    ("socket", (2, 1), NO_FAMILY),
    ("setsockopt", (3, 1, 2), seccomp.ALLOW),
    ("setsockopt", (3, 1, 7), seccomp.EPERM),
    ("setsockopt", (3, 1, 26), seccomp.EPERM),
    ("fcntl", (0, 1), seccomp.ALLOW),
    ("fcntl", (0, 6), NO_LOCK),
    ("fcntl", (0, 10), seccomp.EPERM),
    ("fcntl", (0, 1031), seccomp.EPERM),
    ("prctl", (15,), seccomp.ALLOW),
    ("prctl", (1,), seccomp.EPERM),
    ("prctl", (4,), seccomp.EPERM),
    ("prlimit64", (0, 7), seccomp.ALLOW),
    ("prlimit64", (1, 7), seccomp.EPERM),
    ("mknodat", (0, 0, 0o10644), seccomp.ALLOW),
    ("mknodat", (0, 0, 0o60644), seccomp.EPERM),
    ("rt_sigaction", (17, 1), seccomp.ALLOW),
    ("mmap", (0, 4096, 3, SHARED | ANONYMOUS), seccomp.ALLOW),
    ("mmap", (0, 4096, 3, PRIVATE | ANONYMOUS | HUGE_PAGES), NO_MEMORY),
    ("mmap", (0, 4096, 3, PRIVATE | ANONYMOUS | HUGE_PAGES | 21 << 26), NO_MEMORY),
    ("madvise", (0, 4096, 4), seccomp.ALLOW),
    ("madvise", (0, 4096, 12), INVALID),
    ("madvise", (0, 4096, 21), INVALID),
    ("clone3", (), ENOSYS),
    *((name, (), seccomp.EPERM) for name in (
        "ptrace", "mount", "unshare", "setns", "bpf", "io_uring_setup", "keyctl", "memfd_create",
        "memfd_secret", "shmget", "mq_open", "timer_create", "setpriority", "sched_setaffinity",
        "userfaultfd", "perf_event_open", "process_vm_readv", "pidfd_getfd", "chroot", "setuid",
        "splice", "tee", "sendfile",
    )),
]  # fmt: skip


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize(("name", "arguments", "action"), ON_EVERY_MACHINE)
def test_the_filter_allows_what_is_listed_and_nothing_else(
    name: str, arguments: tuple[int, ...], action: int, machine: str
) -> None:
    arch = seccomp.MACHINES[machine].arch
    assert _judge(_header(machine)[name], *arguments, arch=arch, machine=machine) == action


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_number_of_the_list_is_the_kernel_headers(machine: str) -> None:
    header, listed = _header(machine), seccomp.MACHINES[machine].numbers
    assert {name: header.get(name) for name in listed} == dict(listed)
    assert len(set(listed.values())) == len(listed)


def test_both_machines_list_the_same_calls_but_those_that_one_has_not() -> None:
    header = _header("aarch64")
    only = seccomp.X86.numbers.keys() - seccomp.ARM.numbers.keys()
    assert seccomp.ARM.numbers.keys() < seccomp.X86.numbers.keys()
    assert [name for name in sorted(only) if name in header] == []


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_number_that_is_no_call_is_answered_as_by_a_kernel_that_lacks_it(machine: str) -> None:
    kind, known = seccomp.MACHINES[machine], set(_header(machine).values())
    for number in (*range(seccomp.LAST_KNOWN), 463, 600, 1 << 20, 0x40000000, (1 << 32) - 1):
        seen = _judge(number, arch=kind.arch, machine=machine)
        if (number not in known and number < 451) or number > seccomp.LAST_KNOWN:
            assert seen == ENOSYS, number
        else:
            assert seen >> 16 in (seccomp.ALLOW >> 16, seccomp.ERRNO >> 16), number


@pytest.mark.parametrize(
    ("machine", "arch"), [("x86_64", I386), ("aarch64", ARM_32), ("x86_64", 0), ("aarch64", I386)]
)
def test_another_architectures_calls_are_answered_not_killed(machine: str, arch: int) -> None:
    assert _judge(0, arch=arch, machine=machine) == ENOSYS


@pytest.mark.parametrize(
    ("arguments", "action"),
    [
        ((17, 0), seccomp.ALLOW),
        ((17, 0x7FFF_0000_1000), AS_IF),
        ((17, 1 << 32), AS_IF),
        ((2, 0x7FFF_0000_1000), seccomp.ALLOW),
    ],
)
def test_where_nothing_else_counts_children_their_end_can_be_asked_about_not_ignored(
    arguments: tuple[int, int], action: int
) -> None:
    assert _judge(13, *arguments, keep_children=True) == action
    assert _judge(13, *arguments) == seccomp.ALLOW


@pytest.mark.parametrize(
    ("flags", "action"),
    [
        (SHARED | ANONYMOUS, seccomp.EPERM),
        (SHARED_VALIDATE | ANONYMOUS, seccomp.EPERM),
        (SHARED | ANONYMOUS | HUGE_PAGES, seccomp.EPERM),
        (SHARED, seccomp.ALLOW),
        (PRIVATE, seccomp.ALLOW),
        (PRIVATE | ANONYMOUS, seccomp.ALLOW),
        (PRIVATE | ANONYMOUS | HUGE_PAGES, NO_MEMORY),
    ],
)
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_where_only_processes_are_counted_no_memory_is_shared_without_a_file(
    flags: int, action: int, machine: str
) -> None:
    arch, number = seccomp.MACHINES[machine].arch, _header(machine)["mmap"]
    seen = _judge(number, 0, 4096, 3, flags, arch=arch, machine=machine, keep_memory=True)
    assert seen == action


def test_a_machine_without_a_list_is_refused_in_one_line() -> None:
    with pytest.raises(SandboxUnavailable, match="riscv64: only x86_64 and aarch64"):
        seccomp.program("riscv64")
