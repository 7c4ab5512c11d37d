"""Reads and checks the prompts that a user writes to replace the project's.

    stepmill prompts --write FOLDER     writes every prompt to a file NAME.jinja
    prompts: FOLDER                     a build uses the files there that were changed

A user can change what a model is asked. The beginning of the answer, its stops and its reading are
fixed: they are the form that the stages expect.

Invariant: no run starts with a wrong file. A file with the project's own text changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from storage.errors import ConfigurationError
from workflows.formats import error_prompts, judge_prompts, prompts, statements, tool_prompts
from workflows.formats.templates import Prompt, Texts

PROMPTS: Mapping[str, Prompt] = {
    prompt.name: prompt
    for prompt in (
        prompts.SOLVER, prompts.SOLVE, prompts.RATIONALE_WRITER, prompts.RATIONALE,
        judge_prompts.JUDGE, judge_prompts.CRITIQUE, judge_prompts.RESOLVE, judge_prompts.ALIGN,
        judge_prompts.META, judge_prompts.MERGE, judge_prompts.REPAIR, statements.TRANSLATOR,
        statements.STATE, statements.SAY_BACK, statements.SAME, tool_prompts.TOOL_USER,
        tool_prompts.QUERY, tool_prompts.VERDICT, judge_prompts.REASONS_READER,
        judge_prompts.REASONS, error_prompts.ERROR_WRITER, error_prompts.ERROR,
    )
}  # fmt: skip
"""All prompts of a build, by name."""
SUFFIX = ".jinja"
DIGITS = 16


def digest_of(text: str) -> str:
    """The digest that a spec stores of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def write_prompts(folder: Path) -> list[Path]:
    """Write every prompt to a folder. Raises ConfigurationError for files that exist."""
    files = {folder / f"{name}{SUFFIX}": prompt.text for name, prompt in PROMPTS.items()}
    if there := [file.name for file in files if file.exists()]:
        raise ConfigurationError(f"{folder} holds {', '.join(there)}: take another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        file.write_text(text + "\n", encoding="utf-8")
    return list(files)


def read_prompts(folder: Path) -> dict[str, str]:
    """Read the changed prompts of a folder: name -> text, without the last line's end.

    Raises ConfigurationError that says what is wrong with each wrong file.
    """
    if not folder.is_dir():
        raise ConfigurationError(
            f"`prompts`: there is no folder {folder}: `stepmill prompts --write {folder}` makes it"
        )
    texts: dict[str, str] = {}
    for file in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            texts[file.name.removesuffix(SUFFIX)] = file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"`prompts`: {file} can't be read: {error}") from None
    if not texts:
        raise ConfigurationError(f"`prompts`: {folder} holds no file *{SUFFIX}")
    texts = {name: text.removesuffix("\n") for name, text in texts.items()}
    check_texts(texts)
    return {name: text for name, text in texts.items() if text != PROMPTS[name].text}


def check_texts(texts: Texts) -> None:
    """Raise ConfigurationError for texts that can't be used; it says why for each."""
    if wrong := list(_wrong(texts)):
        raise ConfigurationError("; ".join(wrong))


def _wrong(texts: Texts) -> Iterator[str]:
    for name, text in texts.items():
        if name not in PROMPTS:
            yield f"`prompts`: there is no prompt {name}, only {', '.join(PROMPTS)}"
            continue
        try:
            PROMPTS[name].check(text, list(_examples()))
        except ConfigurationError as error:
            yield f"`prompts`: {name}{SUFFIX}: {error}"


def _examples() -> Iterator[Mapping[str, Any]]:
    """Yield values of all variables, such as a build may have."""
    for steps, seen, flag in product((["a"], ["a", "b", "c"]), (None, "4"), (False, True)):
        yield {
            "problem": "How much is 2 + 2?", "steps": steps, "answer": seen,
            "reference_solution": seen, "verification": "v", "critique": "c", "wrong": "w",
            "require_code": flag, "state_verdict": flag, "premises": "p", "claims": steps,
            "said": ["s"] * (len(steps) + 1), "step": "s", "tool": "t", "right": "r", "kind": "k",
        }  # fmt: skip
