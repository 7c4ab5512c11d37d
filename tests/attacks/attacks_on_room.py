"""Rows 8 to 10 and 16 to 26: memory, output, scratch space and files."""

from __future__ import annotations

from case import Case, with_limits

KEPT = 1 << 20

CASES = (
    Case(8, "a gigabyte at once", "x = bytearray(1 << 30)", ("memory",)),
    Case(8, "a gigabyte by numpy", "import numpy; numpy.ones(1 << 27)", ("memory",)),
    Case(9, "a list that grows", "x = []\nwhile True: x.append(bytearray(1 << 18))", ("memory",)),
    Case(
        9,
        "twenty children under the limit each",
        """
        for _ in range(20):
            if os.fork() == 0:
                block = bytearray(os.urandom(1 << 16) * (24 << 4))
                time.sleep(60)
        time.sleep(60)
        """,
        ("memory",),
        limits=with_limits(wall_s=10, cpu_s=10),
        cannot={"docker-runsc": "gVisor tells no process's share of memory"},
    ),
    Case(
        10,
        "memory through tmpfs",
        """
        for folder in ("/tmp", "/dev/shm"):
            try:
                for i in range(100):
                    with open(f"{folder}/{i}", "wb") as file: file.write(bytes(1 << 20))
                print("BREACH", folder)
            except OSError as error: print(errno.errorcode[error.errno])
        """,
        ("ok", "memory"),
        lambda e: e.verdict == "memory" or e.stdout == "ENOSPC\nENOSPC\n",
    ),
    Case(
        10,
        "memory through memfd",
        """
        try: number = os.memfd_create("hidden")
        except OSError as error: print(errno.errorcode[error.errno])
        else: print("BREACH")
        """,
        ("ok",),
        lambda e: e.stdout == "EPERM\n",
    ),
    Case(
        10,
        "shared anonymous memory of many children",
        """
        import mmap
        held = []
        for _ in range(8):
            if os.fork() == 0:
                block = mmap.mmap(-1, 100 << 20)
                for at in range(0, 100 << 20, 4096): block[at] = 1
                time.sleep(60)
        time.sleep(60)
        """,
        ("memory",),
        limits=with_limits(wall_s=10, cpu_s=10),
        cannot={
            "docker-runsc": "gVisor tells no process's share of memory",
            "bubblewrap": "there is none (row 63)",
        },
    ),
    Case(
        16,
        "twenty megabytes and no end",
        "sys.stdout.write('x' * (20 << 20))\nwhile True: print('y')",
        ("output",),
        lambda e: e.stdout_truncated and not e.stderr_truncated and e.stdout == "x" * KEPT,
    ),
    Case(
        17,
        "floods stderr",
        "while True: sys.stderr.write('e' * 65536)",
        ("output",),
        lambda e: e.stderr_truncated and e.stderr == "e" * KEPT,
    ),
    Case(
        17,
        "alternates both streams",
        "while True:\n os.write(1, b'o' * 4096)\n os.write(2, b'e' * 4096)",
        ("output",),
        lambda e: len(e.stdout) > KEPT // 2 and len(e.stderr) > KEPT // 2,
    ),
    Case(
        18,
        "output below the cap",
        "sys.stdout.write('z' * 300_000)",
        ("ok",),
        lambda e: e.stdout == "z" * 300_000 and not e.stdout_truncated,
    ),
    Case(
        19,
        "bytes that are not text",
        r"""
        print("\ud800 lone")
        sys.stdout.buffer.write(b"\xff\xfe\x00 \x1b[31m \r\n")
        """,
        ("ok",),
        lambda e: e.stdout == "\\ud800 lone\n��\0 \x1b[31m \r\n",
    ),
    Case(
        20,
        "one line of a megabyte",
        "sys.stdout.write('l' * 1_000_000)",
        ("ok",),
        lambda e: len(e.stdout) == 1_000_000,
    ),
    Case(20, "no output at all", "pass", ("ok",), lambda e: e.stdout == "" == e.stderr),
    Case(
        21,
        "fills the scratch space",
        """
        for i in range(100):
            with open(f"/tmp/{i}", "wb", buffering=0) as file: file.write(bytes(3 << 20))
        print("BREACH")
        """,
        ("ok", "error"),
        lambda e: "BREACH" not in e.stdout,
    ),
    Case(
        22,
        "uses up the inodes",
        """
        count = 0
        try:
            while True:
                open(f"/tmp/{count}", "w").close()
                count += 1
        except OSError as error: print(errno.errorcode[error.errno], count < 256)
        """,
        ("ok",),
        lambda e: e.stdout == "ENOSPC True\n",
        cannot={"docker-runsc": "gVisor's tmpfs has no limit on inodes"},
    ),
    Case(
        23,
        "one file over the limit",
        """
        with open("/tmp/large", "wb") as file:
            try:
                for _ in range(7): file.write(bytes(1 << 20)); file.flush()
                print("BREACH")
            except OSError as error: print(errno.errorcode[error.errno])
        """,
        ("ok", "error"),
        lambda e: "EFBIG" in e.stdout,
    ),
    Case(
        24,
        "opens ten thousand files",
        """
        held = []
        try:
            while len(held) < 10_000: held.append(open("/dev/null"))
            print("BREACH")
        except OSError as error: code = errno.errorcode[error.errno]
        count = len(held)
        held.clear()
        print(code, count < 64)
        """,
        ("ok",),
        lambda e: e.stdout == "EMFILE True\n",
    ),
    Case(
        25,
        "a sparse file of a terabyte",
        """
        with open("/tmp/sparse", "wb") as file:
            refused("truncate", lambda: file.truncate(1 << 40))
            refused("fallocate", lambda: os.posix_fallocate(file.fileno(), 0, 1 << 40))
        """,
        ("ok", "killed"),
        lambda e: e.verdict == "ok" or e.signal == 25,
    ),
    Case(
        26,
        "folders too deep and too long, with no permissions",
        """
        os.chdir("/tmp")
        made = []
        try:
            for _ in range(5000):
                os.mkdir("d" * 255)
                os.chdir("d" * 255)
                made.append(1)
        except OSError as error: print(len(made) > 100, errno.errorcode[error.errno])
        open("/dev/shm/x", "w").close()
        os.chmod(".", 0)
        os.chmod("/tmp/" + "d" * 255, 0)
        """,
        ("ok", "error"),
        lambda e: e.stdout.startswith("True"),
        cannot={"docker-runsc": "gVisor's tmpfs has no limit on inodes"},
    ),
)
