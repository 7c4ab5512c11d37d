"""What a generator is asked after a verifier found a wrong step, and what becomes of its answer."""

from __future__ import annotations

from dataclasses import replace

from actors.engines.contract import Chat, EngineSettings
from actors.engines.scripted import ScriptedEngine
from storage.rows.kinds import CRITIQUES, ShardRows
from storage.rows.records import Critique, Response, Score, Verification
from tests.support.kits import kit_of
from workflows.formats.refinement import (
    REQUEST,
    RefineSettings,
    critique_of,
    refine_chat,
    refined_steps,
)
from workflows.refinement.run import Standing, criticised, refined
from workflows.stages.refine import REFINE, Refiner

STEPS = ["1 + 1 = 2.", "2 + 2 = 5.", "So \\boxed{5}."]
RESPONSE = Response("r", "p", "What is 1 + 1 + 2?", STEPS, "", correct=False)
PAPER, PREFIX = RefineSettings(), RefineSettings(form="prefix")


def history(*rewards: float, say: str = "", number: int = 0) -> Verification:
    steps = len(rewards)
    return Verification(
        response_id="r", history=number, mode="full", rewards=list(rewards),
        analyses=[f"{say}{step}" for step in range(steps)], verifications=[""] * steps,
        executions=[], degraded=[False] * steps, tokens=1, model="m", seed=0,
    )  # fmt: skip


def scored(*histories: Verification, rewards: list[float]) -> Score:
    return Score("r", "p", "", rewards, 0, None, None, list(histories))


WRONG = scored(
    history(0.9, 0.9, 0.1, say="mild "), history(0.9, 0.0, 0.0, say="stern ", number=1),
    rewards=[0.9, 0.45, 0.05],
)  # fmt: skip
CRITIQUE = Critique("r", "p", RESPONSE.problem, STEPS, "", 1, "It should take 2 + 2.", 0)


def test_a_critique_is_the_analysis_by_a_history_that_condemns_the_first_wrong_step() -> None:
    found = critique_of(RESPONSE, WRONG, 3)
    assert found is not None
    assert (found.step, found.text, found.turn) == (1, "stern 1", 3)


def test_where_nothing_is_judged_wrong_there_is_no_critique() -> None:
    fine = scored(history(0.9, 0.5, 0.8), rewards=[0.9, 0.5, 0.8])
    assert critique_of(RESPONSE, fine, 0) is None
    assert critique_of(RESPONSE, fine, 0, threshold=0.6) is not None


def test_the_papers_form_shows_problem_whole_solution_and_critique() -> None:
    chat = refine_chat(CRITIQUE, PAPER)
    assert [turn.role for turn in chat.messages] == ["system", "user", "assistant", "user"]
    assert chat.messages[1].content == RESPONSE.problem
    assert chat.messages[2].content == (
        "Step 1: 1 + 1 = 2.\n\nStep 2: 2 + 2 = 5.\n\nStep 3: So \\boxed{5}."
    )
    assert chat.messages[3].content == f"{REQUEST}\n\n> 2 + 2 = 5.\n\nIt should take 2 + 2."
    assert chat.prefill == "Step 1: "
    free = refine_chat(CRITIQUE, replace(PAPER, force_steps=False))
    assert free.prefill == ""


def test_the_prefix_form_keeps_the_steps_before_the_wrong_one() -> None:
    chat = refine_chat(CRITIQUE, PREFIX)
    assert [turn.content for turn in chat.messages[1:]] == [RESPONSE.problem]
    assert chat.prefill == "Step 1: 1 + 1 = 2.\n\nStep 2: "
    quoted = refine_chat(CRITIQUE, replace(PREFIX, quote=True))
    assert quoted.messages[1].content.endswith("> 2 + 2 = 5.\n\nIt should take 2 + 2.")
    first = refine_chat(replace(CRITIQUE, step=0), PREFIX)
    assert first.prefill == "Step 1: "


def test_a_new_solution_is_what_was_opened_and_what_followed() -> None:
    chat = refine_chat(CRITIQUE, PREFIX)
    written = "2 + 2 = 4.\n\nStep 3: So \\boxed{4}."
    assert refined_steps(chat.prefill + written) == ["1 + 1 = 2.", "2 + 2 = 4.", "So \\boxed{4}."]


def test_accepted_responses_are_never_looked_at_again_and_unscored_ones_wait() -> None:
    others = [replace(RESPONSE, response_id=name) for name in ("fine", "silent")]
    standing = Standing((RESPONSE, *others))
    fine = replace(scored(history(1.0, 1.0, 1.0), rewards=[1.0, 1.0, 1.0]), response_id="fine")
    after, critiques = criticised(standing, [WRONG, fine])
    assert [critique.response_id for critique in critiques] == ["r"]
    assert after.accepted == {"fine"}
    new = replace(RESPONSE, steps=["new"])
    turned = refined(after, {"r": new})
    assert [row.steps for row in turned.responses] == [["new"], STEPS, STEPS]
    assert [row.response_id for row in turned.open] == ["r", "silent"]
    assert turned.turn == 1


async def test_the_stage_gives_a_response_or_a_counted_drop_per_critique() -> None:
    written = {
        "good": "2 + 2 = 4.\n\nStep 3: So \\boxed{4}.",
        "empty": "2 + 2 = 4.\n\nStep 3: ",
        "long": "word " * 50,
    }

    def script(chat: Chat, seed: int) -> str:
        return written[chat.messages[1].content]

    engine = ScriptedEngine(script, EngineSettings(kind="scripted"))
    stage = Refiner(kit_of(REFINE, engine, settings=replace(PREFIX, max_tokens=20, seed=1)))
    asked = tuple(replace(CRITIQUE, response_id=name, problem=name) for name in written)
    made = await stage.run(ShardRows({CRITIQUES: asked}))
    assert [(row.response_id, row.steps[1], row.answer) for row in made.rows] == [
        ("good", "2 + 2 = 4.", "4")
    ]
    assert [(drop.item, drop.reason) for drop in made.drops] == [
        ("empty", "empty_step"), ("long", "truncated"),
    ]  # fmt: skip
    await stage.close()
