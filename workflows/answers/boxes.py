r"""The boxes (`\boxed{...}`) of a solution, and which of them is its answer.

Only boxed answers count: the last box, and the boxes that it is listed with. If the last box is
not closed, the text was cut and has no answer. Earlier boxes and numbers outside of boxes are no
fallback.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_BOX = re.compile(r"\\boxed\s*\{")
_BOX_OR_BRACE = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_LONGEST_JOINT = 60


def closing_brace(text: str, start: int) -> int | None:
    r"""Index of the brace that closes the group whose first character is `text[start]`.

    Escaped braces (`\{`, `\}`) do not count. None if the group is never closed.
    """
    depth = 1
    for match in _BRACE.finditer(text, start):
        if match[0] == "{":
            depth += 1
        elif match[0] == "}":
            depth -= 1
            if depth == 0:
                return match.start()
    return None


@dataclass(frozen=True, slots=True)
class Box:
    r"""One closed `\boxed{...}`: where the command, its content and its closing brace begin."""

    start: int
    content: int
    end: int


def closed_boxes(text: str) -> list[Box]:
    """All closed boxes, in a single pass. An inner box comes before the box that holds it."""
    boxes: list[Box] = []
    opened: list[tuple[int, int] | None] = []
    for match in _BOX_OR_BRACE.finditer(text):
        if match[0] == "}":
            box = opened.pop() if opened else None
            if box is not None:
                boxes.append(Box(*box, match.start()))
        elif match[0] == "{":
            opened.append(None)
        elif match[0].endswith("{") and match[0] != "\\{":
            opened.append((match.start(), match.end()))
    return boxes


def open_boxes(text: str) -> str:
    """The text with every closed box replaced by its content."""
    boxes = closed_boxes(text) if "box" in text else []
    if not boxes:
        return text
    cuts = [(box.start, box.content) for box in boxes]
    cuts += [(box.end, box.end + 1) for box in boxes]
    kept, at = [], 0
    for start, end in sorted(cuts):
        kept.append(text[at:start])
        at = end
    return "".join([*kept, text[at:]])


_MARK = r"[\s$~]|\\[()\[\],;: ]|\\q?quad(?![a-zA-Z])"
_AND = r"\\(?:text|mbox|textrm)\s*\{\s*,?\s*(?:and|or)\s*\}|and|or"
_BOX_NAME = rf"(?P<name>[a-zA-Z](?:_\{{?\w+\}}?)?\s*=)(?:{_MARK})*"
_JOINED = re.compile(rf"(?:{_MARK})*(?:[,/]|{_AND})(?:{_MARK}|[,/]|{_AND})*(?:{_BOX_NAME})?")
_NAMED = re.compile(_BOX_NAME + "$")
_CONNECTIVE = re.compile(r"(?<![a-zA-Z])(?:and|or)(?![a-zA-Z])")


def final_boxes(text: str) -> list[tuple[str, str]]:
    r"""The boxes that form the answer, in order: the last box, and those that it is listed with.

    Returns (joint, content) pairs. The joint to the box before is `and`, `or` or `,`. Boxes form a
    list if only a comma, a slash, *and* or *or* is between them; each may have its `x =` before it.
    After other words the later box replaces the earlier ones. Empty if `last_box` is None.
    """
    boxes = closed_boxes(text)
    last = _last(text, boxes)
    if last is None:
        return []
    outer: list[Box] = []
    for box in sorted(boxes, key=lambda box: box.start):
        if not outer or box.start > outer[-1].end:
            outer.append(box)
    listed, joints = [last], [","]
    for before, box in zip(reversed(outer[:-1]), reversed(outer[1:]), strict=True):
        joint = text[before.end + 1 : box.start]
        match = _JOINED.fullmatch(joint) if len(joint) < _LONGEST_JOINT else None
        content = open_boxes(text[before.content : before.end]).strip()
        if match is None or not content:
            break
        listed[0] = (match["name"] or "") + listed[0]
        listed.insert(0, content)
        connective = _CONNECTIVE.search(joint)
        joints.insert(1, connective[0] if connective else ",")
    if len(listed) > 1:
        first = outer[-len(listed)].start
        named = _NAMED.search(text[max(0, first - _LONGEST_JOINT) : first])
        listed[0] = (named["name"] if named else "") + listed[0]
    return list(zip(joints, listed, strict=True))


def last_box(text: str) -> str | None:
    r"""Content of the last `\boxed{...}`, stripped; None if there is none.

    None also if the last box is empty or not closed (the text was cut). A box within a box belongs
    to the outer one, whose content is returned without the inner command. `\fbox` does not count:
    models draw frames with it.
    """
    return _last(text, closed_boxes(text))


def _last(text: str, boxes: list[Box]) -> str | None:
    """`last_box` of a text whose closed boxes are `boxes`."""
    last = text.rfind("\\boxed")
    while last >= 0 and not _BOX.match(text, last):  # "\boxed5" has no box to close
        last = text.rfind("\\boxed", 0, last)
    holding = [box for box in boxes if box.start <= last < box.end]
    if not any(box.start == last for box in holding):
        return None
    outermost = holding[-1]
    return open_boxes(text[outermost.content : outermost.end]).strip() or None
