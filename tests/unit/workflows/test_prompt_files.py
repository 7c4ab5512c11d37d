"""Prompts as files: ours are written, another text is asked, a wrong one is refused in a line."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from actors.engines.contract import Chat
from actors.engines.scripted import ScriptedEngine
from launch.cli.main import run_command
from launch.config import load
from storage.errors import ConfigurationError, SpecMismatch
from storage.objects.opening import open_store
from storage.rows.kinds import PROBLEMS, ShardRows
from storage.rows.records import Problem
from tests.support.scripted_build import CONFIG, Build, configure
from tests.support.scripted_world import world_problems, write_problems
from workflows.builds.derive import plan_derivation
from workflows.formats import error_prompts, judge_prompts, prompts, statements, tool_prompts
from workflows.formats.error_prompts import error_chat
from workflows.formats.judge_prompts import Sight
from workflows.formats.paper_form import PaperForm
from workflows.formats.prompt_files import PROMPTS, digest_of, read_prompts, write_prompts
from workflows.formats.solving import first_chat
from workflows.judging.seats import Seat
from workflows.runs.starting import planned, stored_configuration
from workflows.runs.workers import StageMaker
from workflows.settings import SampleSettings

STEPS = ("Two and {{ two }}.", "It is\n\n{% if %}four.", "So $4$ {# done #}")
PROBLEM = "How much is {{ 2 }} + 2?\n"


def asked(name: str, sight: Sight, texts: dict[str, str]) -> Chat:
    """The chat of one prompt."""
    problem, steps = PROBLEM, STEPS
    match name:
        case "rationale" | "rationale_system":
            return prompts.rationale_chat(problem, steps, True, False, texts)
        case "solve" | "solve_system":
            return first_chat(SampleSettings(), texts)(Problem("p", problem, "4"))
        case "critique" | "judge_system":
            return judge_prompts.critique_chat(problem, steps, sight, texts)
        case "resolve":
            return judge_prompts.resolve_chat(problem, steps, sight, texts)
        case "align":
            return judge_prompts.align_chat(problem, steps, Sight("4", "It is 4."), texts)
        case "meta":
            return judge_prompts.meta_chat(problem, steps, "{{ v }}", sight, texts)
        case "state" | "translate_system":
            return statements.state_chat(problem, steps, texts)
        case "tool_query" | "tool_system":
            return tool_prompts.query_chat(problem, steps[:1], steps[1], texts)
        case "tool_verdict":
            return tool_prompts.verdict_chat(problem, steps[:1], steps[1], "{{ 4 }}", texts)
        case "say_back":
            return statements.say_chat("x = Int('x')", ["x == {{ 1 }}"], texts)
        case "same":
            return statements.same_chat(problem, steps, ["a", *steps], texts)
        case "merge":
            return judge_prompts.merge_chat(problem, steps, "{{ v }}", "{{ c }}", sight, texts)
        case "reasons" | "reasons_system":
            return judge_prompts.reasons_chat(problem, steps, "{{ v }}", texts)
        case "error" | "error_system":
            return error_chat(problem, steps[:1], "So {{ r }}.", "sign lost", texts)
    return judge_prompts.repair_chat(problem, steps[:1], "Wrong {{ w }}.", sight, texts)


def shown(*steps: str) -> str:
    return "".join(
        f"<paragraph_{number}>\n{step}\n</paragraph_{number}>\n\n"
        for number, step in enumerate(steps, start=1)
    )


def test_a_prompt_reads_as_its_parts_side_by_side_whatever_the_texts_hold() -> None:
    head = prompts.RATIONALE_TASK + PROBLEM
    plain, seen = Sight(), Sight(reference_solution="It is {{ 4 }}.")
    solution = prompts.RATIONALE_SOLUTION + shown(*STEPS)
    expected = {
        ("rationale", plain): head + solution + prompts.RATIONALE_RULES
        + prompts.NOTHING_TO_COMPUTE + prompts.STATE_VERDICT,
        ("critique", plain): head + solution + judge_prompts.CRITIQUE_RULES,
        ("critique", Sight(answer="4")): head + judge_prompts.ANSWER_SEEN + "4" + solution
        + judge_prompts.CRITIQUE_RULES,
        ("resolve", seen): head + judge_prompts.SOLUTION_SEEN + "It is {{ 4 }}." + solution
        + judge_prompts.RESOLVE_RULES,
        ("meta", plain): head + solution + judge_prompts.VERIFICATION_SHOWN + "{{ v }}"
        + judge_prompts.META_RULES,
        ("merge", plain): head + solution + judge_prompts.VERIFICATION_SHOWN + "{{ v }}"
        + judge_prompts.CRITIQUE_SHOWN + "{{ c }}" + judge_prompts.MERGE_RULES,
        ("repair", plain): head + prompts.RATIONALE_SOLUTION + shown(STEPS[0])
        + judge_prompts.WRONG_SHOWN + "<paragraph_2>\nWrong {{ w }}.\n</paragraph_2>"
        + judge_prompts.REPAIR_RULES,
        ("error", plain): head + prompts.RATIONALE_SOLUTION + shown(STEPS[0])
        + error_prompts.RIGHT_SHOWN + "<paragraph_2>\nSo {{ r }}.\n</paragraph_2>"
        + error_prompts.RULES.replace("{{ kind }}", "sign lost"),
        ("solve", plain): PROBLEM,
    }  # fmt: skip
    for (name, sight), text in expected.items():
        assert asked(name, sight, {}).user == text, name


def test_what_is_written_is_what_is_asked_and_changes_nothing(tmp_path: Path) -> None:
    files = write_prompts(tmp_path / "prompts")
    assert sorted(file.stem for file in files) == sorted(PROMPTS)
    assert read_prompts(tmp_path / "prompts") == {}
    with pytest.raises(ConfigurationError, match="take another folder"):
        write_prompts(tmp_path / "prompts")


@pytest.mark.parametrize("name", PROMPTS)
def test_another_text_is_asked_in_the_place_of_ours(name: str) -> None:
    text = "Say: " + "".join(f"{{{{ {must} }}}}" for must in PROMPTS[name].must)
    usual, other = asked(name, Sight(), {}), asked(name, Sight(), {name: text})
    turn = 0 if name.endswith("_system") else -1
    assert other.messages[turn].content.startswith("Say: ")
    assert other.messages[turn] != usual.messages[turn]
    assert [m for m in other.messages if m != other.messages[turn]] == [
        m for m in usual.messages if m != usual.messages[turn]
    ]
    assert other.prefill == usual.prefill, "how an answer is begun is the form's"


def test_forms_and_seats_ask_the_texts_that_they_are_given() -> None:
    form = PaperForm(100, texts={"rationale": "{{ problem }}|{{ steps|join('+') }}"})
    assert form.chat("P", ["a", "b"]).user == "P|a+b"
    seat = Seat("critique", "answer", {"critique": "{{ answer }}{{ problem }}{{ steps|length }}"})
    assert seat.chat(Problem("p", "P", "4"), ["a", "b"]).user == "4P2"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("critic", "x", "there is no prompt critic, only solve_system, solve"),
        ("solve", "Solve it.", "solve.jinja: the variable problem is missing: show it"),
        ("solve", "{{ problem }} {{ answer }}", "there is no variable answer: it may use problem"),
        ("solve_system", "{{ problem }}", "no variable problem: it may use none"),
        ("rationale", "{{ problem }}{{ steps }", "line 1: no Jinja text"),
        ("rationale", "{{ problem }}{% for s in steps %}{{ s }}", "no Jinja text"),
        ("solve", "{{ problem.__class__.__mro__ }}", "unsafe"),
        (
            "solve",
            "{{ problem }}" + "{% for a in range(99999) %}" * 4 + "{% endfor %}" * 4,
            "it can't be rendered: it used more than 2 seconds",
        ),
        ("solve", "{% macro m() %}{{ m() }}{% endmacro %}{{ problem }}{{ m() }}", "rendered"),
        ("solve", "{{ problem }}{{ ''|attr('__class__') }}", "unsafe"),
        ("solve", "{{ problem }}{{ range(10**12) }}", "it can't be rendered"),
        ("solve", "{{ problem.nothing }}", "it can't be rendered"),
        ("solve", "{{ problem }}{% include 'x' %}", "it can't be rendered"),
        ("rationale", "{{ problem }}{{ steps[1] }}", "it can't be rendered"),
        ("solve", "{{ problem }}" + "x" * 100_000, "shorten it"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(
    name: str, text: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / f"{name}.jinja").write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        read_prompts(tmp_path)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_folder_without_prompts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"holds no file \*.jinja"):
        read_prompts(tmp_path)
    with pytest.raises(ConfigurationError, match="stepmill prompts --write"):
        read_prompts(tmp_path / "nowhere")


def configured(folder: Path, **texts: str) -> Any:
    (folder / "mine").mkdir(parents=True)
    for name, text in texts.items():
        (folder / "mine" / f"{name}.jinja").write_text(text + "\n")
    return configure(folder, prompts="mine")


SOLVE = "{{ problem }} Go on."


def test_a_run_holds_the_texts_and_its_spec_their_digests(tmp_path: Path) -> None:
    config = configured(tmp_path, solve=SOLVE)
    assert config.prompts == {"solve": SOLVE}
    build = Build(config)
    assert build.run.spec.configuration["prompts"] == {"solve": digest_of(SOLVE)}
    for file in (tmp_path / "mine").iterdir():
        file.unlink()
    stored = stored_configuration(open_store(config.store), "r")
    assert stored["prompts"] == {"solve": SOLVE}, "which is what continues it"


async def test_stages_ask_the_texts_of_the_runs_configuration(tmp_path: Path) -> None:
    config = configured(tmp_path, solve=SOLVE, solve_system="Be brief.")
    asked: list[Chat] = []

    def script(chat: Chat, seed: int) -> str:
        asked.append(chat)
        return "It is $\\boxed{1}$.\n\nStep 2: So it is."

    sent = pickle.loads(pickle.dumps(StageMaker(config, "r")))
    stage = sent.around("policy", ScriptedEngine(script), None)["sample"]
    problem = planned(config, None).given.rows[0]
    await stage.run(ShardRows({PROBLEMS: [problem]}))
    assert asked[0].messages[0].content == "Be brief."
    assert {chat.user for chat in asked} == {f"{problem.problem} Go on."}


def test_without_prompts_a_spec_is_as_it_ever_was(tmp_path: Path) -> None:
    plain = configure(tmp_path / "plain")
    assert "prompts" not in plain.binding
    written = configured(tmp_path / "same", solve=PROMPTS["solve"].text)
    assert written.binding == plain.binding


@pytest.mark.parametrize(
    ("name", "anew"),
    [("rationale", {"rationalize", "export"}), ("critique", {"export"}), ("solve", None)],
)
def test_a_derived_run_makes_anew_what_was_asked_otherwise(
    name: str, anew: set[str] | None, tmp_path: Path
) -> None:
    build = Build(configure(tmp_path))
    text = PROMPTS[name].text + " Please."
    other = dataclasses.replace(build.config, run="other", prompts={name: text})
    asked_for, store = planned(other, None).spec, build.run.store.url
    if anew is None:
        with pytest.raises(SpecMismatch) as refused:
            plan_derivation("other", store, asked_for, build.run)
        assert f"configuration.prompts.{name}" in str(refused.value)
        return
    assert plan_derivation("other", store, asked_for, build.run).anew == anew


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"stages": CONFIG["stages"] | {"sample": {"system": "Solve."}}},
            "`stages.sample.system` and the prompt solve_system say the same",
        ),
        (
            {"stages": CONFIG["stages"] | {"judge": {"sees": ["answer"]}}},
            "critique.jinja does not show `answer`",
        ),
    ],
)
def test_prompts_against_the_settings_are_refused(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "solve_system.jinja").write_text("Solve it.")
    (tmp_path / "mine" / "critique.jinja").write_text("{{ problem }}{{ steps }}")
    with pytest.raises(ConfigurationError, match=said):
        planned(configure(tmp_path, prompts="mine", **change), None)


def test_the_verb_lists_and_writes_and_a_wrong_folder_ends_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["prompts"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("solve", "repair"))
    folder = tmp_path / "prompts"
    assert run_command(["prompts", "--write", str(folder)]) == 0
    assert f"{len(PROMPTS)} prompts written" in capsys.readouterr().out
    (folder / "solve.jinja").write_text("{{ prblem }}")
    write_problems(world_problems(2), tmp_path / "problems.jsonl")
    (tmp_path / "build.yaml").write_text(json.dumps(CONFIG | {"prompts": "prompts"}))
    assert run_command(["build", str(tmp_path / "build.yaml")]) == 2
    said = capsys.readouterr().err
    assert "solve.jinja: there is no variable prblem: it may use problem" in said
    assert said.count("\n") == 1


def test_what_a_configuration_says_is_relative_to_it(tmp_path: Path) -> None:
    config = configured(tmp_path / "there", solve=SOLVE)
    assert load(tmp_path / "there" / "build.yaml").prompts == config.prompts
