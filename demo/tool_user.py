"""A script in the place of the model that uses the tool of stage `ground`.

    models: {rationale: {kind: scripted, model: "demo.tool_user:tool_user"}}

No model of the demo was taught those texts. The script reads a step's own calculation and asks for
its result; it judges by that alone, so that a step which calculates rightly with a wrong number
passes.

Invariant: it sees what the prompt shows, and neither answer nor truth.
"""

from __future__ import annotations

import json
import re

from actors.engines.contract import Chat
from demo import check
from demo.problem import PYTHON
from workflows.formats.tool_prompts import ANSWER_SHOWN, QUERY_RULES, VERDICT_RULES

_CURRENT = re.compile(r"\[Current Step\]\n\n(.*?)\n\n(?:\[Tool|Your task)", re.DOTALL)
_BEFORE = re.compile(r"<paragraph_\d+>\n(.*?)\n</paragraph_\d+>", re.DOTALL)


def tool_user(chat: Chat, seed: int) -> str:
    """A query about the current step, or a verdict on it."""
    current = _CURRENT.search(chat.user)
    step = current[1] if current else ""
    claims = check.equations(step)
    if QUERY_RULES in chat.user:
        before = [claim for text in _BEFORE.findall(chat.user) for claim in check.equations(text)]
        asked = claims or before[-1:]  # an answer repeats the last result
        if not asked:
            return "There is nothing to compute."
        claim = asked[0]
        code = f"print({claim.left} {PYTHON.get(claim.op, claim.op)} {claim.right})"
        return f"```python\n{code}\n```"
    answer = chat.user.split(ANSWER_SHOWN)[-1].split(VERDICT_RULES)[0].strip()
    boxed = check.boxed(step)
    said = str(claims[0].result) if claims else "" if boxed is None else str(boxed)
    right = not said or "/" in said or said == answer
    reason = (
        f"First, the step computes what is needed. Then, the tool computed the same. Finally, the "
        f"step has {said or 'no result'} and the tool {answer}."
    )
    return json.dumps({"reason": reason, "result": str(right)})
