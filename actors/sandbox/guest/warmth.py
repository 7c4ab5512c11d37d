"""What the supervisor does once so that every forked interpreter has it done.

Invariant: after `warm_up` the scientific stack is imported, its usual paths have been walked (a
first `solve` costs a hundred times a second one) and the heap is frozen for the garbage collector,
so that a forked interpreter touches, and therefore copies, few of its pages.
"""

from __future__ import annotations

import gc
import importlib

MODULES = """
    math cmath fractions decimal itertools functools collections statistics random re json string
    heapq bisect copy operator time datetime typing dataclasses traceback linecache threading
"""
"""What nearly every script imports, and what the supervisor itself needs."""

CALLS = """
import numpy as np
import sympy as sp
from sympy.parsing.sympy_parser import parse_expr
x, y, n = sp.symbols("x y n")
sp.solve(x**2 - 5 * x + 6, x)
sp.solve([x + y - 3, x - y - 1], [x, y])
sp.solve(sp.Eq(2 * x + 3, 7), x)
sp.simplify((x**2 - 1) / (x - 1) + sp.sin(x) ** 2 + sp.cos(x) ** 2)
sp.factor(x**3 - 1), sp.expand((x + 1) ** 4), sp.factorint(360), sp.isprime(97)
sp.gcd(12, 18), sp.lcm(4, 6), sp.Rational(1, 3) + sp.Rational(1, 6), sp.sqrt(8)
sp.diff(sp.exp(x) * sp.log(x), x), sp.integrate(x**2, (x, 0, 1)), sp.limit(sp.sin(x) / x, x, 0)
sp.summation(n, (n, 1, 10)), sp.binomial(10, 3), sp.nsimplify(0.5), sp.N(sp.pi, 20)
sp.Matrix([[1, 2], [3, 4]]).inv(), sp.Matrix([[2, 0], [0, 3]]).eigenvals()
str(parse_expr("2*x + 1").subs(x, 3)), sp.latex(sp.sqrt(x) / 2), sp.series(sp.cos(x), x, 0, 4)
sp.simplify(sp.sqrt(2) * sp.sqrt(3) - sp.sqrt(6)), sp.trigsimp(2 * sp.sin(x) * sp.cos(x))
np.linalg.solve(np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([9.0, 8.0]))
np.roots([1, -3, 2]), np.linalg.eigvals(np.eye(2)), np.isclose(1.0, 1.0), np.arange(10).sum()
"""


def warm_up(further: list[str]) -> list[str]:
    """Import and exercise the stack; return the modules that are missing (code that needs them
    fails alone).
    """
    missing = []
    for name in MODULES.split() + further:
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    if {"numpy", "sympy"} <= set(further) - set(missing):
        exec(compile(CALLS, "<warm-up>", "exec"), {"__name__": "warm_up"})
    gc.collect()
    gc.freeze()
    return missing
