"""The system calls that model-written code may make: an allow list, compiled for seccomp.

The list holds the calls seen from CPython, numpy, sympy, scipy, threads, multiprocessing and
subprocess (docs/sandbox.md says how they were traced). It leaves out locks that a neighbour could
see, System V and POSIX message IPC, memfd, huge pages and namespaces, and what lends a file's pages
to a socket (splice, sendfile). Sockets are of family AF_UNIX only.

Invariant: a call that is not listed fails with EPERM, one that is no call, or another
architecture's, with ENOSYS. None ends the process. The host makes the program; the sandbox only
loads it.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from storage.errors import SandboxUnavailable

AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64 = 0xC000003E, 0xC00000B7
ANY = 0xFFFFFFFF
ALLOW, ERRNO = 0x7FFF0000, 0x00050000

LOAD, JUMP, JEQ, JGE, JGT, RETURN, AND = 0x20, 0x05, 0x15, 0x35, 0x25, 0x06, 0x54
"""BPF: load word, jump, jump if equal / greater or equal / greater, return, mask."""
NR_AT, ARCH_AT, ARGUMENTS_AT = 0, 4, 16

X86_64 = """
    read:0 write:1 open:2 close:3 stat:4 fstat:5 lstat:6 poll:7 lseek:8 mmap:9 mprotect:10
    munmap:11 brk:12 rt_sigaction:13 rt_sigprocmask:14 rt_sigreturn:15 ioctl:16 pread64:17
    pwrite64:18 readv:19 writev:20 access:21 pipe:22 select:23 sched_yield:24 mremap:25 msync:26
    mincore:27 madvise:28 dup:32 dup2:33 pause:34 nanosleep:35 getitimer:36 alarm:37 setitimer:38
    getpid:39 socket:41 connect:42 accept:43 sendto:44 recvfrom:45 sendmsg:46
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
    getdents64:217 set_tid_address:218 restart_syscall:219 fadvise64:221 clock_gettime:228
    clock_getres:229 clock_nanosleep:230 exit_group:231 epoll_wait:232 epoll_ctl:233 tgkill:234
    utimes:235 waitid:247 openat:257 mkdirat:258 mknodat:259 futimesat:261 newfstatat:262
    unlinkat:263 renameat:264 linkat:265 symlinkat:266 readlinkat:267 fchmodat:268 faccessat:269
    pselect6:270 ppoll:271 set_robust_list:273 get_robust_list:274
    utimensat:280 epoll_pwait:281 signalfd:282 timerfd_create:283 eventfd:284 fallocate:285
    timerfd_settime:286 timerfd_gettime:287 accept4:288 signalfd4:289 eventfd2:290
    epoll_create1:291 dup3:292 pipe2:293 preadv:295 pwritev:296 prlimit64:302 getcpu:309
    renameat2:316 getrandom:318 execveat:322 membarrier:324 copy_file_range:326 preadv2:327
    pwritev2:328 statx:332 rseq:334 pidfd_send_signal:424 clone3:435 close_range:436 openat2:437
    pidfd_open:434 faccessat2:439 epoll_pwait2:441 futex_waitv:449
"""
AARCH64 = """
    getcwd:17 eventfd2:19 epoll_create1:20 epoll_ctl:21 epoll_pwait:22 dup:23 dup3:24 fcntl:25
    ioctl:29 mknodat:33 mkdirat:34 unlinkat:35 symlinkat:36 linkat:37 renameat:38 statfs:43
    fstatfs:44 truncate:45 ftruncate:46 fallocate:47 faccessat:48 chdir:49 fchdir:50 fchmod:52
    fchmodat:53 openat:56 close:57 pipe2:59 getdents64:61 lseek:62 read:63 write:64 readv:65
    writev:66 pread64:67 pwrite64:68 preadv:69 pwritev:70 pselect6:72 ppoll:73
    signalfd4:74 readlinkat:78 newfstatat:79 fstat:80 fsync:82 fdatasync:83
    timerfd_create:85 timerfd_settime:86 timerfd_gettime:87 utimensat:88 exit:93 exit_group:94
    waitid:95 set_tid_address:96 futex:98 set_robust_list:99 get_robust_list:100 nanosleep:101
    getitimer:102 setitimer:103 clock_gettime:113 clock_getres:114 clock_nanosleep:115
    sched_getscheduler:120 sched_getparam:121 sched_getaffinity:123 sched_yield:124
    sched_get_priority_max:125 sched_get_priority_min:126 restart_syscall:128 kill:129 tkill:130
    tgkill:131 sigaltstack:132 rt_sigsuspend:133 rt_sigaction:134 rt_sigprocmask:135
    rt_sigpending:136 rt_sigtimedwait:137 rt_sigreturn:139 getpriority:141 getresuid:148
    getresgid:150 times:153 setpgid:154 getpgid:155 getsid:156 setsid:157 getgroups:158 uname:160
    getrlimit:163 setrlimit:164 getrusage:165 umask:166 prctl:167 getcpu:168 gettimeofday:169
    getpid:172 getppid:173 getuid:174 geteuid:175 getgid:176 getegid:177 gettid:178 sysinfo:179
    socket:198 socketpair:199 bind:200 listen:201 accept:202 connect:203 getsockname:204
    getpeername:205 sendto:206 recvfrom:207 setsockopt:208 getsockopt:209 shutdown:210 sendmsg:211
    recvmsg:212 brk:214 munmap:215 mremap:216 clone:220 execve:221 mmap:222 fadvise64:223
    mprotect:226 msync:227 mincore:232 madvise:233 accept4:242 wait4:260 prlimit64:261 renameat2:276
    getrandom:278 execveat:281 membarrier:283 copy_file_range:285 preadv2:286 pwritev2:287 statx:291
    rseq:293 pidfd_send_signal:424 pidfd_open:434 clone3:435 close_range:436 openat2:437
    faccessat2:439 epoll_pwait2:441 futex_waitv:449
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """How a kind of machine numbers its system calls."""

    arch: int
    numbers: Mapping[str, int]
    unassigned: tuple[tuple[int, int], ...]
    """Ranges of numbers that are no calls: [first, last]."""


