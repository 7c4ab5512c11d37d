"""Solutions as tokens, with what a model that reads learns at the end of their steps.

Invariant: the tokens are those that a reader reads (`actors.engines.passages`). A solution too long
to fit loses its last steps; one whose outcome is learnt is then left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from actors.engines.passages import spelt
from actors.engines.rendering import ChatRenderer
from actors.models.rewards import RewardModel
from actors.training.conversations import Conversation
from storage.errors import ItemError
from workflows.training.mask import Unlearnt
from workflows.training.taught import OF_OUTCOMES, Taught


class Passages:
    """Makes tokens for one tokenizer and one kind of model."""

    def __init__(self, tokenizer: Any, reward: RewardModel) -> None:
        self.tokenizer = tokenizer
        self._renderer = ChatRenderer(tokenizer)
        self._reward = reward

    def conversation(self, taught: Taught, most_tokens: int) -> Conversation:
        """Tokens of a solution with its targets. Raises ItemError `too_long`, `control_token`."""
        reward = self._reward
        text = spelt(self._renderer, taught.problem, taught.steps, reward.separator)
        fits = [at for at in range(len(taught.marks)) if text.ends[taught.marks[at]] < most_tokens]
        whole = text.ends[-1] < most_tokens
        if not fits or (reward.kind in OF_OUTCOMES and not whole):
            raise ItemError(Unlearnt.TOO_LONG, f"{len(text.ids)} tokens")
        marks = [text.ends[taught.marks[at]] for at in fits]
        ids = np.array(text.ids[: marks[-1] + 1], dtype=np.int32)
        own = np.zeros(len(ids), dtype=np.bool_)
        if reward.kind == "implicit":
            own[text.begins :] = True
        else:
            own[marks] = True
        return Conversation(
            name=taught.path_id,
            problem_id=taught.problem_id,
            ids=ids,
            own=own,
            verdicts=np.array(marks, dtype=np.int32),
            labels=np.array([taught.labels[at] for at in fits], dtype=np.bool_),
            targets=np.array([taught.targets[at] for at in fits], dtype=np.float32),
            weights=np.array([taught.weights[at] for at in fits], dtype=np.float32),
        )
