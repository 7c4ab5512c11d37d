"""Prompts that a person writes in the place of ours: files in, checked texts out.

    stepmill prompts --write FOLDER     every prompt as it is, NAME.jinja each
    prompts: FOLDER                     those of another text are asked instead

What a model is asked is a person's to change. How an answer is begun for the model, where it stops
and how it is read is not: it is the form that the stages know.

Invariant: nothing of a wrong file starts; a file that says what ours says changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from storage.errors import ConfigurationError
from workflows.formats import judge_prompts, prompts
from workflows.formats.templates import Prompt, Texts

PROMPTS: Mapping[str, Prompt] = {
    prompt.name: prompt
    for prompt in (
        prompts.SOLVER, prompts.SOLVE, prompts.RATIONALE_WRITER, prompts.RATIONALE,
        judge_prompts.JUDGE, judge_prompts.CRITIQUE, judge_prompts.RESOLVE, judge_prompts.ALIGN,
        judge_prompts.META, judge_prompts.MERGE, judge_prompts.REPAIR,
    )
}  # fmt: skip
"""All prompts of a build, by name."""
SUFFIX = ".jinja"
DIGITS = 16


def digest_of(text: str) -> str:
    """What a spec holds of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def write_prompts(folder: Path) -> list[Path]:
    """Every prompt as it is, into a folder. Raises ConfigurationError for files that are there."""
    files = {folder / f"{name}{SUFFIX}": prompt.text for name, prompt in PROMPTS.items()}
    if there := [file.name for file in files if file.exists()]:
        raise ConfigurationError(f"{folder} holds {', '.join(there)}: take another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        file.write_text(text + "\n", encoding="utf-8")
    return list(files)


def read_prompts(folder: Path) -> dict[str, str]:
    """The texts of a folder that are not ours, by name; the end of a last line is not theirs.

    Raises ConfigurationError with a line for each file that can't be taken.
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
    """Raise ConfigurationError for texts that can't be asked, a line for each."""
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
    """Values of all variables, such as a build may have."""
    for steps, seen, flag in product((["a"], ["a", "b", "c"]), (None, "4"), (False, True)):
        yield {
            "problem": "How much is 2 + 2?", "steps": steps, "answer": seen,
            "reference_solution": seen, "verification": "v", "critique": "c", "wrong": "w",
            "require_code": flag, "state_verdict": flag,
        }  # fmt: skip
