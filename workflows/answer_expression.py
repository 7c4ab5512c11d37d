r"""Reads one LaTeX expression and evaluates it on the way, at one point.

Rational arithmetic is exact. Roots that are not rational, pi, e, i and functions give complex
floats. Variables stand for fixed random rationals, one set per point.

Invariant: an expression that has more than one common reading is `Unreadable`, and so is one that
would take long: numbers are bounded by their bits before they are computed.
"""

from __future__ import annotations

import cmath
import hashlib
import math
import re
from fractions import Fraction
from functools import lru_cache

_MAX_BITS = 65536

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d*\.\d+(?:\\overline\{\d+\})?|\d+\.(?:\\overline\{\d+\})?|\d+)"
    r"|(?P<command>\\[a-zA-Z]+)|(?P<letter>[a-zA-Z])|(?P<sign>[-+*/^(){}!|_\[\]°]))"
)
_FUNCTIONS = {
    "\\sin": cmath.sin, "\\cos": cmath.cos, "\\tan": cmath.tan, "\\ln": cmath.log,
    "\\exp": cmath.exp, "\\arcsin": cmath.asin, "\\arccos": cmath.acos, "\\arctan": cmath.atan,
    "\\sinh": cmath.sinh, "\\cosh": cmath.cosh, "\\tanh": cmath.tanh,
}  # fmt: skip
_RECIPROCALS = {"\\sec": cmath.cos, "\\csc": cmath.sin, "\\cot": cmath.tan}
_GREEK = frozenset(
    f"\\{name}"
    for name in (
        "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "kappa",
        "lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "phi", "varphi", "chi", "psi", "omega",
        "Omega", "Delta", "ell", "infty",
    )
)  # fmt: skip

Value = Fraction | complex


class Unreadable(ValueError):
    """The expression is outside of what this evaluator reads: algebra must decide."""


class Expression:
    """Recursive descent over one expression at one point."""

    def __init__(self, text: str, point: int) -> None:
        self.tokens: list[str] = []
        self.kinds: list[str] = []
        self.at = 0
        self.point = point
        self.scale = 0.0
        self.variables = False
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

    def note(self, value: Value) -> Value:
        if isinstance(value, Fraction):
            if value.numerator.bit_length() + value.denominator.bit_length() > _MAX_BITS:
                raise Unreadable("too large")
            if value.numerator.bit_length() - value.denominator.bit_length() < 900:
                self.scale = max(self.scale, abs(float(value)))
        else:
            self.scale = max(self.scale, abs(value))
        return value

    def sum(self) -> Value:
        value = self.product()
        while self.peek() in ("+", "-"):
            sign = self.take()
            term = self.product()
            value = self.note(_add(value, term if sign == "+" else -term))
        return value

    def product(self) -> Value:
        sign = 1
        while self.peek() in ("+", "-"):
            sign = -sign if self.take() == "-" else sign
        value = self.power()
        while token := self.peek():
            if token in ("*", "/"):
                self.take()
                factor_sign = -1 if self.peek() == "-" else 1
                if self.peek() in ("+", "-"):
                    self.take()
                factor = self.power()
                factor = -factor if factor_sign < 0 else factor
                value = self.note(_multiply(value, factor if token == "*" else _inverse(factor)))
            elif self.starts_factor():
                value = self.note(_multiply(value, self.power()))
            else:
                break
        return -value if sign < 0 else value

    def starts_factor(self) -> bool:
        token, kind = self.peek(), self.kinds[self.at]
        if kind == "number":  # "2 3" is no product
            if self.tokens[self.at - 1] in (")", "}"):
                return True
            raise Unreadable("two numbers side by side")
        return kind in ("command", "letter") or token in ("(", "{")

    def power(self) -> Value:
        value = self.atom()
        while (token := self.peek()) in ("^", "!", "°"):
            self.take()
            if token == "°":
                value = _multiply(value, complex(math.pi / 180))
            elif token == "!":
                value = self.note(Fraction(math.factorial(_small(value))))
            else:
                value = self.note(self.raised(value, self.argument()))
        return value

    def raised(self, base: Value, exponent: Value) -> Value:
        if isinstance(base, Fraction) and isinstance(exponent, Fraction):
            if exponent.denominator == 1:
                size = base.numerator.bit_length() + base.denominator.bit_length()
                if size * abs(exponent.numerator) > _MAX_BITS:
                    raise Unreadable("too large")
                return Fraction(base**exponent.numerator)
            if exponent.denominator == 2 and abs(exponent.numerator) == 1:
                root = _root(base, 2)
                return root if exponent > 0 else _inverse(root)
        if not complex(base).imag and complex(base).real < 0:
            raise Unreadable("which root of a negative number is meant")
        return complex(base) ** complex(exponent)

    def argument(self) -> Value:
        r"""A braced group, or as in TeX a single digit, letter or command (`\frac12`, `x^2`)."""
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
        if token == "-":  # x^-1, which TeX forbids and people write
            self.take()
            return -self.argument()
        return self.atom()

    def atom(self) -> Value:
        kind = self.kinds[self.at] if self.at < len(self.kinds) else ""
        token = self.take()
        if kind == "number":
            return self.note(self.mixed(_number(token)))
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
            return abs(value) if isinstance(value, Fraction) else complex(abs(value))
        raise Unreadable(token)

    def mixed(self, number: Fraction) -> Value:
        r"""`6\frac{1}{6}` is 6 + 1/6 where the fraction is one of whole numbers, below 1."""
        if self.peek() != "\\frac" or number.denominator != 1:
            return number
        self.take()
        top, bottom = self.argument(), self.argument()
        fraction = _multiply(top, _inverse(bottom))
        whole = isinstance(top, Fraction) and isinstance(bottom, Fraction)
        if whole and top.denominator == bottom.denominator == 1 and 0 < top < bottom:  # type: ignore[union-attr,operator]
            return _add(number, fraction)
        return _multiply(number, fraction)

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
            return 1j
        if name == "e":
            return complex(math.e)
        self.variables = True
        return self.note(_at(name, self.point))

    def command(self, name: str) -> Value:
        if name == "\\frac":
            numerator = self.argument()
            return self.note(_multiply(numerator, _inverse(self.argument())))
        if name == "\\sqrt":
            degree = 2
            if self.peek() == "[":
                self.take()
                degree = int(self.take())
                self.take("]")
            return self.note(_root(self.argument(), degree))
        if name == "\\pi":
            return self.note(complex(math.pi))
        if name == "\\binom":
            top, bottom = self.argument(), self.argument()
            return self.note(Fraction(math.comb(_small(top), _small(bottom))))
        if name in _FUNCTIONS or name in _RECIPROCALS:
            return self.note(self.function(name))
        if name in _GREEK:
            return self.symbol(name)
        raise Unreadable(name)

    def function(self, name: str) -> Value:
        exponent: Value = Fraction(1)
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
                value = _multiply(value, self.power())
        argument = complex(value)
        if name in _RECIPROCALS:
            return (1 / _RECIPROCALS[name](argument)) ** complex(exponent)
        return _FUNCTIONS[name](argument) ** complex(exponent)


