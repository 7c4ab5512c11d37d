"""A game that another call goes on with: what was played so far, as a file of its folder.

Invariant: what was seen committed is kept whole, so that a later call notices any change of it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from storage.runs.commits import Commit, commit_bytes, commit_from
from tests.faults.chaos_game import Game, Kill


@dataclass
class Played:
    """What came of the calls before."""

    seed: int
    cards: list[str]
    due: list[int]
    seconds: float = 0.0
    kills: list[Kill] = field(default_factory=list)
    seen: list[Commit] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)

    @classmethod
    def load(cls, file: Path) -> Played:
        """What `save` wrote."""
        body = json.loads(file.read_text())
        kills = [Kill(**kill) for kill in body.pop("kills")]
        seen = [commit_from(str(file), text.encode()) for text in body.pop("seen")]
        return cls(kills=kills, seen=seen, **body)

    def save(self, file: Path) -> None:
        """For the next call."""
        body = asdict(self) | {"seen": [commit_bytes(commit).decode() for commit in self.seen]}
        file.write_text(json.dumps(body))

    def after(self, game: Game, seconds: float, stops: list[str]) -> Played:
        """With what this call played."""
        return Played(
            self.seed,
            game.cards,
            game.due,
            self.seconds + seconds,
            self.kills + game.settled(),
            list(game.seen.values()),
            self.stops + stops,
            self.unexplained + game.unexplained,
        )