def _numbers(table: str) -> dict[str, int]:
    return {name: int(number) for name, _, number in (e.partition(":") for e in table.split())}


LAST_KNOWN = 462
"""Calls with a higher number get ENOSYS, so that libraries fall back to older ones."""
X86 = Machine(AUDIT_ARCH_X86_64, _numbers(X86_64), ((335, 423), (LAST_KNOWN + 1, ANY)))
ARM = Machine(
    AUDIT_ARCH_AARCH64, _numbers(AARCH64), ((244, 259), (295, 423), (LAST_KNOWN + 1, ANY))
)
MACHINES = {"x86_64": X86, "AMD64": X86, "aarch64": ARM, "arm64": ARM}

CLONE_CHECKED = 0x7E0200FF
"""NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, and the signal of the child's end, in
which NEWTIME is a bit."""
SIGCHLD = 17
SOCKET_OPTIONS = (2, 6, 9, 13, 15, 16, 18, 20, 21)
"""REUSEADDR, BROADCAST, KEEPALIVE, LINGER, REUSEPORT, PASSCRED, RCVLOWAT and the two timeouts: none
has the kernel hold memory. A larger buffer would, as a socket counts as its default one, and so
would a filter."""
AF_UNIX = 1
TERMINAL_QUESTIONS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: what isatty and subprocess need."""
PRCTL_OPTIONS = (2, 3, 15, 16, 21, 23, 39)
"""PDEATHSIG and DUMPABLE (read), NAME, and the questions about seccomp, bounds, no_new_privs."""
FCNTL_LOCKS = (5, 6, 7, 36, 37, 38, 1024, 1025, 1026)
"""Record locks, leases and notifications: a neighbour could see them on a shared file."""
FCNTL_SETTINGS = (8, 10, 15, 1031)
"""SETOWN, SETSIG, SETOWN_EX: signals of a descriptor's own choice. SETPIPE_SZ: a larger pipe."""
MAP_KIND, MAP_SHARED_ANONYMOUS, MAP_HUGETLB = 0x2F, (0x21, 0x23), 0x40000
ADVICE_TO_SHARE_OR_SWAP = (12, 21)
"""MADV_MERGEABLE: a neighbour could tell which pages are alike. MADV_PAGEOUT: what is in swap space
is in no process's resident size."""
S_IFMT, S_IFREG, S_IFIFO, S_IFSOCK = 0o170000, 0o100000, 0o010000, 0o140000


@dataclass(frozen=True, slots=True)
class Rule:
    """Decides on one call by half of one argument. None: the call's next rule decides."""

    argument: int
    values: tuple[int, ...]
    then: int | None
    otherwise: int | None
    mask: int = ANY
    high: bool = False
    """The argument's upper 32 bits instead of the lower."""


def refuse(number: int) -> int:
    """Return the seccomp action that answers with an error number; 0: as if it were done."""
    return ERRNO | number


