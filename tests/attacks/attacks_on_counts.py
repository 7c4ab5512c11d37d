"""Rows 49 to 60: what nobody counted, what could be run as a program, and the kernel's own knobs.

Each got through once. A row is an example of its kind.
"""

from __future__ import annotations

from case import Case, with_limits

OPEN = with_limits(wall_s=30, cpu_s=1, memory_mb=192)
"""Of time there is much: on a busy machine little of it is the processor's."""
BURN = """
def burn(seconds):
    began = time.process_time()
    while time.process_time() - began < seconds: pass
"""
SMALL = """
code = '''
import time, socket
try: open("/proc/self/oom_score_adj", "w").write("0")
except OSError: pass
held = []
for _ in range(28):
    try: pair = socket.socketpair()
    except OSError: break
    held.append(pair)
    for end in pair:
        end.setblocking(False)
        try: end.setsockopt(1, 7, 1 << 24)
        except OSError: pass
        try:
            while True: end.send(bytes(1 << 16))
        except OSError: pass
time.sleep(60)
'''
import subprocess
for _ in range(20):
    try: subprocess.Popen([sys.executable, "-S", "-c", code])
    except OSError: pass
time.sleep(60)
"""
"""Many processes that are each smaller than the supervisor, and hold memory of the kernel's."""

