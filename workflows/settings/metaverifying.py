"""Settings of stage `metaverify`. They are no part of `StageSettings`: few roads have them."""

from __future__ import annotations

from dataclasses import dataclass

from storage.bounds import STRICT, Positive, Share, Temperature


@dataclass(frozen=True, slots=True, kw_only=True)
class MetaverifySettings:
    """Stage `metaverify`: a second model's score of every verification that reports an error."""

    __pydantic_config__ = STRICT

    votes: Positive = 1
    """Scores of each verification."""
    least: Share = 0.5
    """A verification counts at the consensus if the mean of its scores (0, 0.5 or 1 each) is at
    least this; another is as good as unreadable."""
    temperature: Temperature = 0.6
    top_p: Share = 0.95
    top_k: int = -1
    max_tokens: Positive = 4096
    """Generated tokens of one score; one that is cut here counts as 0."""
