"""Beam search, diverse verifier tree search, best of N and majority.

    beam        of all next steps the n / width beginnings with the best scores go on
                (Snell et al., arXiv 2408.03314)
    dvts        n / width subtrees, each of which goes on with the best of its own next steps
                (Beeching, Tunstall and Rush, 2024: diverse verifier tree search)
    best_of_n   whole solutions, the best of which is taken
    majority    whole solutions, whose commonest answer is taken

Under `beam` a whole solution keeps the place of a beginning while its score is among the best, and
stays a candidate when it is not. The code that was published with DVTS lets finished beams leave
and fills their places: n samples in every round until the last beam ends.

Invariant: a search is a pure function of what its moves return. Ties go to the first in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from actors.engines.admission import together
from workflows.searching.choosing import best, is_elected, votes
from workflows.searching.tree import ANSWERED, Ended, Moves, Node
from workflows.settings.solving import SolveSettings

FALLING = ("min", "product")
"""Aggregates that no further step can raise."""


@dataclass(slots=True)
class Searched:
    """What a search found."""

    solutions: list[Node] = field(default_factory=list)
    """Whole solutions, in the order in which they were found."""
    ended: Ended = Ended.DONE
    rounds: int = 0


async def search(moves: Moves, asked: SolveSettings) -> Searched:
    """Search as the settings say. Raises what the moves raise."""
    if asked.method == "beam":
        return await beam(moves, asked)
    if asked.method == "dvts":
        return await dvts(moves, asked)
    return await whole_solutions(moves, asked)


async def beam(moves: Moves, asked: SolveSettings) -> Searched:
    """Beam search over steps, with n / `width` places."""
    places = max(1, asked.n // asked.width)
    found = Searched()
    frontier = [moves.root]
    while going := [node for node in frontier if node.end is None]:
        if ended := moves.over() or (Ended.DEPTH if found.rounds == asked.depth else None):
            found.ended = ended
            return found
        standing = [node for node in frontier if node.end is not None]
        samples = shares(asked.n - asked.width * len(standing), len(going))
        made = await together(
            *(moves.next_steps(node, n) for node, n in zip(going, samples, strict=True) if n)
        )
        children = await _judged(moves, [node for group in made for node in group], asked)
        found.solutions += [node for node in children if node.end == ANSWERED]
        frontier = ranked([*standing, *children], asked)[:places]
        found.rounds += 1
    found.ended = Ended.DONE if found.solutions else Ended.DEAD_END
    return found


async def dvts(moves: Moves, asked: SolveSettings) -> Searched:
    """Greedy search in n / `width` subtrees that do not compete with each other."""
    found = Searched()
    beams = [moves.root] * max(1, asked.n // asked.width)
    while going := [node for node in beams if node.end is None]:
        if ended := moves.over() or (Ended.DEPTH if found.rounds == asked.depth else None):
            found.ended = ended
            return found
        made = await together(
            *(moves.next_steps(node, min(asked.width, asked.n)) for node in going)
        )
        await _judged(moves, [node for group in made for node in group], asked)
        beams = []
        for group in made:
            alive = [node for node in group if node.alive]
            found.solutions += [node for node in alive if node.end == ANSWERED]
            beams += ranked(alive, asked)[:1]
        found.rounds += 1
    found.ended = Ended.DONE if found.solutions else Ended.DEAD_END
    return found


async def whole_solutions(moves: Moves, asked: SolveSettings) -> Searched:
    """Best of N, or majority; in rounds where it may stop early."""
    found, drawn = Searched(), 0
    weighed = asked.method != "majority"
    by_vote = asked.choose == "vote" or not weighed
    while drawn < asked.n:
        if ended := moves.over():
            found.ended = ended
            return found
        size = min(asked.round if asked.early else asked.n, asked.n - drawn)
        drawn += size
        found.rounds += 1
        fresh = [node for node in await moves.solutions(size) if node.end == ANSWERED]
        if weighed:
            bounded = asked.early and not by_vote and asked.aggregate in FALLING
            lead = best(found.solutions, asked.aggregate) if found.solutions else None
            bound = lead.score(asked.aggregate) if lead and bounded else None
            await moves.judge(fresh, asked.aggregate, bound)
        found.solutions += [node for node in fresh if node.alive]
        if asked.early and drawn < asked.n and await _settled(moves, found, asked, asked.n - drawn):
            found.ended = Ended.ENOUGH
            return found
    found.ended = Ended.DONE if found.solutions else Ended.DEAD_END
    return found


async def _settled(moves: Moves, found: Searched, asked: SolveSettings, left: int) -> bool:
    """Whether `left` further solutions can't change the answer, or are not wanted."""
    if not found.solutions:
        return False
    if asked.method == "majority" or asked.choose == "vote":
        spelled = await moves.spelled([node.answer or "" for node in found.solutions])
        aggregate = None if asked.method == "majority" else asked.aggregate
        return is_elected(votes(found.solutions, spelled, aggregate), left)
    return best(found.solutions, asked.aggregate).score(asked.aggregate) >= asked.enough


async def _judged(moves: Moves, nodes: Sequence[Node], asked: SolveSettings) -> list[Node]:
    """Those of some nodes that are no dead ends, judged."""
    alive = [node for node in nodes if node.alive]
    await moves.judge(alive, asked.aggregate)
    return [node for node in alive if node.alive]


def ranked(nodes: Sequence[Node], asked: SolveSettings) -> list[Node]:
    """Nodes by falling score; equal ones stay in order."""
    return sorted(nodes, key=lambda node: -node.score(asked.aggregate))


def shares(total: int, among: int) -> list[int]:
    """`total` in `among` parts that differ by one at most, the larger ones first."""
    return [total // among + (part < total % among) for part in range(among)]
