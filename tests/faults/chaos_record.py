"""A game that another call goes on with: what was played so far, as a file of its folder.

Invariant: what was seen committed is kept whole, so that a later call notices any change of it.
"""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

from storage.runs.commits import Commit, commit_bytes, commit_from
from tests.faults.chaos_game import Game, Kill

RECORD, ASKED = "game.json", "asked.json"


def begin(folder: Path, asked: dict[str, int | None]) -> dict[str, int]:
    """What a game in a folder is asked for: `asked`, and where no seed is, the one it began with.

    What a game that is over made in its folder is cleared away. Ends the script where one that is
    not over was asked for something else.
    """
    file = folder / ASKED
    if not file.exists():
        for name in ("store", "quiet", "dataset", "quiet-dataset"):
            shutil.rmtree(folder / name, ignore_errors=True)
        for left in (folder / RECORD, *folder.glob("point-*")):
            left.unlink(missing_ok=True)
        seed = random.randrange(10_000) if asked["seed"] is None else asked["seed"]
        file.write_text(json.dumps(asked | {"seed": seed}))
    before: dict[str, int] = json.loads(file.read_text())
    if any(value not in (None, before[name]) for name, value in asked.items()):
        words = " ".join(f"--{name} {value}" for name, value in before.items())
        raise SystemExit(f"{folder} holds a game of {words}: go on with it, or remove the folder")
    return before


def is_over(folder: Path) -> None:
    """Let the next game in this folder begin anew."""
    for name in (RECORD, ASKED):
        (folder / name).unlink(missing_ok=True)


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