def _number(token: str) -> Fraction:
    if "\\overline" not in token:
        return Fraction(token if not token.endswith(".") else token[:-1])
    head, _, repeated = token.partition("\\overline{")
    repeated = repeated.rstrip("}")
    whole, _, fixed = head.partition(".")
    base = Fraction(f"{whole or 0}.{fixed or 0}")
    return base + Fraction(int(repeated), (10 ** len(repeated) - 1) * 10 ** len(fixed))


def _small(value: Value) -> int:
    """A whole number whose factorial is quickly made."""
    if not isinstance(value, Fraction) or value.denominator != 1 or not 0 <= value < 500:
        raise Unreadable("not a small whole number")
    return value.numerator


def _add(a: Value, b: Value) -> Value:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a + b
    return complex(a) + complex(b)


def _multiply(a: Value, b: Value) -> Value:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a * b
    return complex(a) * complex(b)


def _inverse(value: Value) -> Value:
    return 1 / value


def _root(value: Value, degree: int) -> Value:
    if not 1 < degree < 100:
        raise Unreadable("root")
    if isinstance(value, Fraction) and value >= 0 and degree == 2:
        top, bottom = math.isqrt(value.numerator), math.isqrt(value.denominator)
        if top * top == value.numerator and bottom * bottom == value.denominator:
            return Fraction(top, bottom)
    if degree % 2 and not complex(value).imag and complex(value).real < 0:
        return -(complex(-value) ** (1 / degree))  # the real root of a negative number
    return complex(value) ** (1 / degree)


@lru_cache(maxsize=1024)
def _at(variable: str, point: int) -> Fraction:
    digest = hashlib.sha256(f"{variable}@{point}".encode()).digest()
    numerator = 1 + int.from_bytes(digest[:4], "big") % 999_983
    return Fraction(numerator if digest[5] % 2 else -numerator, 1 + digest[4])
