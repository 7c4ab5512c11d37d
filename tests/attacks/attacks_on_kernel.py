"""Rows 63 to 72: memory that is no process's, or hides behind one, and what the machine shares.

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
LEND = """
held, lent = [], 0
def lend(end, send, size):
    global lent
    while True:
        file = os.open("/tmp/lent", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.write(file, b"x" * size)
        try: send(end, file)
        except OSError: return
        finally:
            os.ftruncate(file, 0)
            os.close(file)
        lent += size
def spliced(end, file):
    source, sink = os.pipe()
    try:
        for page in range(16): os.splice(file, sink, 1, offset_src=page * 4096)
        os.splice(source, end.fileno(), 16, flags=2)
    finally:
        os.close(source)
        os.close(sink)
def fill(send, size):
    for _ in range(6):
        pair = socket.socketpair()
        held.append(pair)
        for end in pair:
            end.setblocking(False)
            lend(end, send, size)
    if lent > 12 * 256 << 10: print("BREACH", lent >> 20, "MB in 12 sockets")
"""
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
    Case(
        69,
        "lends sockets the pages of a file that it cuts off",
        LEND + "fill(spliced, 1 << 16)",
        ("ok", "memory"),
    ),
    Case(
        69,
        "sends sockets one byte of a page that it cuts off",
        LEND + "fill(lambda end, file: os.sendfile(end.fileno(), file, 0, 1), 4096)",
        ("ok", "memory"),
    ),
    Case(
        69,
        "copies files as Python does",
        """
        import shutil
        with open("/tmp/a", "wb") as file: file.write(b"x" * 100_000)
        shutil.copyfile("/tmp/a", "/tmp/b")
        ours, theirs = socket.socketpair()
        with open("/tmp/b", "rb") as file: print(os.path.getsize("/tmp/b"), ours.sendfile(file, 0, 9))
        """,
        ("ok",),
        lambda e: e.stdout == "100000 9\n",
    ),
    Case(
        72,
        "sets the time of the machine's devices",
        """
        for name in ("null", "full", "random", "urandom"):
            refused(name, lambda: os.utime("/dev/" + name))
        with open("/dev/null", "w") as file: file.write("x")
        print(len(open("/dev/urandom", "rb").read(9)), file=sys.stderr)
        """,
        ("ok",),
        lambda e: e.stderr == "9\n",
        cannot=dict.fromkeys(("docker-runc", "docker-runsc"), "its devices are its own"),
    ),
    Case(
        70,
        "has the kernel hold filters and signals",
        """
        import resource, struct
        steps = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 9) * 4096)
        filter = struct.pack("HxxxxxxQ", 4096, ctypes.addressof(steps))
        for option in (26, 51, 50, 52):
            refused(f"filter {option}", lambda: socket.socketpair()[0].setsockopt(1, option, filter))
        if resource.getrlimit(11)[1] > 1024: print("BREACH", resource.getrlimit(11))
        ours = socket.socketpair()[0]
        ours.settimeout(1)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        """,
        ("ok",),
        cannot={"docker-runsc": "gVisor has its own sockets and lets nobody limit its signals"},
    ),
)
