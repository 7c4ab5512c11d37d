"""What a kill costs, what cards a game is played with, and how another call goes on with it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import cast

import pytest

from storage.objects.memory import MemoryStore
from tests.faults.chaos_cards import WEIGHTS, deck
from tests.faults.chaos_game import Game, Kill
from tests.faults.chaos_ledger import Ledger, Lost
from tests.faults.chaos_record import Played, begin, is_over
from tests.faults.chaos_victims import Nodes
from tests.support.whole_run import finished


def test_a_workers_time_is_shared_by_what_it_has_in_flight() -> None:
    ledger = Ledger()
    ledger.advance(10.0)
    ledger.start(1, "sample", 0)
    ledger.advance(12.0)
    ledger.start(1, "sample", 1)
    ledger.start(2, "estimate", 7)
    ledger.advance(16.0)
    ledger.commit(1, "sample", 0, tokens=400)
    ledger.advance(17.0)
    lost = ledger.lose_workers([1])
    assert (lost.seconds, lost.shards) == (2.0 + 1.0, 1)
    assert ledger.tokens_of(lost) == 400 * 3.0 / 4.0
    assert ledger.lose_workers([1]).shards == 0, "counted once"
    assert ledger.lose(2, "estimate", 7).seconds == 5.0


def test_a_worker_that_was_idle_loses_nothing() -> None:
    ledger = Ledger()
    ledger.advance(1.0)
    ledger.start(1, "sample", 0)
    ledger.advance(2.0)
    ledger.commit(1, "sample", 0, tokens=1)
    ledger.advance(50.0)
    assert ledger.lose_workers([1]).seconds == 0.0


@pytest.mark.parametrize("kills", [3, 12, 100])
def test_every_kind_comes_at_least_once_where_there_are_enough(kills: int) -> None:
    cards = deck(kills, WEIGHTS, random.Random(7))
    assert len(cards) == kills
    assert kills < len(WEIGHTS) or set(cards) == set(WEIGHTS)
    assert cards == deck(kills, WEIGHTS, random.Random(7))


def test_a_game_goes_on_with_what_was_saved_of_it(tmp_path: Path) -> None:
    run = finished(MemoryStore())
    mark = tmp_path / "point-0"
    mark.touch()
    game = Game(cast(Nodes, None), run, ["driver", "node"], [7, 9], {mark: "x"}, timeless=False)
    for commit in run.commits("sample"):
        game.seen["sample", commit.shard] = commit
    game.kills, game._lost = [Kill("policy", 3)], [Lost(seconds=2.0, shards=1)]
    Played(5, [], [], 60.0, [Kill("cpu", 1)]).after(game, 30.0, ["why"]).save(tmp_path / "game")
    again = Played.load(tmp_path / "game")
    assert (again.seed, again.cards, again.due) == (5, ["driver", "node"], [7, 9])
    assert (again.seconds, again.stops) == (90.0, ["why"])
    assert again.kills == [Kill("cpu", 1), Kill("policy", 3, 2.0, 0, 1)]
    assert again.seen == list(run.commits("sample"))


@pytest.mark.parametrize(("done", "struck"), [(0, []), (3, ["driver"])])
def test_a_card_waits_for_its_victim_until_that_can_not_come_any_more(
    monkeypatch: pytest.MonkeyPatch, done: int, struck: list[str]
) -> None:
    run = finished(MemoryStore())
    game = Game(cast(Nodes, None), run, ["container"], [1], {}, timeless=False)
    there = {"driver"}
    monkeypatch.setattr(game, "_kill", lambda kind, idle_too: [] if kind in there else None)
    found = {"rationalize": list(range(done))}
    game.play({"what": "found", "t": 1.0, "done": found | {"sample": [0, 1, 2]}})
    game.play({"what": "start", "t": 1.0, "worker": 1, "stage": "export", "shard": 0})
    game.play(
        {"what": "end", "t": 2.0, "ok": True, "worker": 1, "stage": "export", "shard": 0,
         "tokens": 0}
    )  # fmt: skip
    assert [kill.kind for kill in game.kills] == struck
    assert len(game.cards) == 1 - len(struck)


def test_kinds_that_were_not_struck_go_first_and_of_them_those_that_will_be_gone_first() -> None:
    run = finished(MemoryStore())
    cards = ["node", "driver", "cpu", "policy", "completer", "driver"]
    game = Game(cast(Nodes, None), run, cards, [], {}, timeless=False)
    game.kills = [Kill("driver", 1)]
    order = [kind for _, kind in sorted(enumerate(game.cards), key=game._turn)]
    assert order == ["policy", "completer", "cpu", "node", "driver", "driver"]


def test_what_a_dead_worker_is_still_given_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    game = Game(cast(Nodes, None), finished(MemoryStore()), ["policy"], [1], {}, timeless=False)
    monkeypatch.setattr(game, "_kill", lambda kind, idle_too: [1])
    at = {"worker": 1, "stage": "sample"}
    game.play({"what": "start", "t": 1.0, "shard": 0} | at)
    game.play({"what": "start", "t": 1.0, "shard": 1} | at)
    game.play({"what": "end", "t": 5.0, "ok": True, "shard": 0, "tokens": 1} | at)
    game.play({"what": "start", "t": 5.0, "shard": 2} | at)
    game.play({"what": "end", "t": 95.0, "ok": False, "shard": 2, "cause": "WorkerLost"} | at)
    assert [(kill.seconds, kill.shards) for kill in game.settled()] == [(2.0, 1)]
    assert not any(game._ledger.in_flight.values())


def test_another_game_begins_anew_in_the_folder_of_one_that_is_over(tmp_path: Path) -> None:
    first = begin(tmp_path, {"kills": 40, "problems": 96, "seed": None})
    (tmp_path / "store").mkdir()
    assert begin(tmp_path, {"kills": 40, "problems": 96, "seed": None}) == first
    with pytest.raises(SystemExit, match="holds a game of --kills 40 --problems 96 --seed"):
        begin(tmp_path, {"kills": 20, "problems": 96, "seed": None})
    assert (tmp_path / "store").exists()
    is_over(tmp_path)
    assert begin(tmp_path, {"kills": 20, "problems": 96, "seed": 7})["seed"] == 7
    assert not (tmp_path / "store").exists()