CASES = (
    Case(
        49,
        "burns the processor in children that nobody waits for",
        BURN
        + """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
began = time.monotonic()
while time.monotonic() - began < 28:
    pid = os.fork()
    if pid == 0:
        burn(0.03)
        os._exit(0)
    time.sleep(0.03)
print("BREACH")
""",
        ("cpu_time",),
        limits=OPEN,
        exact=True,
    ),
    Case(
        49,
        "burns the processor in orphans",
        BURN
        + """
began = time.monotonic()
while time.monotonic() - began < 28:
    if os.fork() == 0:
        if os.fork() == 0: burn(0.03)
        os._exit(0)
    os.wait()
    time.sleep(0.03)
print("BREACH")
""",
        ("cpu_time",),
        limits=OPEN,
        exact=True,
    ),
    Case(
        49,
        "waits for its children in the usual way",
        """
        pids = [os.fork() for _ in range(1)]
        if pids == [0]: os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]))
        import subprocess
        print(subprocess.run([sys.executable, "-c", "print(5)"], capture_output=True, text=True).stdout)
        """,
        ("ok",),
        lambda e: e.stdout == "7\n5\n\n",
    ),
    Case(
        50,
        "fills the buffers of sockets",
        """
        held, sent = [], 0
        def fill():
            global sent
            while True:
                try: pair = socket.socketpair()
                except OSError: return
                held.append(pair)
                for end in pair:
                    end.setblocking(False)
                    try: end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 24)
                    except OSError: pass
                    try:
                        while True: sent += end.send(bytes(1 << 16))
                    except OSError: pass
        for _ in range(20):
            if os.fork() == 0:
                fill()
                time.sleep(60)
        fill()
        time.sleep(5)
        print("BREACH", sent >> 20, "MB in one of 21")
        """,
        ("memory",),
        limits=with_limits(wall_s=10, cpu_s=10),
        exact=True,
        cannot={"docker-runsc": "gVisor tells no process's share of memory"},
    ),
    Case(
        51,
        "takes pseudo-terminals",
        """
        refused("ptmx", lambda: os.open("/dev/ptmx", os.O_RDWR))
        refused("openpty", os.openpty)
        """,
        ("ok",),
    ),
    Case(
        52,
        "runs what it writes into a descriptor that it was given",
        """
        program = b"#!/usr/local/bin/python3\\nprint('BREACH')\\n"
        for number in range(3):
            try:
                os.pwrite(number, program, 0)
                print("written", number, file=sys.stderr)
            except OSError: pass
            for path in (f"/proc/self/fd/{number}", f"/dev/fd/{number}"):
                refused(path, lambda: os.execv(path, ["python3", "-c", "print('BREACH')"]))
            result, why = call(322, number, b"", 0, 0, 0x1000)
            print("refused", number, why)
            try: mode = os.fstat(number).st_mode & 0o170000
            except OSError: continue
            if mode == 0o100000: print("BREACH a file", number, os.readlink(f"/proc/self/fd/{number}"))
        """,
        ("ok",),
    ),
    Case(
        52,
        "runs what it writes anywhere",
        """
        import mmap, shutil
        for root in ("/tmp", "/dev/shm", "/var/tmp", "/dev/mqueue", "/run", "/dev"):
            path = root + "/program"
            try: shutil.copyfile("/lib/libgcc_s.so.1", path)
            except OSError: continue
            try: os.chmod(path, 0o755)
            except OSError: pass
            refused(path, lambda: os.execv(path, ["x"]))
            with open(path, "rb") as file:
                refused("map " + path, lambda: mmap.mmap(file.fileno(), 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC))
            os.unlink(path)
        for name, attempt in {"memfd_create": (319, b"x", 0), "memfd_secret": (447, 0)}.items():
            result, why = call(*attempt)
            print("BREACH" if result >= 0 else "refused", name, why)
        """,
        ("ok",),
    ),
    Case(
        53,
        "turns knobs of others in /proc",
        """
        def write(path, text):
            with open(path, "w") as file: file.write(text)
        for pid in ("1", str(os.getppid() or 1)):
            for name, text in (("autogroup", "19"), ("oom_score_adj", "1000"), ("timerslack_ns", "1000000000"),
                               ("comm", "x"), ("coredump_filter", "0"), ("sched", "1"), ("clear_refs", "1")):
                refused(f"{pid}/{name}", lambda: write(f"/proc/{pid}/{name}", text))
        for path in ("net/unix/max_dgram_qlen", "net/core/somaxconn", "kernel/shmmax", "kernel/msgmax", "user/max_pid_namespaces",
                     "kernel/ns_last_pid", "fs/mqueue/queues_max"):
            refused(path, lambda: write("/proc/sys/" + path, "9"))
        refused("own score", lambda: write("/proc/self/oom_score_adj", "0"))
        refused("own child's score", lambda: subprocess_score())
        """.replace("subprocess_score()", "child()").replace(
            "def write",
            "def child():\n"
            "            import subprocess\n"
            "            code = \"open('/proc/self/oom_score_adj', 'w').write('0')\"\n"
            "            if subprocess.run([sys.executable, '-c', code], stderr=-3).returncode: raise OSError(13)\n"
            "        def write",
        ),
        ("ok",),
        cannot={"docker-runsc": "gVisor has no scores and no process 1 of ours to protect"},
    ),
    Case(
        54,
        "makes calls that no kernel, or another one, knows",
        """
        for number in (350, 400, 500, 1000, 0x3fffffff, 0x40000000 | 39, 0x40000000 | 520):
            result, why = call(number)
            print("refused" if why == "ENOSYS" else "BREACH", number, result, why)
        """,
        ("ok",),
    ),
    Case(
        55,
        "prints an integer of any length",
        "import math\\nprint(len(str(math.factorial(2000))))".replace("\\n", "\n"),
        ("ok",),
        lambda e: e.stdout == "5736\n",
    ),
    Case(
        56,
        "has the kernel end the supervisor for want of memory",
        SMALL,
        ("memory",),
        limits=with_limits(wall_s=12, cpu_s=12),
        exact=True,
        cannot={"docker-runsc": "gVisor tells no process's share of memory"},
    ),
    Case(
        57,
        "many sessions of its own fight for the processor",
        """
        def write(path, text):
            try:
                with open(path, "w") as file: file.write(text)
            except OSError: pass
        write("/proc/1/autogroup", "19")
        for _ in range(20):
            if os.fork() == 0:
                os.setsid()
                while True: pass
        time.sleep(60)
        """,
        ("timeout", "cpu_time"),
        limits=with_limits(wall_s=2, cpu_s=60),
    ),
)
