"""A prompt as a Jinja template, which the user can replace.

Invariant: a template sees only its own variables, and can only write text: Jinja's sandbox renders
it. The value of a variable is never read as a template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from actors.bounded import TooLong, bounded
from storage.errors import ConfigurationError, first_line

Texts = Mapping[str, str]
"""Name of a prompt -> the text that the user wrote to replace it."""
AS_THEY_ARE: Texts = MappingProxyType({})
_SANDBOX = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
LONGEST = 100_000
"""Most characters of a prompt's text."""
LONGEST_S = 2.0
"""Most seconds of a processor that a user's text may take; ours need a thousandth of it."""


@lru_cache(maxsize=256)
def _compiled(text: str) -> Template:
    return _SANDBOX.from_string(text)


def used_by(text: str) -> set[str]:
    """The variables that a text uses. Raises TemplateError."""
    return find_undeclared_variables(_SANDBOX.parse(text)) - _SANDBOX.globals.keys()


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt: its text, and the variables that a text of the user may use."""

    name: str
    says: str
    """What it is, in a sentence."""
    text: str
    must: tuple[str, ...] = ()
    """Variables that every text of it must show."""
    may: tuple[str, ...] = ()
    """Other variables that it may use."""

    def of(self, texts: Texts, **variables: Any) -> str:
        """Render the prompt, or the text that the user wrote to replace it."""
        text = texts.get(self.name, self.text)
        if text == self.text:
            return _compiled(text).render(variables)
        try:
            return bounded(partial(_compiled(text).render, variables), LONGEST_S)
        except TooLong as error:
            raise ConfigurationError(f"`prompts`: {self.name}.jinja: {error}") from None

    def check(self, text: str, examples: Sequence[Mapping[str, Any]]) -> None:
        """Refuse a text that can't replace this prompt; `examples`: values to render it with.

        Raises ConfigurationError with one line.
        """
        if len(text) > LONGEST:
            raise ConfigurationError(f"longer than {LONGEST} characters: shorten it")
        try:
            used = used_by(text)
        except TemplateError as error:
            line = getattr(error, "lineno", None)
            where = f"line {line}: " if line else ""
            raise ConfigurationError(f"{where}no Jinja text ({first_line(error)})") from None
        known = (*self.must, *self.may)
        if unknown := sorted(used - set(known)):
            allowed = ", ".join(known) or "none"
            raise ConfigurationError(
                f"there is no variable {', '.join(unknown)}: it may use {allowed}"
            )
        if missing := sorted(set(self.must) - used):
            raise ConfigurationError(f"the variable {', '.join(missing)} is missing: show it")
        for variables in examples:
            try:
                given = {name: value for name, value in variables.items() if name in known}
                bounded(partial(_compiled(text).render, given), LONGEST_S)
            except (
                TooLong, RecursionError, TemplateError, TypeError, ValueError, ArithmeticError,
                LookupError, AttributeError, OverflowError, MemoryError,
            ) as error:  # fmt: skip
                raise ConfigurationError(f"it can't be rendered: {first_line(error)}") from None
