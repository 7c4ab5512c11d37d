"""The system calls that model-written code may make: an allow list, compiled for seccomp.

The list holds the calls seen from CPython, numpy, sympy, scipy, threads, multiprocessing and
subprocess (docs/sandbox.md says how they were traced). It leaves out locks that a neighbour could
see, System V and POSIX message IPC, memfd and namespaces. Sockets are of family AF_UNIX only.

Invariant: a call that is not listed fails with EPERM. A call of another architecture kills. The
host makes the program; the sandbox only loads it.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass

from storage.errors import SandboxUnavailable

AUDIT_ARCH_X86_64 = 0xC000003E
X32_BIT = 0x40000000
KILL_PROCESS, ALLOW, ERRNO = 0x80000000, 0x7FFF0000, 0x00050000

LOAD, JEQ, JGE, JSET, RETURN, AND = 0x20, 0x15, 0x35, 0x45, 0x06, 0x54
"""BPF: load word, jump if equal / greater or equal / any bit set, return, mask."""
NR_AT, ARCH_AT, ARGUMENTS_AT = 0, 4, 16

X86_64 = """
    read:0 write:1 open:2 close:3 stat:4 fstat:5 lstat:6 poll:7 lseek:8 mmap:9 mprotect:10
    munmap:11 brk:12 rt_sigaction:13 rt_sigprocmask:14 rt_sigreturn:15 ioctl:16 pread64:17
    pwrite64:18 readv:19 writev:20 access:21 pipe:22 select:23 sched_yield:24 mremap:25 msync:26
    mincore:27 madvise:28 dup:32 dup2:33 pause:34 nanosleep:35 getitimer:36 alarm:37 setitimer:38
    getpid:39 sendfile:40 socket:41 connect:42 accept:43 sendto:44 recvfrom:45 sendmsg:46
    recvmsg:47 shutdown:48 bind:49 listen:50 getsockname:51 getpeername:52 socketpair:53
    setsockopt:54 getsockopt:55 clone:56 fork:57 vfork:58 execve:59 exit:60 wait4:61 kill:62
    uname:63 fcntl:72 fsync:74 fdatasync:75 truncate:76 ftruncate:77 getdents:78 getcwd:79
    chdir:80 fchdir:81 rename:82 mkdir:83 rmdir:84 creat:85 link:86 unlink:87 symlink:88
    readlink:89 chmod:90 fchmod:91 umask:95 gettimeofday:96 getrlimit:97 getrusage:98 sysinfo:99
    times:100 getuid:102 getgid:104 geteuid:107 getegid:108 setpgid:109 getppid:110 getpgrp:111
    setsid:112 getgroups:115 getresuid:118 getresgid:120 getpgid:121 getsid:124 rt_sigpending:127
    rt_sigtimedwait:128 rt_sigsuspend:130 sigaltstack:131 utime:132 mknod:133 statfs:137
    fstatfs:138 getpriority:140 sched_getparam:143 sched_getscheduler:145
    sched_get_priority_max:146 sched_get_priority_min:147 prctl:157 arch_prctl:158 setrlimit:160
    gettid:186 tkill:200 time:201 futex:202 sched_getaffinity:204 epoll_create:213
    getdents64:217 set_tid_address:218 restart_syscall:219 fadvise64:221 timer_create:222
    timer_settime:223 timer_gettime:224 timer_getoverrun:225 timer_delete:226 clock_gettime:228
    clock_getres:229 clock_nanosleep:230 exit_group:231 epoll_wait:232 epoll_ctl:233 tgkill:234
    utimes:235 waitid:247 openat:257 mkdirat:258 mknodat:259 futimesat:261 newfstatat:262
    unlinkat:263 renameat:264 linkat:265 symlinkat:266 readlinkat:267 fchmodat:268 faccessat:269
    pselect6:270 ppoll:271 set_robust_list:273 get_robust_list:274 splice:275 tee:276
    utimensat:280 epoll_pwait:281 signalfd:282 timerfd_create:283 eventfd:284 fallocate:285
    timerfd_settime:286 timerfd_gettime:287 accept4:288 signalfd4:289 eventfd2:290
    epoll_create1:291 dup3:292 pipe2:293 preadv:295 pwritev:296 prlimit64:302 getcpu:309
    renameat2:316 getrandom:318 execveat:322 membarrier:324 copy_file_range:326 preadv2:327
    pwritev2:328 statx:332 rseq:334 pidfd_send_signal:424 clone3:435 close_range:436 openat2:437
    pidfd_open:434 faccessat2:439 epoll_pwait2:441 futex_waitv:449
