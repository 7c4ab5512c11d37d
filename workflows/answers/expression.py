r"""Parses and evaluates a LaTeX expression in a single pass, at one point.

Rational arithmetic is exact. Irrational roots, pi, e, i and functions give complex floats.
Variables have fixed random rational values, a set of them per point.

Invariant: an expression with more than one common reading is `Unreadable`. So is one that would
take long: the bits of a number are bounded before it is computed.
"""

from __future__ import annotations

import hashlib
import math
import re
from fractions import Fraction
from functools import lru_cache

from workflows.answers.numbers import FLOATS, Numbers, Value, spelled

_MAX_BITS = 65536
_MOST_FACTORS = 5000
POSITIVE = 2
"""Index of the first point at which every variable is positive."""

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d*\.\d+(?:\\overline\{\d+\})?|\d+\.(?:\\overline\{\d+\})?|\d+)"
    r"|(?P<command>\\[a-zA-Z]+)|(?P<letter>[a-zA-Z])|(?P<sign>[-+*/^(){}!|_\[\]°]))"
)
_GREEK = frozenset(
    f"\\{name}"
    for name in (
        "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "kappa",
        "lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "phi", "varphi", "chi", "psi", "omega",
        "Omega", "Delta", "ell", "infty",
    )
)  # fmt: skip

_RECIPROCALS = {"\\sec": "cos", "\\csc": "sin", "\\cot": "tan"}
_MADE_OF = {**_RECIPROCALS, "\\log": "ln"}


class Unreadable(ValueError):
    """This evaluator can't read the expression: algebra must decide."""


class TooLarge(Unreadable):
    """A number has more digits than this evaluator computes."""


class Endless(Unreadable):
    """An exponent is too large to compute the power; only the same text equals it."""


class SeveralRoots(Unreadable):
    """A negative number has several such roots: evaluate at points with positive variables."""


