"""What honest code does with the scientific stack, threads, processes and files.

Run under `strace -f` it shows the system calls that the allow list must hold (docs/sandbox.md);
run in the sandbox it shows that it holds them.
"""

import asyncio
import multiprocessing
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import scipy.integrate
import scipy.linalg
import scipy.optimize
import scipy.sparse
import scipy.special
import scipy.stats
import sympy as sp

x = sp.symbols("x")
assert sp.solve(x**2 - 4) == [-2, 2]
assert sp.integrate(sp.sin(x), x) == -sp.cos(x)
assert sp.Matrix([[2, 0], [0, 3]]).eigenvals() == {2: 1, 3: 1}
assert np.linalg.svd(np.random.rand(50, 50))[1].sum() > 0
assert abs(scipy.optimize.minimize(lambda v: (v[0] - 1) ** 2, [0]).x[0] - 1) < 1e-3
assert abs(scipy.integrate.quad(np.sin, 0, 1)[0] - 0.4597) < 1e-3
assert scipy.stats.norm.cdf(0) == 0.5
assert scipy.sparse.eye(3).sum() == 3 and scipy.special.gamma(5) == 24

with tempfile.NamedTemporaryFile() as file:
    file.write(b"x")
    file.flush()
    assert os.stat(file.name).st_size == 1

thread = threading.Thread(target=time.sleep, args=(0.01,))
thread.start()
thread.join()
child = subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True, check=True)
assert child.stdout == b"1\n"
if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]
near, far = socket.socketpair()
near.send(b"x")
assert select.select([far], [], [], 1)[0] == [far] and far.recv(1) == b"x"
asyncio.run(asyncio.sleep(0.01))
print("all of it")
