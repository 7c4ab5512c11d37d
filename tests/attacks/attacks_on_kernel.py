"""Rows 63 to 68: memory that is no process's, or hides behind one, and what the machine shares.

Each got through once. A row is an example of its kind.
"""

from __future__ import annotations

from case import Case, with_limits

NO_SHARE = "gVisor tells no process's share of memory"
MAP = """
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
def mapped(size, modes, flags, file=-1):
    at = libc.mmap(None, size, modes, flags, file, 0)
    return None if at in (None, (1 << 64) - 1) else at
"""
SHARE = (
    MAP
    + """
def hide(flags, file):
    size = 40 << 20
    for number in range(16):
        at = mapped(size, 3, flags, file)
        if at is None: return
        ctypes.memset(at, 1, size)
        libc.munmap(at + 4096, size - 4096)
    print("BREACH", size * 16 >> 20, "MB")
"""
)
PRESSURE = """
for name in ("cpu", "io", "memory"):
    def write():
        with open("/proc/pressure/" + name, "r+") as file: file.write("some 500000 2000000")
    refused(name, write)
"""

CASES = (
    Case(
        63,
        "keeps shared memory by one page of it",
        SHARE + "hide(0x21, -1)",
        ("ok", "memory"),
        cannot={"docker-runsc": NO_SHARE},
    ),
    Case(
        63,
        "keeps shared memory of dev zero by one page of it",
        SHARE
        + """
try: hide(1, os.open("/dev/zero", os.O_RDWR))
except OSError as error: print(error)
""",
        ("ok", "memory"),
        cannot={"docker-runsc": NO_SHARE},
    ),
    Case(
        64,
        "holds memory behind a first thread that has ended",
        """
        def hold():
            time.sleep(0.5)
            block = b"x" * (55 << 20)
            time.sleep(3)
            os.write(1, b"BREACH")
            os._exit(0)
        for _ in range(8):
            if os.fork() == 0:
                threading.Thread(target=hold).start()
                libc.pthread_exit(None)
        time.sleep(10)
        """,
        ("memory",),
        limits=with_limits(wall_s=14, cpu_s=14),
        exact=True,
        cannot={"docker-runsc": NO_SHARE},
    ),
    Case(
        65,
        "has the kernel hold hundreds of thousands of mappings",
        MAP
        + """
size, done = 63 << 20, os.pipe()
for _ in range(22):
    if os.fork() == 0:
        start = mapped(size, 0, 0x22)
        for at in range(start, start + size, 8192): libc.mprotect(at, 4096, 1)
        os.write(done[1], b".")
        time.sleep(60)
for _ in range(22): os.read(done[0], 1)
time.sleep(12)
print("BREACH")
""",
        ("memory",),
        limits=with_limits(memory_mb=64, wall_s=20),
        cannot={"docker-runsc": NO_SHARE},
    ),
    Case(66, "sets triggers of the whole machine", PRESSURE, ("ok",)),
    Case(
        66,
        "takes huge pages, shares pages with neighbours, swaps itself out",
        """
        import mmap
        refused("huge", lambda: mmap.mmap(-1, 2 << 20, flags=0x22 | 0x40000))
        for advice in (12, 21):
            refused(advice, lambda: mmap.mmap(-1, 1 << 20, flags=0x22).madvise(advice))
        """,
        ("ok",),
    ),
    Case(
        67,
        "crashes, so that the machine starts its program for core dumps",
        """
        import resource, subprocess
        look = "import ctypes, resource; print(ctypes.CDLL(None).prctl(3), *resource.getrlimit(4))"
        child = subprocess.check_output([sys.executable, "-S", "-c", look], text=True)
        for said in (child, f"{libc.prctl(3)} %d %d" % resource.getrlimit(4)):
            dumpable, *limits = said.split()
            if dumpable != "0" and limits != ["1", "1"]: print("BREACH", said)
        """,
        ("ok",),
        cannot={"docker-runsc": "gVisor has no core dumps"},
    ),
    Case(
        68,
        "what its children used until its deadline is said",
        """
        for _ in range(4):
            if os.fork() == 0:
                while True: pass
        time.sleep(60)
        """,
        ("timeout",),
        lambda e: e.cpu_s > 0.15,
        limits=with_limits(wall_s=4, cpu_s=60),
    ),
)
