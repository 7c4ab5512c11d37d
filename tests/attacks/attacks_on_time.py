"""Rows 1 to 7, 11 to 14 and 41: programs that don't end, end oddly, or leave others behind."""

from __future__ import annotations

from case import Case

ENDLESS = ("timeout", "cpu_time")

CASES = (
    Case(1, "busy loop", "while True: pass", ENDLESS),
    Case(2, "sleeps for ever", "time.sleep(1e9)", ("timeout",), lambda e: e.cpu_s < 0.5),
    Case(
        3,
        "ignores every signal",
        """
        for number in range(1, 65):
            try: signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError): pass
        while True: signal.pause()
        """,
        ("timeout",),
        lambda e: e.signal == 9,
    ),
    Case(4, "catastrophic regex", "import re; re.match(r'(a+)+$', 'a' * 64 + 'b')", ENDLESS),
    Case(
        4,
        "huge int to str",
        "sys.set_int_max_str_digits(0); print(len(str(1 << (1 << 25))))",
        ENDLESS,
    ),
    Case(
        5,
        "loops in a destructor",
        """
        class Clinging:
            def __del__(self):
                while True: pass
        clinging = Clinging()
        """,
        ENDLESS,
    ),
    Case(
        5,
        "loops at exit",
        """
        import atexit
        @atexit.register
        def never():
            while True: time.sleep(0.01)
        """,
        ("timeout",),
    ),
    Case(
        5,
        "a thread that goes on",
        "threading.Thread(target=lambda: [time.sleep(1) for _ in iter(int, 1)]).start()",
        ("timeout",),
    ),
    Case(
        6,
        "ends itself by SIGTERM",
        "os.kill(os.getpid(), signal.SIGTERM); time.sleep(14)",
        ("killed",),
        # At once, not when it would end by itself.
        lambda e: e.signal == 15 and e.exit_code is None and e.wall_s < 10,
    ),
    Case(
        11,
        "fork bomb",
        """
        while True:
            try: os.fork()
            except OSError: time.sleep(0.001)
        """,
        ("timeout", "cpu_time", "memory"),
    ),
    Case(
        12,
        "five hundred threads",
        """
        stop = threading.Event()
        started = 0
        try:
            for _ in range(500):
                threading.Thread(target=stop.wait).start()
                started += 1
        except RuntimeError as error:
            print("stopped at", started, error)
        else:
            print("BREACH", started)
        stop.set()
        """,
        ("ok",),
        lambda e: "can't start new thread" in e.stdout,
    ),
    Case(
        13,
        "leaves a daemon behind",
        """
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                while True:
                    open("/tmp/alive", "w").write(str(time.time()))
            os._exit(0)
        os.wait()
        """,
        ("ok",),
    ),
    Case(
        14,
        "a daemon keeps stdout open",
        """
        print("said", flush=True)
        if os.fork() == 0:
            os.setsid()
            time.sleep(1000)
        """,
        ("ok",),
        lambda e: e.stdout == "said\n",
    ),
    Case(
        15,
        "a legitimate pool of processes",
        """
        import multiprocessing
        with multiprocessing.Pool(os.cpu_count()) as pool:
            print(os.cpu_count(), sum(pool.map(abs, range(-10, 0))))
        """,
        ("ok",),
        lambda e: e.stdout == "1 55\n",
    ),
    Case(
        41,
        "segmentation fault",
        "ctypes.string_at(0)",
        ("killed",),
        lambda e: e.signal == 11,
    ),
    Case(
        41,
        "recursion without end",
        """
        sys.setrecursionlimit(10**9)
        def down(n): return down(n + 1) + [n]
        down(0)
        """,
        ("memory", "killed", "timeout", "cpu_time"),
    ),
    Case(
        41,
        "recursion of the C stack",
        """
        sys.setrecursionlimit(10**9)
        nested = []
        for _ in range(10**5): nested = [nested]
        repr(nested)
        """,
        ("memory", "killed"),
        lambda e: e.verdict != "killed" or e.signal == 11,
    ),
    Case(46, "stops itself", "os.kill(os.getpid(), signal.SIGSTOP)", ("timeout",)),
)
