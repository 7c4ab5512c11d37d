"""Opening engines, cutting requests into parts, admission, rendering, and model folders."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actors.engines.admission import Admission, admitted
from actors.engines.contract import SEED_SPACE, Chat, Completion, EngineSettings, Reply, Sampling
from actors.engines.log import EngineLog
from actors.engines.opening import open_engine
from actors.engines.rendering import ChatRenderer
from actors.engines.scripted import Faults, Latency, ScriptedEngine
from actors.engines.served.endpoint import EndpointEngine
from actors.engines.token_ids import Spelling
from actors.engines.vllm import VllmEngine
from actors.engines.vllm_core import engine_environment
from actors.models.folder import check_model
from storage.errors import ConfigurationError, EngineFailed, InputError
from storage.rows.records import Message
from tests.support.built_tokenizers import qwen

CHAT = Chat((Message("user", "one two"),), "Step 1: ")


def echo(chat: Chat, seed: int) -> str:
    return f"seed {seed}"


# --- opening ------------------------------------------------------------------------------------


async def test_a_scripted_engine_is_opened_by_the_name_of_its_function() -> None:
    engine = await open_engine(EngineSettings(kind="scripted", model=f"{__name__}:echo"))
    reply = await engine.generate(CHAT, Sampling(n=2, seed=4))
    assert [done.text for done in reply.completions] == ["seed 4", "seed 5"]


@pytest.mark.parametrize("model", ["", "nowhere:x", "json:nothing", "json"])
async def test_a_script_that_is_not_there_is_the_users_error(model: str) -> None:
    with pytest.raises(ConfigurationError, match="written as package"):
        await open_engine(EngineSettings(kind="scripted", model=model))


@pytest.mark.parametrize("kind", ["vllm", "endpoint"])
@pytest.mark.parametrize(("heal", "asked"), [(True, "Step 1:"), (False, "Step 1: ")])
async def test_both_kinds_with_tokens_are_healed_where_it_is_wanted(
    monkeypatch: pytest.MonkeyPatch, kind: str, heal: bool, asked: str
) -> None:
    class Opened(ScriptedEngine):
        spell = Spelling(qwen()).ids

    prefills: list[str] = []

    async def opened(settings: EngineSettings) -> Opened:
        return Opened(lambda chat, seed: prefills.append(chat.prefill) or " a")

    for engine in (VllmEngine, EndpointEngine):
        monkeypatch.setattr(engine, "open", opened)
    engine = await open_engine(EngineSettings(kind=kind), heal)  # type: ignore[arg-type]
    reply = await engine.generate(CHAT, Sampling())
    assert prefills == [asked]
    assert reply.completions[0].after(CHAT.prefill) == ("Step 1: a" if heal else "Step 1:  a")


@pytest.mark.parametrize(("asked", "set_outside"), [(True, None), (True, "0"), (False, "1")])
def test_the_setting_alone_decides_whether_an_engine_is_batch_invariant(
    asked: bool, set_outside: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "VLLM_BATCH_INVARIANT"
    monkeypatch.delenv(name, raising=False)
    if set_outside is not None:
        monkeypatch.setenv(name, set_outside)
    settings, log = EngineSettings(model="m", batch_invariant=asked), EngineLog(tmp_path)
    with engine_environment(settings, False, tmp_path, log):
        assert os.environ[name] == str(int(asked))
    assert os.environ.get(name) == set_outside
    log.close()


async def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="vllm, endpoint, chat, scripted"):
        await open_engine(EngineSettings(kind="llama"))


# --- parts and seeds ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "seed", "parts"),
    [
        (1, 7, [(7, 1)]),
        (16, 0, [(0, 16)]),
        (20, 5, [(5, 16), (21, 4)]),
        (4, SEED_SPACE - 3, [(SEED_SPACE - 3, 3), (0, 1)]),
        (0, 5, []),
    ],
)
def test_parts_have_the_seeds_that_one_request_would_have(
    n: int, seed: int, parts: list[tuple[int, int]]
) -> None:
    cut = Sampling(n=n, seed=seed, top_k=3).parts(16)
    assert [(part.seed, part.n, part.top_k) for part in cut] == [(s, c, 3) for s, c in parts]


async def test_a_part_with_too_few_samples_fails_the_request() -> None:
    async def short(wanted: Sampling) -> Reply:
        return Reply(tuple([Completion("x", "stop", None, 1)] * (wanted.n - 1)), 1)

    with pytest.raises(EngineFailed, match="3 samples where 4"):
        await admitted(short, Sampling(n=8), 4, Admission(8))


async def test_a_failed_part_cancels_its_siblings_and_gives_their_room_back() -> None:
    cancelled: list[int] = []

    async def part(wanted: Sampling) -> Reply:
        if wanted.seed == 2:
            raise EngineFailed("crash")
        try:
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            cancelled.append(wanted.seed)
            raise

    admission = Admission(8)
    with pytest.raises(EngineFailed):
        await admitted(part, Sampling(n=6), 2, admission)
    assert sorted(cancelled) == [0, 4]
    assert admission.in_flight == 0


# --- scripted engine ----------------------------------------------------------------------------


class VirtualClock:
    def __init__(self) -> None:
        self.slept: list[tuple[float, int]] = []

    async def sleep(self, seconds: float, sequences: int) -> None:
        self.slept.append((seconds, sequences))
        await asyncio.sleep(0)


async def test_time_passes_on_the_given_clock_sample_by_sample() -> None:
    clock = VirtualClock()
    engine = ScriptedEngine(
        lambda chat, seed: "w " * seed,
        latency=Latency(request_s=1.0, prompt_token_s=0.5, token_s=0.25),
        clock=clock,
    )
    await engine.generate(CHAT, Sampling(n=3, seed=2))
    # Four prompt words and a last space; two, three and four words, each with a last space.
    assert clock.slept == [(1.0 + 5 * 0.5 + 3 * 0.25, 3), (0.25, 2), (0.25, 1)]


async def test_a_crash_fails_what_is_in_flight_and_everything_after() -> None:
    engine = ScriptedEngine(
        echo,
        EngineSettings(kind="scripted", part=1),
        latency=Latency(request_s=1.0),
        clock=VirtualClock(),
        faults=Faults(crash_at=2),
    )
    calls = [engine.generate(CHAT, Sampling(seed=i)) for i in range(3)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [EngineFailed] * 3
    with pytest.raises(EngineFailed):
        await engine.generate(CHAT, Sampling())


async def test_a_short_reply_is_a_failure_and_a_hang_lasts_until_it_is_cancelled() -> None:
    engine = ScriptedEngine(echo, faults=Faults(short_at=0, hang_at=2))
    with pytest.raises(EngineFailed, match="1 samples where 2"):
        await engine.generate(CHAT, Sampling(n=2))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(engine.generate(CHAT, Sampling()), 0.01)


# --- rendering ----------------------------------------------------------------------------------


class Template:
    """A tokenizer whose template ends as told; tokens are characters."""

    chat_template = "x"

    def __init__(self, ending: str) -> None:
        self.ending = ending
        self.calls: list[dict[str, Any]] = []

    def apply_chat_template(self, turns: list[dict[str, str]], **options: Any) -> str:
        assert options == {"tokenize": False, "add_generation_prompt": True}
        return "".join(f"[{turn['role']}]{turn['content']}" for turn in turns) + self.ending

    def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:
        self.calls.append(options)
        return {"input_ids": [ord(character) for character in text]}


@pytest.mark.parametrize(
    ("ending", "prefill", "expected"),
    [
        ("[a]", "Step 1: ", "[user]hi[a]Step 1: "),
        ("[a]", "<think>\nx", "[user]hi[a]<think>\nx"),
        ("[a]<think>\n", "<think>\nx", "[user]hi[a]<think>\nx"),
        ("[a]<think>", "<think>x", "[user]hi[a]<think>x"),
        ("[a]\n", "\nx", "[user]hi[a]\n\nx"),
    ],
)
def test_the_prefill_follows_the_generation_prompt_and_thinking_is_opened_once(
    ending: str, prefill: str, expected: str
) -> None:
    chat = Chat((Message("user", "hi"),), prefill)
    assert ChatRenderer(Template(ending)).text(chat) == expected


async def test_a_prompt_is_tokenized_once_and_without_further_special_tokens() -> None:
    template = Template("[a]")
    renderer = ChatRenderer(template)
    first, again = await renderer.prompt(CHAT), await renderer.prompt(CHAT)
    assert first == again == tuple(map(ord, "[user]one two[a]Step 1: "))
    assert template.calls == [{"add_special_tokens": False}]
    renderer.close()


# --- model folders ------------------------------------------------------------------------------

Change = Callable[[Path], object]


def model_folder(folder: Path) -> Path:
    (folder / "config.json").write_text(json.dumps({"architectures": ["Qwen2ForCausalLM"]}))
    (folder / "model.safetensors").write_bytes(b"x")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("x")
    return folder


def remove(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def write(name: str, text: str) -> Change:
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(remove("config.json"), "has no config.json", id="no_config"),
        pytest.param(write("config.json", "{"), "cannot be read", id="broken_config"),
        pytest.param(write("config.json", "{}"), "no model architecture", id="another_json"),
        pytest.param(write("config.json", "[]"), "not a JSON object", id="no_object"),
        pytest.param(remove("model.safetensors"), "no weights", id="no_weights"),
        pytest.param(
            write(
                "model.safetensors.index.json",
                '{"weight_map": {"a": "model.safetensors", "b": "second.safetensors"}}',
            ),
            "lacks second.safetensors",
            id="a_missing_shard",
        ),
        pytest.param(remove("tokenizer.json"), "no tokenizer", id="no_tokenizer"),
        pytest.param(remove("chat_template.jinja"), "no chat template", id="no_chat_template"),
    ],
)
def test_a_folder_that_is_no_model_is_refused_in_one_line(
    tmp_path: Path, change: Change, message: str
) -> None:
    folder = model_folder(tmp_path)
    check_model(EngineSettings(model=str(folder)))
    change(folder)
    with pytest.raises(InputError, match=message) as caught:
        check_model(EngineSettings(model=str(folder)))
    assert "\n" not in str(caught.value)


def test_a_template_in_the_tokenizers_settings_or_folder_will_do(tmp_path: Path) -> None:
    model, tokenizer = tmp_path / "model", tmp_path / "tokenizer"
    for folder in (model, tokenizer):
        folder.mkdir()
        model_folder(folder)
    (model / "chat_template.jinja").unlink()
    check_model(EngineSettings(model=str(model), tokenizer=str(tokenizer)))
    (model / "tokenizer_config.json").write_text('{"chat_template": "x"}')
    check_model(EngineSettings(model=str(model)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "no model is named"),
        ("/nowhere/at/all", "does not exist"),
        ("./nowhere", "does not exist"),
        (__file__, "is a file"),
    ],
)
def test_a_path_that_is_no_folder_is_refused(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_model(EngineSettings(model=name))


def test_a_hubs_name_is_left_to_the_hub() -> None:
    check_model(EngineSettings(model="Qwen/Qwen2.5-7B-Instruct"))


async def test_a_bad_folder_is_refused_before_a_backend_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        await open_engine(EngineSettings(kind="vllm", model=str(tmp_path)))