EPERM, ENOSYS = refuse(errno.EPERM), refuse(errno.ENOSYS)
RULES = {
    "clone": (Rule(0, (0, SIGCHLD), ALLOW, EPERM, mask=CLONE_CHECKED),),
    "socket": (Rule(0, (AF_UNIX,), ALLOW, refuse(errno.EAFNOSUPPORT)),),
    "socketpair": (Rule(0, (AF_UNIX,), ALLOW, refuse(errno.EAFNOSUPPORT)),),
    "setsockopt": (Rule(2, SOCKET_OPTIONS, ALLOW, EPERM),),
    "ioctl": (Rule(1, TERMINAL_QUESTIONS, ALLOW, refuse(errno.ENOTTY)),),
    "prctl": (Rule(0, PRCTL_OPTIONS, ALLOW, EPERM),),
    "fcntl": (
        Rule(1, FCNTL_LOCKS, refuse(errno.ENOLCK), None),
        Rule(1, FCNTL_SETTINGS, EPERM, ALLOW),
    ),
    "prlimit64": (Rule(0, (0,), ALLOW, EPERM),),
    "mmap": (Rule(3, (MAP_HUGETLB,), refuse(errno.ENOMEM), ALLOW, mask=MAP_HUGETLB),),
    "madvise": (Rule(2, ADVICE_TO_SHARE_OR_SWAP, refuse(errno.EINVAL), ALLOW),),
    "mknod": (Rule(1, (0, S_IFREG, S_IFIFO, S_IFSOCK), ALLOW, EPERM, mask=S_IFMT),),
    "mknodat": (Rule(2, (0, S_IFREG, S_IFIFO, S_IFSOCK), ALLOW, EPERM, mask=S_IFMT),),
}
KEEP_CHILDREN = (
    Rule(0, (SIGCHLD,), None, ALLOW),
    Rule(1, (0,), None, refuse(0)),
    Rule(1, (0,), ALLOW, refuse(0), high=True),
)
"""For rt_sigaction: what is to happen at a child's end may be asked (no new action is given), not
changed. Of a child whose end is ignored the kernel would forget what it used."""
KEEP_MEMORY = (Rule(3, MAP_SHARED_ANONYMOUS, EPERM, None, mask=MAP_KIND), *RULES["mmap"])
"""For mmap: no shared memory without a file. All of it stays while one page is mapped, and only
that page counts as the process's."""
ABSENT = ("clone3", "openat2", "futex_waitv", "epoll_pwait2")
"""Calls that get ENOSYS. Their arguments are in memory, where a filter can't look, or no library
needs them."""


def _step(code: int, jump_true: int, jump_false: int, value: int) -> bytes:
    return struct.pack("<HBBI", code, jump_true, jump_false, value)


def _decide(rules: tuple[Rule, ...]) -> bytes:
    """Compare arguments with up to nine values each. This overwrites the call's number."""
    steps: list[bytes] = []
    for rule in rules:
        steps.append(_step(LOAD, 0, 0, ARGUMENTS_AT + 8 * rule.argument + 4 * rule.high))
        if rule.mask != ANY:
            steps.append(_step(AND, 0, 0, rule.mask))
        for position, value in enumerate(rule.values):
            steps.append(_step(JEQ, len(rule.values) - position, 0, value))
        steps.append(_go_on(rule.otherwise, 1))
        steps.append(_go_on(rule.then, 0))
    return b"".join(steps)


def _go_on(action: int | None, ahead: int) -> bytes:
    """Return an action, or go on `ahead` steps further."""
    return _step(JUMP, 0, 0, ahead) if action is None else _step(RETURN, 0, 0, action)


def program(
    machine: str = "x86_64", keep_children: bool = False, keep_memory: bool = False
) -> bytes:
    """Compile the allow list. Raises SandboxUnavailable for a machine without one.

    `keep_children`: children must be waited for (see KEEP_CHILDREN). `keep_memory`: all memory is
    some process's (see KEEP_MEMORY).
    """
    if machine not in MACHINES:
        raise SandboxUnavailable(
            f"no system call list for {machine}: only x86_64 and aarch64 are supported"
        )
    kind = MACHINES[machine]
    rules = dict(RULES)
    if keep_children:
        rules["rt_sigaction"] = KEEP_CHILDREN
    if keep_memory:
        rules["mmap"] = KEEP_MEMORY
    steps = [
        _step(LOAD, 0, 0, ARCH_AT),
        _step(JEQ, 1, 0, kind.arch),
        _step(RETURN, 0, 0, ENOSYS),
        _step(LOAD, 0, 0, NR_AT),
    ]
    for first, last in kind.unassigned:
        steps += [
            _step(JGE, 0, 2, first),
            _step(JGT, 1, 0, last),
            _step(RETURN, 0, 0, ENOSYS),
        ]
    for name, number in sorted(kind.numbers.items(), key=lambda item: item[1]):
        if name in rules:
            body = _decide(rules[name])
        elif name in ABSENT:
            body = _step(RETURN, 0, 0, ENOSYS)
        else:
            body = _step(RETURN, 0, 0, ALLOW)
        steps.append(_step(JEQ, 0, len(body) // 8, number) + body)
    steps.append(_step(RETURN, 0, 0, EPERM))
    return b"".join(steps)