class Expression:
    """A recursive-descent evaluator of an expression at one point. Raises Unreadable.

    A method per rule of the grammar: `sum` of `product`s of `power`s of `atom`s.
    """

    def __init__(self, text: str, point: int = 0, numbers: Numbers = FLOATS) -> None:
        self.numbers = numbers
        self.tokens: list[str] = []
        self.kinds: list[str] = []
        self.at = 0
        self.point = point
        self.high = 0
        """All intermediate values are below 2 ** high in magnitude."""
        self.low = 0
        """The smallest intermediate term, factor or decimal place is about 2 ** low."""
        self.variables: set[str] = set()
        end = 0
        for match in _TOKEN.finditer(text):
            if match.start() != end:
                break
            end = match.end()
            self.tokens.append(match[match.lastgroup or 0].strip())
            self.kinds.append(match.lastgroup or "")
        if text[end:].strip() or not self.tokens:
            raise Unreadable(text)

    def whole(self) -> Value:
        value = self.sum()
        if self.at != len(self.tokens):
            raise Unreadable("trailing tokens")
        return value

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, expected: str | None = None) -> str:
        token = self.peek()
        if not token or (expected is not None and token != expected):
            raise Unreadable(f"{expected!r} expected")
        self.at += 1
        return token

    def note(self, value: Value, summed: bool = False) -> Value:
        """Record a value's size. A small sum does not count, as its terms may have cancelled."""
        if isinstance(value, Fraction):
            places = value.denominator.bit_length()
            if value.numerator.bit_length() + places > _MAX_BITS:
                raise TooLarge("too large")
            size = value.numerator.bit_length() - places
            smallest = -places if places > 1 else 0
        elif value == 0:
            return value
        else:
            size = self.numbers.size(value)
            smallest = 0 if summed else size
        self.high = max(self.high, size)
        self.low = min(self.low, smallest, size if value and not summed else 0)
        return value

    def sum(self) -> Value:
        value = self.product()
        while self.peek() in ("+", "-"):
            sign = self.take()
            term = self.product()
            value = self.note(self.add(value, term if sign == "+" else -term), summed=True)
        return value

    def product(self) -> Value:
        sign = 1
        while self.peek() in ("+", "-"):
            sign = -sign if self.take() == "-" else sign
        value = self.power()
        while token := self.peek():
            if token in ("*", "/"):
                self.take()
                negative = self.peek() == "-"
                if self.peek() in ("+", "-"):
                    self.take()
                factor = -self.power() if negative else self.power()
                value = self.note(self.multiply(value, factor if token == "*" else (1 / factor)))
            elif self.starts_factor():
                value = self.note(self.multiply(value, self.power()))
            else:
                break
        return -value if sign < 0 else value

    def starts_factor(self) -> bool:
        token, kind = self.peek(), self.kinds[self.at]
        if kind == "number":  # "2 3" is not a product
            if self.tokens[self.at - 1] in (")", "}"):
                return True
            raise Unreadable("two numbers side by side")
        return kind in ("command", "letter") or token in ("(", "{")

    def power(self) -> Value:
        value = self.atom()
        while (token := self.peek()) in ("^", "!", "°"):
            self.take()
            if token == "°":
                value = self.multiply(value, self.numbers.pi / 180)
            elif token == "!":
                step = 2 if self.peek() == "!" else 1  # 5!! is 5 * 3 * 1
                self.at += step - 1
                value = self.note(Fraction(math.prod(range(_small(value), 0, -step))))
            else:
                value = self.note(self.raised(value, self.exponent()))
        return value

    def exponent(self) -> Value:
        try:
            return self.argument()
        except TooLarge:
            raise Endless("a tower of powers") from None

    def raised(self, base: Value, exponent: Value) -> Value:
        if isinstance(base, Fraction) and isinstance(exponent, Fraction):
            if exponent.denominator == 1:
                size = base.numerator.bit_length() + base.denominator.bit_length()
                if size * abs(exponent.numerator) > _MAX_BITS:
                    raise TooLarge("too large")
                return Fraction(base**exponent.numerator)
            if exponent.denominator == 2 and abs(exponent.numerator) == 1:
                root = self.root(base, 2)
                return root if exponent > 0 else (1 / root)
        number = self.numbers.of(base)
        if not number.imag and number.real < 0:
            raise SeveralRoots("which root of a negative number is meant")
        power = self.numbers.of(exponent)
        if number and abs(power) * max(1, abs(self.numbers.size(number))) > _MAX_BITS:
            raise TooLarge("too large")
        return number**power

    def argument(self) -> Value:
        r"""A braced group, or a single digit, letter or command as in TeX (`\frac12`, `x^2`)."""
        token = self.peek()
        if token == "{":
            self.take()
            value = self.sum()
            self.take("}")
            return value
        if self.at < len(self.kinds) and self.kinds[self.at] == "number":
            if "." in token:
                raise Unreadable("decimal without braces")
            if len(token) == 1:
                self.at += 1
            else:
                self.tokens[self.at] = token[1:]
            return Fraction(int(token[0]))
        if token == "-":  # x^-1 is not TeX, but people write it
            self.take()
            return -self.argument()
        return self.atom()

    def atom(self) -> Value:
        kind = self.kinds[self.at] if self.at < len(self.kinds) else ""
        token = self.take()
        if kind == "number":
            return self.note(self.mixed(spelled(token)))
        if kind == "letter":
            return self.symbol(token)
        if kind == "command":
            return self.command(token)
        if token in ("(", "{"):
            value = self.sum()
            self.take(")" if token == "(" else "}")
            return value
        if token == "|":
            value = self.sum()
            self.take("|")
            return abs(value) if isinstance(value, Fraction) else self.numbers.of(abs(value))
        raise Unreadable(token)

    def mixed(self, number: Fraction) -> Value:
        r"""`6\frac{1}{6}` is 6 + 1/6 if the fraction is of whole numbers and below 1."""
        if self.peek() != "\\frac" or number.denominator != 1:
            return number
        self.take()
        top, bottom = self.argument(), self.argument()
        fraction = self.multiply(top, (1 / bottom))
        whole = isinstance(top, Fraction) and isinstance(bottom, Fraction)
        if whole and top.denominator == bottom.denominator == 1 and 0 < top < bottom:
            return self.add(number, fraction)
        return self.multiply(number, fraction)

    def symbol(self, name: str) -> Value:
        if self.peek() == "_":
            self.take()
            subscript = self.take()
            if subscript == "{":
                parts = []
                while self.peek() != "}":
                    parts.append(self.take())
                self.take("}")
                subscript = "".join(parts)
            name = f"{name}_{subscript}"
        if name == "i":
            return self.numbers.i
        if name == "e":
            return self.numbers.e
        self.variables.add(name)
        return self.note(_at(name, self.point))

    def command(self, name: str) -> Value:
        if name == "\\frac":
            numerator = self.argument()
            return self.note(self.multiply(numerator, (1 / self.argument())))
        if name == "\\sqrt":
            degree = 2
            if self.peek() == "[":
                self.take()
                degree = int(self.take())
                self.take("]")
            return self.note(self.root(self.argument(), degree))
        if name == "\\pi":
            return self.note(self.numbers.pi)
        if name == "\\binom":
            top, bottom = self.argument(), self.argument()
            return self.note(Fraction(math.comb(_small(top), _small(bottom))))
        if name[1:] in self.numbers.functions or name in _MADE_OF:
            return self.note(self.function(name))
        if name in _GREEK:
            return self.symbol(name)
        raise Unreadable(name)

    def function(self, name: str) -> Value:
        exponent: Value = Fraction(1)
        base: Value = Fraction(10)  # a bare \\log, as in math-verify
        if name == "\\log" and self.peek() == "_":
            self.take()
            base = self.argument()
        if self.peek() == "^":
            self.take()
            exponent = self.argument()
            if not isinstance(exponent, Fraction) or exponent < 0:
                raise Unreadable("an inverse function")
        # `\sin 2x` is sin(2x), `\sin(2)x` is sin(2) x, and `\sin x \cos x` is a product.
        value: Value
        if self.peek() in ("(", "{"):
            value = self.atom()
            if self.peek() == "^":
                raise Unreadable("a power of the argument or of the function")
        else:
            value = self.power()
            while self.peek() and (
                self.kinds[self.at] == "letter" or self.peek() in _GREEK or self.peek() == "\\pi"
            ):
                value = self.multiply(value, self.power())
        result = self.numbers.functions[_MADE_OF.get(name, name[1:])](self.numbers.of(value))
        if name == "\\log":
            result /= self.numbers.functions["ln"](self.numbers.of(base))
        return (1 / result if name in _RECIPROCALS else result) ** self.numbers.of(exponent)

    def add(self, a: Value, b: Value) -> Value:
        if isinstance(a, Fraction) and isinstance(b, Fraction):
            return a + b
        return self.numbers.of(a) + self.numbers.of(b)

    def multiply(self, a: Value, b: Value) -> Value:
        if isinstance(a, Fraction) and isinstance(b, Fraction):
            return a * b
        return self.numbers.of(a) * self.numbers.of(b)

    def root(self, value: Value, degree: int) -> Value:
        if not 1 < degree < 100:
            raise Unreadable("root")
        if isinstance(value, Fraction) and value >= 0 and degree == 2:
            top, bottom = math.isqrt(value.numerator), math.isqrt(value.denominator)
            if top * top == value.numerator and bottom * bottom == value.denominator:
                return Fraction(top, bottom)
        number, exponent = self.numbers.of(value), self.numbers.of(Fraction(1, degree))
        if degree % 2 and not number.imag and number.real < 0:
            return -((-number) ** exponent)  # the real root of a negative number
        return number**exponent


def _small(value: Value) -> int:
    """The value as a whole number with a small factorial. Raises Unreadable for any other."""
    if not isinstance(value, Fraction) or value.denominator != 1 or not 0 <= value <= _MOST_FACTORS:
        raise Unreadable("not a small whole number")
    return value.numerator


@lru_cache(maxsize=1024)
def _at(variable: str, point: int) -> Fraction:
    digest = hashlib.sha256(f"{variable}@{point}".encode()).digest()
    numerator = 1 + int.from_bytes(digest[:4], "big") % 999_983
    # Between -8 and 8, so that powers with a variable exponent stay in the range of floats. Each
    # variable is negative at one of two points, so that the root of its square differs from it.
    odd = (hashlib.sha256(variable.encode()).digest()[5] + point) % 2
    return Fraction(numerator if odd or point >= POSITIVE else -numerator, 131_071)
