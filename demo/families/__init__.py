"""The families of the demo world by name, and the school subject each belongs to."""

import random
from collections.abc import Callable
from types import MappingProxyType

from demo.families.algebra import divisors, linear, modular
from demo.families.logic import logic
from demo.families.numbers import chain, mean, sequence
from demo.families.shares import fractions, percentages
from demo.families.stories import stories
from demo.problem import Plan

Draw = Callable[[random.Random, int, Plan], tuple[str, tuple[int, ...]]]

FAMILIES: MappingProxyType[str, Draw] = MappingProxyType(
    {
        "chain": chain,
        "divisors": divisors,
        "fractions": fractions,
        "linear": linear,
        "logic": logic,
        "mean": mean,
        "modular": modular,
        "percentages": percentages,
        "sequence": sequence,
        "stories": stories,
    }
)
LEVELS = (1, 2, 3, 4, 5)
SUBJECTS: MappingProxyType[str, str] = MappingProxyType(
    {
        "chain": "Prealgebra",
        "divisors": "Number Theory",
        "fractions": "Prealgebra",
        "linear": "Algebra",
        "logic": "Logic",
        "mean": "Prealgebra",
        "modular": "Number Theory",
        "percentages": "Prealgebra",
        "sequence": "Algebra",
        "stories": "Prealgebra",
    }
)
