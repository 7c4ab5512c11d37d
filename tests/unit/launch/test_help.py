"""`--help` of every verb ends with two examples, which the verb takes."""

from __future__ import annotations

import re
import shlex

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from launch.cli.main import app

VERBS = get_command(app).commands  # type: ignore[attr-defined]
NARROW = {"COLUMNS": "40"}


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_the_help_of_every_verb_ends_with_two_examples(verb: str) -> None:
    shown = CliRunner().invoke(app, [verb, "--help"], env=NARROW)
    assert shown.exit_code == 0, shown.output
    examples = shown.output.rpartition("Examples:\n")[2].splitlines()
    assert len(examples) == 2
    for example in examples:
        stepmill, named, *words = shlex.split(re.split(" [<|] ", example)[0])
        assert (stepmill, named) == ("stepmill", verb)
        VERBS[verb].make_context(verb, words)  # raises for an option or value that it does not take
