"""Rows 42, 45 and 46 and the tricks of the language: attacks on the sandbox's own machinery."""

from __future__ import annotations

from case import Case

CASES = (
    Case(
        42,
        "leaves files of every kind",
        r"""
        os.symlink("/etc/passwd", "/tmp/link")
        open("/tmp/a", "w").close()
        os.link("/tmp/a", "/tmp/hard")
        os.mkfifo("/tmp/fifo")
        ours = socket.socket(socket.AF_UNIX); ours.bind("/tmp/socket")
        open("/tmp/new\nline", "w").close()
        os.makedirs("/tmp/b/../c/d")
        os.symlink("/", "/tmp/c/d/root")
        refused("huge", lambda: os.truncate("/tmp/a", 10 << 30))
        """,
        ("ok", "killed"),
    ),
    Case(
        45,
        "speaks the supervisor's language on every descriptor",
        """
        import json, struct
        header = json.dumps({"kind": "result", "end": "exit", "status": 0, "wall_s": 0, "cpu_s": 0, "peak_kb": 0,
                             "stdout_truncated": False, "stderr_truncated": False, "alive": False, "blobs": [1, 0]}).encode()
        forged = struct.pack(">4sII", b"SMF1", len(header), 1) + header + b"!"
        for number in range(1, 1025):
            try: os.write(number, forged)
            except OSError: continue
            if number > 2: print("BREACH", number)
        raise SystemExit(3)
        """,
        ("error",),
        lambda e: e.exit_code == 3 and "SMF1" in e.stdout,
    ),
    Case(
        45,
        "has no descriptor but three",
        "print(sorted(os.listdir('/proc/self/fd'), key=int)[:3], len(os.listdir('/proc/self/fd')))",
        ("ok",),
        lambda e: e.stdout == "['0', '1', '2'] 4\n",
    ),
    Case(45, "ends at once with success", "os._exit(0)", ("ok",), lambda e: e.exit_code == 0),
    Case(
        45,
        "ends with a status that no number of 64 bits holds",
        "sys.exit(2**70)",
        ("error",),
        lambda e: e.exit_code == 255,
    ),
    Case(
        45,
        "closes its streams",
        "os.close(1); os.close(2); sys.exit(0)",
        ("ok",),
        lambda e: e.stdout == "" and e.exit_code == 0,
    ),
    Case(
        45,
        "replaces what it finds",
        """
        import builtins, json, traceback, atexit, gc
        os._exit = os.write = json.dumps = traceback.print_exception = gc.collect = lambda *a, **k: None
        builtins.print = builtins.exec = builtins.compile = None
        sys.modules.clear()
        sys.stdout = sys.stderr = None
        raise ValueError("unseen")
        """,
        ("error",),
        lambda e: e.exit_code == 1,
    ),
    Case(
        45,
        "climbs into the frames that called it",
        """
        frame = sys._getframe()
        while frame.f_back is not None: frame = frame.f_back
        frame.f_globals.clear()
        for value in list(sys.modules.values()):
            if "stepmill_guest" in getattr(value, "__name__", ""): vars(value).clear()
        raise SystemExit(5)
        """,
        ("error",),
    ),
    Case(
        46,
        "removes everything",
        """
        import shutil
        shutil.rmtree("/", ignore_errors=True)
        for path in ("/bin", "/usr/local/bin/python3", "/lib"):
            refused(path, lambda: os.chmod(path, 0))
        """,
        ("ok", "timeout", "cpu_time"),
    ),
    Case(
        46,
        "kills the first process",
        """
        for number in range(1, 65):
            if number in (18, 32, 33): continue
            try: os.kill(1, number)
            except OSError: pass
        print("here")
        """,
        ("ok",),
        lambda e: e.stdout == "here\n",
    ),
    Case(
        45,
        "tricks of the language",
        """
        found = [c for c in ().__class__.__base__.__subclasses__() if c.__name__ == "_wrap_close"]
        system = found[0].__init__.__globals__["system"]
        print(system("true") != 0, eval("__import__('os')").getuid() > 0)
        print((lambda: 0).__code__.replace(co_consts=(None, 7)).co_consts)
        refused("ptrace", lambda: (_ for _ in ()).throw(OSError(*call(101, 0, 0, 0, 0))))
        """,
        ("ok",),
        lambda e: e.stdout.startswith("True True\n"),
    ),
)
