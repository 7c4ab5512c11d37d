"""Cases that people of this field reported, sent through the product: one adapter for each kind.

Invariant: an adapter asserts each expectation that it is given, and names what it knows; a kind or
an expectation that none knows is `Unknown`, never passed in silence.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import io
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    contextmanager,
    redirect_stdout,
)
from dataclasses import dataclass
from functools import cache
from hashlib import md5
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from botocore.exceptions import ClientError
from markdown_it import MarkdownIt

from actors.engines.contract import Chat, Completion, Reply, Sampling
from actors.engines.healing import Healed, uncut_by
from actors.engines.rendering import ChatRenderer
from actors.engines.scripted import ScriptedEngine
from actors.engines.served.answers import BadAnswer
from actors.engines.served.completions_api import read_answer as read_reply
from actors.engines.token_ids import Spelling
from actors.grading.pool import Grader
from actors.sandbox.contract import Execution, Limits, Request, SandboxSettings, Verdict
from actors.sandbox.opening import run_file
from actors.workers.contract import ShardResult
from launch.config import load, load_training
from launch.verbs.looking.emptiness import why_empty
from launch.verbs.looking.grade import grade_stream, read_question
from storage.errors import InputError, ItemError, SandboxUnavailable, StepmillError
from storage.objects.s3 import S3Store
from storage.rows.kinds import LABELS, PATHS, PROBLEMS, ShardRows
from storage.rows.records import (
    CodeRun,
    Message,
    PathLabels,
    Problem,
    Rationale,
    Response,
    standing,
)
from storage.rows.records import Path as SolutionPath
from tests.support import built_tokenizers
from tests.support.kits import kit_of
from tests.support.scripted_build import Build as ScriptedBuild
from tests.support.scripted_build import configure
from tests.support.training_world import examples, qwen25_tokenizer
from workflows.answers import check_reference, normal, read_answer
from workflows.answers.grading import alike, grader
from workflows.evaluation.best_of_n import Candidate, majority
from workflows.evaluation.processbench import Judgement, score
from workflows.formats import steps
from workflows.formats.conversation import clean_text
from workflows.formats.executed import first_found
from workflows.formats.paper_form import PaperForm
from workflows.formats.rationale import paragraphs
from workflows.formats.steps import flaw
from workflows.inputs.problems import checked_problems
from workflows.inputs.responses import read_responses
from workflows.judging.seats import read_alignment, read_paragraphs
from workflows.judging.tools import tool_verdicts
from workflows.runs.run import finish
from workflows.settings import AnswerSettings, RationalizeSettings
from workflows.stages.rationalize import RATIONALIZE, RationaleWriter
from workflows.training.mask import masker_for, render, with_trainable_template
from workflows.views.catalogue import VIEWS
from workflows.votes.rewards import reward_at

DATA = Path(__file__).parents[1] / "data"
FAST_S = 30.0
"""Seconds within which an answer is graded, or code that reads from a terminal is refused."""


class Unknown(Exception):
    """No adapter knows the kind, or one of the expectations."""


@dataclass(frozen=True, slots=True)
class Case:
    """One line of a file of cases."""

    name: str
    """`file:line`, from 1."""
    kind: str
    input: Mapping[str, Any]
    expected: Mapping[str, Any]
    taste: bool

    def run(self) -> None:
        """Send it through the product. Raises AssertionError, or Unknown."""
        names = [name for name in ADAPTERS if self.kind == name or self.kind.startswith(f"{name}/")]
        if not names:
            raise Unknown(f"no adapter for the kind {self.kind}")
        adapter, known = ADAPTERS[max(names, key=len)]
        if unknown := set(self.expected) - known:
            raise Unknown(f"{self.kind}: no check for {', '.join(sorted(unknown))}")
        adapter(self.input, self.expected)


@dataclass(slots=True)
class Tally:
    """What became of the cases, for the summary at the end."""

    passed: Counter[str]
    failed: Counter[str]
    """By kind; those that are expected to fail counted too."""
    taste: Counter[str]
    """Matters of taste, `as expected` or `otherwise`."""
    unknown: Counter[str]


TALLY = Tally(Counter(), Counter(), Counter(), Counter())


def cases(file: Path) -> list[Case]:
    """The cases of a JSON lines file."""
    found = []
    for number, line in enumerate(
        file.read_text(encoding="utf-8").rstrip("\n").split("\n"), start=1
    ):
        row = json.loads(line)
        found.append(
            Case(
                f"{file.name}:{number}", row["kind"], row["input"], row["expected"],
                bool(row.get("taste")),
            )
        )  # fmt: skip
    return found


def further_files() -> list[Path]:
    """The files that FIELD_CASES names."""
    return [Path(name) for name in os.environ.get("FIELD_CASES", "").split(":") if name]


Adapter = Callable[[Mapping[str, Any], Mapping[str, Any]], None]
ADAPTERS: dict[str, tuple[Adapter, set[str]]] = {}


def adapter(kind: str, *expectations: str) -> Callable[[Adapter], Adapter]:
    """The adapter of a kind and of those below it; `expectations` are those that it checks."""

    def register(function: Adapter) -> Adapter:
        ADAPTERS[kind] = (function, set(expectations))
        return function

    return register


# Answers


@adapter("grade", "correct")
def _grade(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    started = time.monotonic()
    try:
        question = read_question(json.dumps(given).encode())
    except InputError:
        correct = False  # a reference that is refused makes nothing right
    else:
        correct = _graded(question.reference, question.answer)
    assert correct == expected["correct"]
    assert time.monotonic() - started < FAST_S


def _graded(reference: str, answer: str | None) -> bool:
    return asyncio.run(pool().grade(reference, [answer]))[0]


@cache
def pool() -> Grader:
    """The grader of all cases; whoever is last closes it."""
    return grader(AnswerSettings(), 1)


@adapter("grade_reference", "accepted")
def _grade_reference(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Accepted is what does not stop a file: its other problem goes on."""
    rows = [
        {"problem_id": "a", "problem": "What is it?", "answer": given["reference"]},
        {"problem_id": "b", "problem": "What is 4+5?", "answer": "9"},
    ]
    with _file("\n".join(map(json.dumps, rows)), ".jsonl") as file:
        try:
            checked = checked_problems(file, None, check_reference)
            accepted = "b" in [problem.problem_id for problem in checked.problems]
        except InputError:
            accepted = False
    assert accepted == expected["accepted"]


