"""A conversation as tokens, and which of them the assistant wrote itself.

Learnt are the assistant's texts and the token that ends each of its turns: what the model has to
write when it is asked. Not learnt are system, problem, steps, the template's own words, and (unless
it is wanted) the `[Code Output]` blocks, which the interpreter writes at test time.

The paper trains on the whole assistant turn. Here outputs are left out by default: the model never
has to write them, and one that learnt to would make up results where code is not executed.

Invariant: the learnt tokens, decoded, are exactly those texts; a template under which that can't
be said is refused before anything is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.bounded import bounded
from actors.engines.control_tokens import MARK, ControlTokens, unmarked
from actors.engines.rendering import LONGEST_S
from actors.training.conversations import Conversation
from storage.errors import ConfigurationError, ItemError
from storage.rows.records import Example, Message
from workflows.formats import prompts
from workflows.formats.conversation import output_part

ASKS = "{%- if messages[-1]['role'] == 'user' %}{%- set add_generation_prompt = true %}{%- endif %}"
"""Before a chat template, makes it ask for an answer behind a user's turn, wanted or not."""
Ids = npt.NDArray[np.int32]
Span = tuple[int, int]
"""Characters [start, end) of the rendered conversation."""

_BOX = "\\boxed{"
_PROBE = (
    Message("system", "S-1"),
    Message("user", "U-1"),
    Message("assistant", f"A-1\n{output_part(True)}"),
    Message("user", "U-2"),
    Message("assistant", f"A-2\n{output_part(True)}"),
)


class Unlearnt(StrEnum):
    """Why nothing is learnt of an example; closed."""

    TOO_LONG = "too_long"
    """It does not fit into the context that is trained on."""
    VERDICT_NOT_FOUND = "verdict_not_found"
    """A turn's verdict does not stand in what its template makes of it."""
    CHANGED_BY_TEMPLATE = "changed_by_template"
    """The template changes a turn's text."""
    CODE_OUTPUT_NOT_FOUND = "code_output_not_found"
    """An output to leave out of the loss does not stand in its turn."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Where one assistant turn lies in the rendered text."""

    own: tuple[Span, ...]
    """What is learnt; the last span ends with the token that ends the turn."""
    verdict: int
    """First character of its Yes or No."""

    @property
    def end(self) -> int:
        """End of the turn, its closing token included."""
        return self.own[-1][1]


@dataclass(frozen=True)
class Masker:
    """Renders and masks conversations for one tokenizer; made by `masker_for`."""

    tokenizer: Any
    yes: int
    no: int
    ends: tuple[str, ...]
    """Special tokens that may end a turn, longest first."""
    control: ControlTokens
    train_on_code_output: bool = False

    def conversation(self, example: Example, most_tokens: int, context: int = 0) -> Conversation:
        """Tokens of an example, cut after the last turn that ends within `most_tokens`.

        context: its first turns that stand there and are not learnt.

        Raises ItemError: `changed_by_template`, `code_output_not_found`, `control_token`,
        `too_long`, `verdict_not_found`.
        """
        marked = self._marked(example.conversations)
        turns = self.turns(unmarked(marked), example)
        tokens, starts, stops = self._tokens(marked)
        ends = [int(np.searchsorted(starts, turn.end, side="left")) for turn in turns]
        kept = sum(end <= most_tokens for end in ends)
        if kept <= context:
            raise ItemError(Unlearnt.TOO_LONG, f"a first turn ends after {ends[context]} tokens")
        size = ends[kept - 1]
        own = np.zeros(size, dtype=np.bool_)
        for turn in turns[context:kept]:
            for start, end in turn.own:
                own |= (starts[:size] >= start) & (starts[:size] < end)
        ids = tokens[:size]
        verdicts = [
            int(np.searchsorted(stops, turn.verdict, side="right")) for turn in turns[context:kept]
        ]
        labels = np.array(example.labels[context:kept], dtype=np.bool_)
        if not np.array_equal(ids[verdicts], np.where(labels, self.yes, self.no)):
            raise ItemError(Unlearnt.VERDICT_NOT_FOUND, example.path_id)
        return Conversation(
            name=example.path_id,
            problem_id=example.problem_id,
            ids=ids,
            own=own,
            verdicts=np.array(verdicts, dtype=np.int32),
            labels=labels,
        )

    def _marked(self, messages: Sequence[Message]) -> str:
        """The rendered conversation, control tokens in its texts marked as text."""
        turns = [replace(turn, content=self.control.marked(turn.content)) for turn in messages]
        return render(self.tokenizer, turns)

    def _tokens(self, marked: str) -> tuple[Ids, Ids, Ids]:
        """Ids of a marked text, and the characters at which each begins and ends, unmarked."""
        ids: list[int] = []
        offsets: list[Span] = []
        before = 0
        for part in marked.split(MARK):
            encoded = self.tokenizer(part, add_special_tokens=False, return_offsets_mapping=True)
            ids += encoded["input_ids"]
            offsets += [(start + before, end + before) for start, end in encoded["offset_mapping"]]
            before += len(part)
        starts, stops = (np.array(side, dtype=np.int32) for side in zip(*offsets, strict=True))
        return np.array(ids, dtype=np.int32), starts, stops

    def turns(self, text: str, example: Example) -> list[Turn]:
        """The assistant turns of a rendered conversation, in order."""
        found: list[Turn] = []
        messages = example.conversations
        for place, message in enumerate(messages):
            if message.role != "assistant":
                continue
            before = unmarked(self._marked(messages[:place]))
            trimmed = message.content.rstrip()  # as some templates show it
            start = text.find(trimmed, len(before))
            whole = text.startswith(message.content, start)
            end = start + len(message.content if whole else trimmed)
            closing = next((token for token in self.ends if text.startswith(token, end)), None)
            if not text.startswith(before) or start < 0 or closing is None:
                raise ItemError(Unlearnt.CHANGED_BY_TEMPLATE, example.path_id)
            step = len(found)
            outputs = [] if self.train_on_code_output else _outputs(message, example, step)
            found.append(
                Turn(
                    own=tuple(_between((start, end + len(closing)), start, outputs)),
                    verdict=start + message.content.rindex(_BOX) + len(_BOX),
                )
            )
        return found


