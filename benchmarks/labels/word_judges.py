"""What the reading of a judge's reply makes of verdicts that are known.

No model judges here. A judge who knows the first error writes a reply for each solution, in the
manners of real models: as it was asked, with other headings, behind a thought, wavering, merging
two paragraphs, cut off. The product's stages ask, read and aggregate (`Judge`, `ConsensusStage`).
So what is lost or mistaken is the reading's alone.

Invariant: a reply follows from solution, first error and seed; only its manner is drawn.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from actors.engines.contract import Chat, Completion, Reply, Sampling
from actors.sandbox.contract import Limits
from storage.rows.kinds import JUDGEMENTS, LABELS, PATHS, PROBLEMS, ShardRows
from storage.rows.records import Judgement, PathLabels
from workflows.formats import judge_prompts
from workflows.judging.ballots import judge_labels
from workflows.judging.seats import Seat, panel
from workflows.settings import ConsensusSettings, JudgeSettings, StageSettings
from workflows.stages.consensus import ConsensusStage
from workflows.stages.judge import JUDGE, Judge
from workflows.stages.kit import Kit

CRITIC = JudgeSettings(max_tokens=700)
ALONE = ConsensusSettings(sources=("judge",), rule="none")


@dataclass(frozen=True, slots=True)
class Judges:
    """A strategy with a judge: how it asks, and what has to agree."""

    name: str
    judge: JudgeSettings
    consensus: ConsensusSettings = ALONE

    @property
    def labelled(self) -> bool:
        """Whether labels have to agree with the judge."""
        return "labels" in self.consensus.sources


JUDGES: Sequence[Judges] = (
    Judges("qwen_consensus: its judge", replace(CRITIC, verdicts="index")),
    Judges("thinkprm: its judge, spark_single", CRITIC),
    Judges("spark_step_vote", replace(CRITIC, votes=5, aggregator="step_vote")),
    Judges("aurora", replace(CRITIC, votes=3, prompts=("critique", "resolve"),
                             aggregator="step_vote")),
    Judges("qwen_consensus", replace(CRITIC, verdicts="index"),
           ConsensusSettings(sources=("labels", "judge"), rule="first_error", cut="first_error")),
    Judges("thinkprm", replace(CRITIC, votes=4, aggregator="any"),
           ConsensusSettings(sources=("labels", "judge"))),
)  # fmt: skip
"""The last two keep what their judge and hard Monte-Carlo labels agree on."""

SAYS = {
    True: ("The numbers are those of the problem and the sum holds.", "I get the same.",
           "Let me check. Yes, that is what comes out."),
    False: ("Let me compute it again. That is not what comes out, so there is a mistake here.",
            "Hmm, wait. I get another number. This paragraph is wrong.",
            "It goes on from a wrong number, so this can't be right either."),
}  # fmt: skip


def _box(right: bool) -> str:
    return "\\boxed{Yes}" if right else "\\boxed{No}"


def _written(
    labels: Sequence[bool],
    rng: random.Random,
    heading: str = "### Paragraph {}",
    verdict: Callable[[int, bool], str] = lambda at, right: f"**Judgement**: ${_box(right)}$",
    end: str = "### Final Conclusion\n\n\\boxed{{{}}}",
) -> str:
    """A whole reply; `end` takes the number of the first wrong paragraph, or -1."""
    first = labels.index(False) + 1 if False in labels else -1
    parts = [
        f"{heading.format(at + 1)}\n<analyze>\n{rng.choice(SAYS[right])}\n</analyze>\n<output>\n"
        f"{verdict(at, right)}\n</output>"
        for at, right in enumerate(labels)
    ]
    return "\n\n".join([*parts, end.format(first)])


def _thinking(labels: Sequence[bool], rng: random.Random) -> str:
    drafts = [rng.choice(("\\boxed{No}", "\\boxed{Yes}", "-1")) for _ in labels]
    thought = " ".join(f"Paragraph {at}: {draft}? Wait." for at, draft in enumerate(drafts, 1))
    return f"Okay, let me see. {thought}\n</think>\n\n{_written(labels, rng)}"


def _twice(labels: Sequence[bool], rng: random.Random) -> str:
    other = _written([not right for right in labels[:1]], rng, end="")
    return f"{other}Wait, let me look at it again.\n\n{_written(labels, rng)}"


def _merged(labels: Sequence[bool], rng: random.Random) -> str:
    return _written(labels, rng).replace("### Paragraph 1\n", "### Paragraphs 1 and 2\n", 1)


def _wavering(at: int, right: bool) -> str:
    return f"{_box(not right)}, or rather {_box(right)}" if at == 0 else _box(right)


MANNERS: Mapping[str, Callable[[Sequence[bool], random.Random], str]] = {
    "as asked": _written,
    "bold headings": lambda labels, rng: _written(
        labels, rng, heading="**Paragraph {}**", end="**Final Conclusion**\n\n\\boxed{{{}}}"
    ),
    "text in the box": lambda labels, rng: _written(
        labels, rng, verdict=lambda _, right: f"\\boxed{{\\text{{{'Yes' if right else 'No'}}}}}"
    ),
    "other words in the box": lambda labels, rng: _written(
        labels, rng, verdict=lambda _, right: f"\\boxed{{{'Correct' if right else 'Incorrect'}}}"
    ),
    "behind a thought": _thinking,
    "a paragraph opened again": _twice,
    "the index in words": lambda labels, rng: _written(
        labels, rng, end="### Final Conclusion\n\nThe earliest error: \\boxed{{Paragraph {}}}"
    ),
    "no conclusion": lambda labels, rng: _written(labels, rng, end=""),
    "verdicts without a box": lambda labels, rng: _written(
        labels, rng, verdict=lambda _, right: "Correct." if right else "Incorrect."
    ),
    "two boxes": lambda labels, rng: _written(labels, rng, verdict=_wavering),
    "paragraphs merged": _merged,
    "cut off": lambda labels, rng: _written(labels, rng)[:-40],
}
"""Manner -> its reply to a solution with these labels."""


class Replies:
    """The judge."""

    def __init__(
        self, rows: ShardRows, first: Mapping[str, int | None], seats: Sequence[Seat], seed: int
    ) -> None:
        """`first`: path_id -> 0-based index of its first error."""
        problems = {problem.problem_id: problem for problem in rows[PROBLEMS]}
        self._seed = seed
        self._labels: dict[str, list[bool]] = {}
        for path in rows[PATHS]:
            for seat in seats if path.selected else ():
                chat = seat.chat(problems[path.problem_id], path.steps)
                labels = judge_labels(first[path.path_id], len(path.steps))
                self._labels[_question(chat)] = labels

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        """Replies in drawn manners, behind what the chat begins."""
        labels, done = self._labels[_question(chat)], []
        for index in range(sampling.n):
            rng = random.Random(f"{self._seed}/{sampling.seed + index}")
            manner = rng.choice(list(MANNERS))
            text = MANNERS[manner](labels, rng).removeprefix(judge_prompts.OPENED)
            reason = "length" if manner == "cut off" else "stop"
            done.append(Completion(text, reason, None, 1))
        return Reply(tuple(done), 0)

    async def close(self) -> None:
        """Nothing to release."""


def _question(chat: Chat) -> str:
    return "\x1f".join(turn.content for turn in chat.messages)


async def judged(
    judges: Judges,
    rows: ShardRows,
    first: Mapping[str, int | None],
    labels: Mapping[str, PathLabels],
    seed: int,
) -> tuple[dict[str, Sequence[bool]], Counter[str]]:
    """path_id -> labels of what a strategy keeps, and why it keeps the others not."""
    settings = StageSettings(seed=seed, judge=judges.judge)
    engine = Replies(rows, first, panel(judges.judge), seed)
    spec = replace(JUDGE.spec, reads=(PROBLEMS.stage, PATHS.stage))
    if judges.labelled:
        spec = replace(spec, reads=(*spec.reads, LABELS.stage))
        rows = rows.but({LABELS: labels.values()})
    kit = Kit("run", settings, spec, {JUDGE.role: "scripted"}, Limits(), None, engine)
    verified = (await Judge(kit).run(rows)).rows
    stage = ConsensusStage(judges.consensus, judges.judge, labelled=judges.labelled)
    agreed = await stage.run(rows.but({JUDGEMENTS: verified}))
    return (
        {row.path_id: row.labels for row in agreed.rows if row.kept},
        Counter(drop.reason for drop in agreed.drops),
    )


def by_manner(lengths: Sequence[int], seed: int) -> dict[str, Counter[str]]:
    """Manner -> how often verdicts of steps, and the index, are `read`, `unread` or `misread`.

    A solution of each length with each first error, and one without.
    """
    found = {}
    seat = Seat("critique", "none")
    for manner, reply in MANNERS.items():
        found[manner] = Counter[str]()
        for length in lengths:
            for first in (None, *range(length)):
                labels = judge_labels(first, length)
                text = reply(labels, random.Random(f"{seed}/{length}/{first}"))
                opinion = seat.read(text, length)
                cut = manner == "cut off"
                index = -1 if first is None else first
                whole = None not in opinion.verdicts and not cut
                found[manner]["steps " + _fate(opinion.verdicts == labels, whole)] += 1
                named = opinion.index is not None and not cut
                found[manner]["index " + _fate(opinion.index == index, named)] += 1
    return found


def _fate(true: bool, read: bool) -> str:
    return "unread" if not read else "read" if true else "misread"


def readable(judgements: Sequence[Judgement]) -> Counter[str]:
    """How many replies of a real model name an index, and judge every step."""
    return Counter(
        {
            "replies": len(judgements),
            "index": sum(row.index is not None for row in judgements),
            "steps": sum(None not in row.verdicts for row in judgements),
            "cut": sum(row.finish_reason != "stop" for row in judgements),
        }
    )
