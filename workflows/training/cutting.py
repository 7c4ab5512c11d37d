"""What is learnt of a conversation that is longer than its model reads.

`last`: its steps up to the last one that fits. `first_error_kept`: where that loses the first wrong
step, turns before it are shortened to their verdict, the earliest first and as few as need be,
until it fits. All steps of the solution stay where they are, each judged, so that numbers and
references in later analyses hold; what is shortened is not learnt. At test time a verifier has its
own whole analyses before it: such a history is one that it does not see.

Invariant: a conversation that fits is not changed; what is lost of one is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from actors.training.conversations import Conversation
from storage.errors import ItemError
from storage.rows.records import Example
from workflows.formats.conversation import output_part
from workflows.training.mask import Masker, Unlearnt

CUT, TURNS, SHORTENED = "cut", "turns_cut_off", "turns_shortened"
WRONG, FIRST_ERRORS = "wrong_steps_cut_off", "first_errors_cut_off"
LOST = (CUT, TURNS, SHORTENED, WRONG, FIRST_ERRORS)
"""Names of the counts: conversations; steps that are not learnt, those of them that are shortened,
those that are labelled wrong; conversations whose first wrong step is among them."""


def fitted(
    example: Example, masker: Masker, most_tokens: int,
    too_long: Literal["last", "first_error_kept"], counts: Counter[str],
) -> Conversation:  # fmt: skip
    """An example's tokens, at most `most_tokens`; what is lost is counted.

    Raises ItemError where nothing of it can be learnt; wrong steps are counted then too.
    """
    labels = example.labels
    first = labels.index(False) if False in labels else len(labels)
    made: Conversation | None = None
    trouble: ItemError | None = None
    context = 0
    try:
        made = masker.conversation(example, most_tokens)
    except ItemError as error:
        if error.reason != Unlearnt.TOO_LONG:
            raise
        trouble = error
    fits = len(made.labels) if made else 0
    if too_long == "first_error_kept" and fits <= first < len(labels):
        shorter = _with_first_error(example, masker, most_tokens, first)
        made, context = shorter or (made, 0)
    kept = range(context, context + len(made.labels) if made else 0)
    count_wrong(labels, kept, counts)
    if made is None:
        assert trouble is not None
        raise trouble
    counts[CUT] += len(kept) < len(labels)
    counts[TURNS] += len(labels) - len(kept)
    counts[SHORTENED] += context
    return made


def count_wrong(labels: Sequence[bool], kept: range, counts: Counter[str]) -> None:
    """Count the wrong steps that are not learnt; `kept`: the steps that are."""
    lost = [step for step, right in enumerate(labels) if not right and step not in kept]
    counts[WRONG] += len(lost)
    counts[FIRST_ERRORS] += bool(lost) and False not in labels[: lost[0]]


def _with_first_error(
    example: Example, masker: Masker, most_tokens: int, first: int
) -> tuple[Conversation, int] | None:
    """The conversation with its first wrong step, and the turns that were shortened for it, as few
    as can be; None: it does not fit with all of them shortened.
    """
    found = None
    fewest, most = 1, first
    while fewest <= most:  # the more are shortened the shorter it is
        count = (fewest + most) // 2
        try:
            made = masker.conversation(_shortened(example, count), most_tokens, count)
        except ItemError as error:
            if error.reason != Unlearnt.TOO_LONG:
                raise
            made = None
        if made is not None and count + len(made.labels) > first:
            found, most = (made, count), count - 1
        else:
            fewest = count + 1
    return found


def _shortened(example: Example, count: int) -> Example:
    """The example with its first assistant turns as a verdict alone."""
    turns = list(example.conversations)
    answers = [place for place, turn in enumerate(turns) if turn.role == "assistant"]
    for step, place in enumerate(answers[:count]):
        turns[place] = replace(turns[place], content=output_part(example.labels[step]))
    return replace(example, conversations=turns)