def masker_for(tokenizer: Any, train_on_code_output: bool) -> Masker:
    """A masker for a tokenizer whose template was shown to be trainable.

    Raises ConfigurationError for a template under which the assistant's words can't be told apart,
    and for a tokenizer without a token for Yes and one for No.
    """
    name = tokenizer.name_or_path
    if not getattr(tokenizer, "is_fast", False):
        raise ConfigurationError(f"the tokenizer of {name} knows no offsets: add tokenizer.json")
    ends = tuple(
        sorted(
            (str(token) for token in tokenizer.added_tokens_decoder.values() if token.special),
            key=len,
            reverse=True,
        )
    )
    yes, no = _verdict_tokens(tokenizer)
    masker = Masker(tokenizer, yes, no, ends, ControlTokens(tokenizer), train_on_code_output)
    example = Example(list(_PROBE), "", "", [True, True], None, [], [], "", "", "", "")
    try:
        text = render(tokenizer, _PROBE)
        turns = masker.turns(text, example)
        masker.conversation(example, len(text))
    except ItemError as error:
        raise ConfigurationError(
            f"the chat template of {name} can't be masked ({error.reason}): it must show every "
            "assistant turn word for word and end it with a special token; name another one with "
            "`chat_template`"
        ) from None
    for place, turn in zip((2, 4), turns, strict=True):
        asked = render(tokenizer, _PROBE[:place], ask=True)
        if asked != text[: turn.own[0][0]]:
            raise ConfigurationError(
                f"the chat template of {name} can't be masked: what it asks the model with ends in "
                f"{asked[-20:]!r}, what it shows of an answer begins after "
                f"{text[: turn.own[0][0]][-20:]!r}; name another one with `chat_template`"
            )
    return masker


def with_trainable_template(tokenizer: Any, template: str | None) -> Any:
    """The tokenizer with the given template, without a thought that its template opens.

    Reasoning models ask with `<think>` already opened and then drop thoughts from the history; a
    verifier's answer begins with its analysis, so that opening must go, in the trained model too.
    The authors' inference renders a conversation that ends with a user's turn without asking for
    an answer: a template that would leave out how answers begin is made to ask (`ASKS`).
    """
    if template is not None:
        tokenizer.chat_template = template
    if not tokenizer.chat_template:
        raise ConfigurationError(
            f"the tokenizer of {tokenizer.name_or_path} has no chat template: name one with "
            "`chat_template`"
        )
    asked = render(tokenizer, _PROBE[:2], ask=True)
    for opening in ("<think>\n", "<think>"):
        if asked.endswith(opening) and opening not in render(tokenizer, _PROBE):
            for written in (opening.replace("\n", "\\n"), opening):
                tokenizer.chat_template = tokenizer.chat_template.replace(written, "")
            break
    if render(tokenizer, _PROBE[:2]) != render(tokenizer, _PROBE[:2], ask=True):
        tokenizer.chat_template = ASKS + tokenizer.chat_template
    return tokenizer


def render(tokenizer: Any, messages: Sequence[Message], ask: bool = False) -> str:
    """The conversation as the chat template shows it. Raises ConfigurationError where it can't."""
    turns = [{"role": turn.role, "content": turn.content} for turn in messages]
    try:
        shown = partial(tokenizer.apply_chat_template, turns, tokenize=False)
        text: str = bounded(partial(shown, add_generation_prompt=ask), LONGEST_S)
    except Exception as error:  # a template is a program: it raises what it likes
        raise ConfigurationError(
            f"the chat template of {tokenizer.name_or_path} fails on a conversation: {error}"
        ) from error
    return text


def _outputs(message: Message, example: Example, step: int) -> list[Span]:
    """Where the executed outputs stand in a turn's text, in order."""
    runs = [run for run in example.executions if run.step == step]
    spans: list[Span] = []
    position = 0
    if prompts.CODE_OUTPUT_OPEN not in message.content:  # a view without code
        return spans
    for run in runs:
        block = prompts.code_output(run.output)
        start = message.content.find(block, position)
        if start < 0:
            raise ItemError(Unlearnt.CODE_OUTPUT_NOT_FOUND, f"{example.path_id}, step {step}")
        position = start + len(block)
        spans.append((start, position))
    return spans


def _between(whole: Span, origin: int, holes: Sequence[Span]) -> list[Span]:
    """A span without some holes, given relative to `origin`."""
    start, end = whole
    spans = []
    for first, last in holes:
        spans.append((start, origin + first))
        start = origin + last
    return [*spans, (start, end)]


def _verdict_tokens(tokenizer: Any) -> tuple[int, int]:
    """Ids of Yes and No, where they stand in a judgement."""
    yes, no = (
        tokenizer(output_part(right), add_special_tokens=False)["input_ids"]
        for right in (True, False)
    )
    shared = next((place for place, (a, b) in enumerate(zip(yes, no, strict=False)) if a != b), -1)
    if len(yes) != len(no) or shared < 0 or yes[shared + 1 :] != no[shared + 1 :]:
        raise ConfigurationError(
            f"the tokenizer of {tokenizer.name_or_path} does not write Yes and No as one token "
            "each, so that a verdict has no probability"
        )
    return yes[shared], no[shared]