"""
NUMBERS = {name: int(number) for name, _, number in (e.partition(":") for e in X86_64.split())}

LAST_KNOWN = 462
"""Calls with a higher number get ENOSYS, so that libraries fall back to older ones."""

CLONE_NAMESPACES = 0x7E020080
"""NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET."""
AF_UNIX = 1
TERMINAL_QUESTIONS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: what isatty and subprocess need."""
PRCTL_OPTIONS = (1, 2, 3, 15, 16, 21, 23, 39)
"""PDEATHSIG, DUMPABLE (read), NAME, and the questions about seccomp, bounds, no_new_privs."""
FCNTL_LOCKS = (5, 6, 7, 36, 37, 38, 1024, 1025, 1026)
"""Record locks, leases and notifications: a neighbour could see them on a shared file."""
S_IFMT, S_IFREG, S_IFIFO, S_IFSOCK = 0o170000, 0o100000, 0o010000, 0o140000


@dataclass(frozen=True, slots=True)
class Rule:
    """Decides on one call by the low half of one argument."""

    argument: int
    values: tuple[int, ...]
    then: int
    otherwise: int
    mask: int = 0xFFFFFFFF
    any_bit: bool = False
    """Compare by 'has any of these bits' instead of equality."""


def refuse(number: int) -> int:
    """Return the seccomp action that answers with an error number."""
    return ERRNO | number


EPERM = refuse(errno.EPERM)
RULES = {
    "clone": Rule(0, (CLONE_NAMESPACES,), EPERM, ALLOW, any_bit=True),
    "socket": Rule(0, (AF_UNIX,), ALLOW, refuse(errno.EAFNOSUPPORT)),
    "socketpair": Rule(0, (AF_UNIX,), ALLOW, refuse(errno.EAFNOSUPPORT)),
    "ioctl": Rule(1, TERMINAL_QUESTIONS, ALLOW, refuse(errno.ENOTTY)),
    "prctl": Rule(0, PRCTL_OPTIONS, ALLOW, EPERM),
    "fcntl": Rule(1, FCNTL_LOCKS, refuse(errno.ENOLCK), ALLOW),
    "prlimit64": Rule(0, (0,), ALLOW, EPERM),
    "mknod": Rule(1, (0, S_IFREG, S_IFIFO, S_IFSOCK), ALLOW, EPERM, mask=S_IFMT),
    "mknodat": Rule(2, (0, S_IFREG, S_IFIFO, S_IFSOCK), ALLOW, EPERM, mask=S_IFMT),
}
ABSENT = ("clone3", "openat2", "futex_waitv", "epoll_pwait2")
"""Calls that get ENOSYS. Their arguments are in memory, where a filter can't look, or no library
needs them."""


def _step(code: int, jump_true: int, jump_false: int, value: int) -> bytes:
    return struct.pack("<HBBI", code, jump_true, jump_false, value)


def _argument(rule: Rule) -> bytes:
    """Compare the argument with up to eight values. This overwrites the call's number."""
    steps = [_step(LOAD, 0, 0, ARGUMENTS_AT + 8 * rule.argument)]
    if rule.mask != 0xFFFFFFFF:
        steps.append(_step(AND, 0, 0, rule.mask))
    for position, value in enumerate(rule.values):
        ahead = len(rule.values) - position
        steps.append(_step(JSET if rule.any_bit else JEQ, ahead, 0, value))
    steps.append(_step(RETURN, 0, 0, rule.otherwise))
    steps.append(_step(RETURN, 0, 0, rule.then))
    return b"".join(steps)


def program(machine: str = "x86_64") -> bytes:
    """Compile the allow list. Raises SandboxUnavailable unless `machine` is x86-64."""
    if machine not in ("x86_64", "AMD64"):
        raise SandboxUnavailable(f"no system call list for {machine}: only x86_64 is supported")
    steps = [
        _step(LOAD, 0, 0, ARCH_AT),
        _step(JEQ, 1, 0, AUDIT_ARCH_X86_64),
        _step(RETURN, 0, 0, KILL_PROCESS),
        _step(LOAD, 0, 0, NR_AT),
        _step(JGE, 0, 1, X32_BIT),
        _step(RETURN, 0, 0, KILL_PROCESS),
        _step(JGE, 0, 1, LAST_KNOWN + 1),
        _step(RETURN, 0, 0, refuse(errno.ENOSYS)),
    ]
    for name, number in sorted(NUMBERS.items(), key=lambda item: item[1]):
        if name in RULES:
            body = _argument(RULES[name])
        elif name in ABSENT:
            body = _step(RETURN, 0, 0, refuse(errno.ENOSYS))
        else:
            body = _step(RETURN, 0, 0, ALLOW)
        steps.append(_step(JEQ, 0, len(body) // 8, number) + body)
    steps.append(_step(RETURN, 0, 0, EPERM))
    return b"".join(steps)