@adapter("grade_stream", "rc", "results")
def _grade_stream(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "in.jsonl"
        file.write_bytes(base64.b64decode(given["base64"]))
        sink, code = io.StringIO(), 0
        with file.open(encoding="utf-8") as source:
            try:
                grade_stream(source, sink, workers=1)
            except InputError:
                code = 2
    results = [json.loads(line)["correct"] for line in sink.getvalue().splitlines()]
    _check(expected, {"rc": code, "results": results})


@adapter("majority", "answer")
def _majority(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    lists = [value for value in given.values() if isinstance(value, list)]
    if len(lists) != 1 or not all(isinstance(answer, str) for answer in lists[0]):
        raise Unknown("majority: an input without one list of answers")
    rows = [
        Response(str(at), "p", "?", ["s"], "", None, None, normal(answer))
        for at, answer in enumerate(lists[0])
    ]
    counted = asyncio.run(alike(rows, pool()))
    chosen = majority([Candidate(row.answer, False, None) for row in counted])
    assert _graded(normal(expected["answer"]), chosen.answer), chosen.answer


# Steps and verifications


@adapter("split_steps", "steps")
@adapter("steps", "steps", "valid")
def _steps(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    parts = steps.split(given["text"])
    wanted = expected.get("steps")
    if isinstance(wanted, int):
        assert len(parts) == wanted, parts
    elif wanted is not None:
        assert list(parts) == wanted
    if "valid" in expected:
        invalid = flaw("stop", given["text"], read_answer(given["text"]))
        assert (invalid is None) == expected["valid"], invalid


@adapter("rationale_paragraphs", "read")
def _paragraphs(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    try:
        paragraphs(given["text"], given["steps"])
    except ItemError as error:
        assert not expected["read"], error
    else:
        assert expected["read"]


@adapter("code_at_end", "code")
def _code_at_end(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    found = first_found(given["text"], ran=False)
    code = found.code if found else None
    assert (code and code.strip("\n")) == expected["code"]


@adapter("index_vote", "index")
@adapter("rationale/index_vote", "index")
def _index_vote(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    voted = given["voted"] if "voted" in given else given["text"]
    assert PaperForm(4000).vote(voted, given["steps"]) == expected["index"]


@adapter("judge_read", "verdicts", "index")
def _judge_read(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    opinion = read_paragraphs(given["text"], given["steps"])
    _check(expected, {"verdicts": list(opinion.verdicts), "index": opinion.index})


@adapter("judge_align", "verdicts", "index")
def _judge_align(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    opinion = read_alignment(given["text"], given["steps"])
    _check(expected, {"verdicts": list(opinion.verdicts), "index": opinion.index})


@adapter("tool_verdict", "verdict")
def _tool_verdict(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    run = CodeRun(0, "", given["output"], "ok", 0.0, 0.0)
    assert tool_verdicts([run], 1) == [expected["verdict"]]


@adapter("export_text", "text", "dropped")
def _export_text(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    try:
        said: dict[str, Any] = {"text": clean_text(given["text"]), "dropped": False}
    except ItemError:
        said = {"text": None, "dropped": True}
    _check(expected, said)


_OUTPUT = "[Code Output]"
_EVERY_OUTPUT = "kept_only_if_every_shown_output_was_printed_by_executed_code"
_OUTPUT_OR_REASON = "kept_with_every_output_executed_or_dropped_reason_names"


@adapter("rationale", "kept", "executions", _EVERY_OUTPUT, _OUTPUT_OR_REASON)
def _rationale(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """A whole reply, written by the stage's own writer with code that is really run."""
    row, reason = _written(given)
    if "kept" in expected:
        assert (row is not None) == expected["kept"], reason
    if row is None:
        if _OUTPUT_OR_REASON in expected:
            assert expected[_OUTPUT_OR_REASON] in reason, reason
        return
    if "executions" in expected:
        assert len(row.executions) == expected["executions"]
    _every_output_was_printed(row)


def _every_output_was_printed(row: Rationale) -> None:
    """What a reader by CommonMark sees as code is what was run, and as output what it printed."""
    tokens = MarkdownIt().parse("\n".join(row.verifications))
    fences = [token for token in tokens if token.type == "fence"]
    run = [one for token in fences if (one := token.content.strip()) and token.info == "python"]
    shown = [token.content.strip("\n") for token in fences if token.info in ("", "output")]
    assert run == [execution.code.strip() for execution in row.executions]
    assert shown == [execution.output.strip("\n") for execution in row.executions]
    lines = [
        line for token in tokens if token.type == "inline" for line in token.content.split("\n")
    ]
    assert sum(line.startswith(_OUTPUT) for line in lines) == len(row.executions)


@adapter("rationale/dropped_text", "text_of_dropped_rationale")
def _dropped_text(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """What was paid for and can't be read is a row with its reason; `stepmill texts` prints it."""
    said = "I can't say."
    result = _result({"problem": "?", "steps": ["a"], "reply": f"{said}\n</think>", "vote": "1}"})
    (row,), (drop,) = result.rows, result.drops
    assert row.dropped == f"{drop.reason}: {drop.detail}"
    assert said in row.text


def _written(given: Mapping[str, Any]) -> tuple[Rationale | None, str]:
    """The rationale that the stage makes of a reply, or why there is none."""
    result = _result(given)
    if kept := standing(result.rows):
        return kept[0], ""
    drop = result.drops[0]
    return None, f"{drop.reason}: {drop.detail}"


def _result(given: Mapping[str, Any]) -> ShardResult[Rationale]:
    """What the stage makes of a reply."""

    async def written() -> ShardResult[Rationale]:
        asked = RationalizeSettings(max_tokens=4096, output_chars=4000, votes=1, attempts=1)
        engine = _Replies(given["reply"], given["vote"])
        kit = kit_of(RATIONALIZE, engine, _Here(), without=(LABELS,), rationalize=asked)
        writer = RationaleWriter(kit)
        path = SolutionPath(
            path_id="p#0", problem_id="p", index=0, round=0, text=steps.join(given["steps"]),
            steps=list(given["steps"]), finish_reason="stop", answer="1", correct=True, valid=True,
            invalid_reason=None, duplicate_of=None, selected=True, tokens=1, seed=0,
        )  # fmt: skip
        labels: list[PathLabels] = []
        return await writer.run(
            ShardRows(
                {PROBLEMS: [Problem("p", given["problem"], "1")], PATHS: [path], LABELS: labels}
            )
        )

    return asyncio.run(written())


class _Replies:
    """An engine that writes a given reply on, wherever it is stopped; then the vote."""

    def __init__(self, reply: str, vote: str) -> None:
        self._left = reply
        self._vote = vote

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        """The next part of the reply, up to the first stop string."""
        if chat.prefill.rstrip().endswith("\\boxed{"):
            text, stop = _until(self._vote, sampling)
            return Reply((Completion(text, "stop", stop, 1),) * sampling.n, 1)
        text, stop = _until(self._left, sampling)
        self._left = self._left[len(text) :]
        return Reply((Completion(text, "stop", stop, len(text.split())),), 1)

    async def close(self) -> None:
        """Nothing to stop."""


def _until(text: str, sampling: Sampling) -> tuple[str, str | None]:
    """The text up to its first stop string, and that string."""
    found = [(at, stop) for stop in sampling.stop if (at := text.find(stop)) >= 0]
    if not found:
        return text, None
    at, stop = min(found)
    return text[: at + len(stop) if sampling.include_stop else at], stop


class _Interpreter:
    """Runs the code of the cases, in one namespace."""

    def __init__(self) -> None:
        self._names: dict[str, Any] = {}

    async def run(self, code: str, limits: Limits | None = None) -> Execution:
        """Run one block."""
        out, error, verdict = io.StringIO(), "", Verdict.OK
        with redirect_stdout(out):
            try:
                exec(code, self._names)
            except Exception as raised:  # noqa: BLE001  as an interpreter does
                error, verdict = f"{type(raised).__name__}: {raised}\n", Verdict.ERROR
        return Execution(
            verdict=verdict, exit_code=None, signal=None, stdout=out.getvalue(), stderr=error,
            stdout_truncated=False, stderr_truncated=False, wall_s=0.0, cpu_s=0.0,
            peak_memory_kb=1, queued_s=0.0, sandbox_id="here",
        )  # fmt: skip


class _Here:
    """A sandbox in this process: for the code of the cases, which is known."""

    async def run(self, request: Request, limits: Limits | None = None) -> Execution:
        """Run one script."""
        return await _Interpreter().run(request.code)

    def session(self, key: str) -> AbstractAsyncContextManager[_Interpreter]:
        """A fresh interpreter."""
        return self._session()

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[_Interpreter]:
        yield _Interpreter()

    async def close(self) -> None:
        """Nothing to close."""


# Engines and templates


def _tokenizer(template: str) -> Any:
    tokenizer = copy.deepcopy(qwen25_tokenizer())
    tokenizer.chat_template = template
    return tokenizer


@adapter("render_chat", "endswith", "count", "typed", "refused_or_closed")
def _render_chat(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    renderer = ChatRenderer(_tokenizer(given["template"]))
    turns = tuple(Message(turn["role"], turn["content"]) for turn in given["messages"])
    chat = Chat(turns, given.get("prefill", ""))
    refused = renderer.misfit(chat) is not None
    if "refused_or_closed" in expected:
        assert refused or "</think>" in renderer.text(chat)
    if "typed" in expected and not refused:
        try:
            renderer.text(chat)
        except StepmillError as error:
            assert "\n" not in str(error)
    if "endswith" in expected:
        assert renderer.text(chat).endswith(expected["endswith"])
    for text, times in expected.get("count", {}).items():
        assert renderer.text(chat).count(text) == times


@adapter("template", "refused_before_start", "exit_code")
def _template(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """What `misfit` says ends every command that would use the template, with exit code 2."""
    chat = Chat((Message("system", "S"), Message("user", "U")), "")
    misfit = ChatRenderer(_tokenizer(given["chat_template"])).misfit(chat)
    assert (misfit is not None) == expected["refused_before_start"]


@adapter("build/empty_dataset", "exit_code_or_warning")
def _empty_dataset(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """A build of which every solution lacks a box says so at its end."""
    with TemporaryDirectory() as folder:
        build = ScriptedBuild(configure(Path(folder) / "build"))
        build.world.policy = lambda chat, seed: "It is 4.\n\nStep 2: So 4."  # type: ignore[method-assign]
        asyncio.run(build.work())
        finish(build.run)
        samples = build.run.totals("sample").rows
        assert samples and not build.run.totals("export").rows
        assert why_empty(build.run) == f"most was lost as no_box ({samples:,} in stage sample)"


@adapter("prompt/step_header_boundary", "prompt_ends_with_token", "or_")
def _step_header_boundary(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """The last token of what an engine is asked with, for every tokenizer that the case names."""
    asked: list[str] = []

    def script(chat: Chat, seed: int) -> str:
        asked.append(chat.prefill)
        return " Let x be 4."

    named = [name for name in TOKENIZERS if name in given["tokenizer"]]
    assert named, "none of the named tokenizers is at hand"
    for name in named:
        tokenizer = TOKENIZERS[name]()
        spell = Spelling(tokenizer).ids
        engine = Healed(ScriptedEngine(script), uncut_by(spell))
        asyncio.run(engine.generate(Chat((), given["prefill"]), Sampling()))
        last = tokenizer.decode(spell(asked.pop())[-1:])
        assert last == expected["prompt_ends_with_token"], name


TOKENIZERS = {"Qwen2.5": built_tokenizers.qwen, "Llama-3": built_tokenizers.llama}
"""Those of the named ones that can be built without their files."""


@adapter("export", "assistant_turn_ends")
def _assistant_turn(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Every turn that a row of a dataset has, in each view with conversations."""
    for view in ("genprm", "cot", "code", "direct"):
        for row in VIEWS[view].rows(examples(4)):
            for turn in row.conversations:
                if turn.role == "assistant":
                    assert turn.content.endswith(expected["assistant_turn_ends"])


@adapter("training_template", "accepted", "refused", "says", "asked_without")
def _training_template(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    asked = refused = ""
    try:
        tokenizer = with_trainable_template(_tokenizer(given["template"]), None)
        masker_for(tokenizer, False)
        turns = [Message("system", "S"), Message("user", "U")]
        asked = render(tokenizer, turns, ask=True)
    except StepmillError as error:
        refused = str(error)
    _check_refusal(expected, refused)
    assert "asked_without" not in expected or expected["asked_without"] not in asked


@adapter("completions_reply", "stop_string", "texts", "bad", "not", "one_of")
def _completions_reply(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    sampling = Sampling(
        n=given["n"], stop=tuple(given["stop"]), include_stop=given["include_stop"],
        logprobs=given["logprobs"],
    )  # fmt: skip
    try:
        reply = read_reply(given["answer"], sampling, 1, lambda text: len(text.split()))
    except BadAnswer as error:
        if "one_of" in expected:
            assert (
                f"bad_answer_says_{'logprobs' * ('logprobs' in str(error))}" in expected["one_of"]
            )
        else:
            assert expected.get("bad") or "not" in expected, error
        return
    found = {
        "bad": False,
        "texts": [one.text for one in reply.completions],
        "stop_string": reply.completions[0].stop_string,
    }
    assert "read" in expected.get("one_of", ["read"])
    for name, value in expected.get("not", {}).items():
        assert found[name] != value
    _check({name: expected[name] for name in found if name in expected}, found)


# Scores


@adapter("verdict_reward", "reward", "above", "no_verdict")
def _verdict_reward(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    try:
        reward = reward_at([(token, logprob) for token, logprob in given["top"]])
    except ItemError as error:
        assert expected.get("no_verdict"), error
        return
    assert not expected.get("no_verdict")
    if "reward" in expected:
        assert abs(reward - expected["reward"]) < 1e-6
    assert reward > expected.get("above", -1)


@adapter("processbench_f1", "f1")
def _processbench(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    found = score(Judgement(subset, label, said) for subset, label, said in given["rows"])
    assert abs(found.f1 - expected["f1"]) < 1e-9


# Files and settings


@contextmanager
def _file(
    text: str, suffix: str, encoding: str = "utf-8", errors: str = "strict"
) -> Iterator[Path]:
    """A file of this text, for as long as it is read."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"given{suffix}"
        file.write_bytes(text.encode(encoding, errors))
        yield file


@adapter("problems_file", "rows", "refused", "names", "one_of")
def _problems_file(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    with _file(given["text"], given["suffix"], given.get("encoding", "utf-8")) as file:
        try:
            said, refused = len(checked_problems(file, None, check_reference).problems), ""
        except InputError as error:
            said, refused = None, str(error)
    if "one_of" in expected:
        outcomes = [f"rows{said}"]
        if refused:
            outcomes = [f"refused_says_{word}" for word in refused.casefold().split()]
        suffix = given["suffix"].removeprefix(".")
        outcomes += [f"refused_says_{suffix}"] if refused and suffix in refused.casefold() else []
        assert set(outcomes) & set(expected["one_of"]), refused
        return
    _check_refusal(expected, refused)
    assert expected.get("rows", said) == said, refused


@adapter("responses_file", "rows", "steps", "refused", "names")
def _responses_file(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    with _file("\n".join(map(json.dumps, given["rows"])), ".jsonl") as file:
        try:
            found, refused = read_responses(file), ""
        except InputError as error:
            found, refused = [], str(error)
    _check_refusal(expected, refused)
    assert expected.get("rows", len(found)) == len(found), refused
    if "steps" in expected:
        counts = [len(one.steps) for one in found]
        assert expected["steps"] in (counts, counts[0], found[0].steps)


_BUILD = """\
run: r
problems: p.jsonl
models:
  policy: {kind: scripted, model: m}
  completer: {kind: scripted, model: m}
  rationale: {kind: scripted, model: m}
"""
_TRAIN = "name: t\nbase: ./base\nrun: r\n"


@adapter("build_config", "refused", "accepted", "value", "says")
def _build_config(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    _config(_BUILD, load, given, expected)


@adapter("train_config", "refused", "accepted", "value", "says")
def _train_config(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    _config(_TRAIN, load_training, given, expected)


def _config(
    minimal: str,
    read: Callable[[Path], Any],
    given: Mapping[str, Any],
    expected: Mapping[str, Any],
) -> None:
    text = minimal + given["append"]
    if given["append"] == "CRLF":
        text = "\ufeff" + minimal.replace("\n", "\r\n")
    config, refused = None, ""
    with _file(text, ".yaml") as file:
        try:
            config = read(file)
        except StepmillError as error:
            refused = str(error)
    _check_refusal(expected, refused)
    if "value" in expected:
        *names, value = expected["value"]
        for name in names:
            config = getattr(config, name)
        assert config == value, refused


@adapter("model_path", "consistent")
def _model_path(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """What the engine is given is the folder that the check looked at."""
    names = [value for value in given.values() if isinstance(value, str)]
    if len(names) != 1:
        raise Unknown("model_path: an input that does not name one model")
    build = yaml.safe_load(_BUILD)
    build["models"]["policy"] = {"kind": "vllm", "model": names[0]}
    with _file(yaml.safe_dump(build), ".yaml") as file:
        model = load(file).engine("policy").model
    assert (Path(model).expanduser() == Path(model)) == expected["consistent"]


@adapter("s3_put_reply", "put", "refused")
def _s3_put_reply(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    class Client:
        def put_object(self, **asked: Any) -> Any:
            if given["status"] < 300:
                return {
                    "ETag": f'"{md5(asked["Body"], usedforsecurity=False).hexdigest()}"',
                    "ResponseMetadata": {"HTTPStatusCode": given["status"]},
                }
            reply = {"Code": given["code"], "Message": ""}
            raise ClientError(
                {"Error": reply, "ResponseMetadata": {"HTTPStatusCode": given["status"]}}, "PUT"
            )

    try:
        said = S3Store("bucket", "", client=Client()).put_new("k", b"x").name.lower()
    except StepmillError as error:
        assert expected.get("refused"), error
        return
    assert said == expected.get("put")


# Code


@cache
def _no_sandbox() -> str:
    """Why code can't be run here; empty where it can."""
    try:
        _executed("print(1)")
    except SandboxUnavailable as error:
        return str(error)
    return ""


def _executed(code: str) -> Execution:
    with _file(code, ".py", errors="surrogatepass") as file:
        return asyncio.run(run_file(file, SandboxSettings(slots=1)))


@adapter("exec", "stdout", "stdout_has", "verdict_in", "no_crash", "fast")
def _exec(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    if reason := _no_sandbox():
        raise Unknown(f"exec: no sandbox here ({reason})")
    started = time.monotonic()
    done = _executed(given["code"])
    if "stdout" in expected:
        assert done.stdout == expected["stdout"], done.stderr
    assert expected.get("stdout_has", "") in done.stdout
    assert str(done.verdict) in expected.get("verdict_in", [str(done.verdict)])
    if "fast" in expected:
        assert time.monotonic() - started < FAST_S


def _check(expected: Mapping[str, Any], said: Mapping[str, Any]) -> None:
    assert {name: said[name] for name in expected} == dict(expected)


def _check_refusal(expected: Mapping[str, Any], refused: str) -> None:
    """`refused` or `accepted`, and what the one line says: `says`, or the row that it `names`."""
    wanted = expected.get("refused", not expected["accepted"] if "accepted" in expected else False)
    assert bool(refused) == bool(wanted), refused or "accepted"
    if refused:
        assert "\n" not in refused
        assert expected.get("says", "") in refused
        assert str(expected.get("names", "")) in refused
