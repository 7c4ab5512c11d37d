"""The chat engine against servers that lack much, and against servers that misbehave."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from actors.engines.contract import Chat, EngineSettings, Sampling
from actors.engines.opening import open_engine
from actors.engines.served.capabilities import Capabilities, Need, lacking
from actors.engines.served.chat import ChatEngine
from actors.engines.served.pace import Pace
from actors.engines.served.server import LONGEST_WISH_S
from storage.errors import ConfigurationError, EngineFailed, ItemError
from storage.rows.records import Message
from tests.support.chat_server import (
    BARE,
    FULL,
    LLAMA,
    MISTRAL,
    OLLAMA,
    OPENAI,
    OPENAI_KNOWS,
    WORDS,
    Act,
    ChatServer,
    Manner,
    cut,
    gone,
    refuses,
    says,
    script,
)

CHAT = Chat((Message("system", "Be brief."), Message("user", "How much?")), "Step 1: ")
GREEDY = Sampling(temperature=0.0, max_tokens=6)


@asynccontextmanager
async def opened(server: ChatServer, **more: Any) -> AsyncIterator[ChatEngine]:
    async with server.serving() as url:
        settings = EngineSettings(kind="chat", model="m", url=url, **({"retries": 2} | more))
        engine = await ChatEngine.open(settings)
        engine._server._sleep = server.pause
        try:
            yield engine
        finally:
            await engine.close()


SEEDED = Capabilities(many=True, takes_seed=True, seed=True, takes_more=True, top_k=True,
                      stops="named", logprobs=20, continues="continue_final_message",
                      thoughts=True, usage=True)  # fmt: skip


@pytest.mark.parametrize(
    ("manner", "found"),
    [
        pytest.param(FULL, SEEDED, id="full"),
        pytest.param(Manner(stop="matched_stop"), SEEDED, id="sglang"),
        pytest.param(
            LLAMA,
            Capabilities(takes_seed=True, seed=True, takes_more=True, top_k=True, logprobs=20,
                         continues="continue_final_message", echoes=True, thoughts=True,
                         usage=True),
            id="llama.cpp",
        ),
        pytest.param(
            OLLAMA,
            Capabilities(takes_seed=True, seed=True, takes_more=True,
                         continues="continue_final_message", thoughts=True, usage=True),
            id="ollama",
        ),
        pytest.param(
            OPENAI,
            Capabilities(many=True, takes_seed=True, seed=True, logprobs=20, usage=True),
            id="openai",
        ),
        pytest.param(
            replace(OPENAI, knows=OPENAI_KNOWS - {"max_tokens"} | {"max_completion_tokens"}),
            Capabilities(many=True, takes_seed=True, seed=True, logprobs=20, usage=True,
                         limit="max_completion_tokens"),
            id="openai_of_late",
        ),
        pytest.param(
            MISTRAL,
            Capabilities(many=True, takes_seed=True, seed=True, takes_more=True,
                         continues="prefix", echoes=True, thoughts=True, usage=True),
            id="mistral",
        ),
        pytest.param(BARE, Capabilities(takes_seed=True, takes_more=True), id="bare"),
        pytest.param(
            Manner(stop="kept", logprobs=5),
            Capabilities(many=True, takes_seed=True, seed=True, takes_more=True, top_k=True,
                         stops="kept", logprobs=5, continues="continue_final_message",
                         thoughts=True, usage=True),
            id="kept",
        ),
    ],
)  # fmt: skip
async def test_what_a_server_can_do_is_found(manner: Manner, found: Capabilities) -> None:
    server = ChatServer(manner, script)
    async with opened(server) as engine:
        assert engine.found == found
    assert len(server.bodies) <= 24, "and with few requests"


@pytest.mark.parametrize("manner", [FULL, LLAMA, OLLAMA, OPENAI, MISTRAL, BARE])
async def test_each_answers_as_many_samples_as_are_asked_for(manner: Manner) -> None:
    async with opened(ChatServer(manner, script), part=3) as engine:
        reply = await engine.generate(CHAT, Sampling(n=7, max_tokens=5, seed=4))
    assert len(reply.completions) == 7
    assert len({done.text for done in reply.completions}) == 7
    assert all(done.tokens > 0 for done in reply.completions)


@pytest.mark.parametrize("manner", [FULL, LLAMA, OLLAMA, MISTRAL])
async def test_those_that_go_on_give_the_rest_alone(manner: Manner) -> None:
    begun = Chat(CHAT.messages, "Step 1: one two three")
    async with opened(ChatServer(manner, script)) as engine:
        (done,) = (await engine.generate(begun, GREEDY)).completions
    assert done.text == " four five six seven eight nine"


@pytest.mark.parametrize(
    ("begun_with", "written", "text"),
    [
        pytest.param("Step 1: We add", " two", " two", id="the_rest_alone"),
        pytest.param("Step 1: We add", "Step 1: We add two", " two", id="all_again"),
        pytest.param("We add.\n\nStep 2:", "Step 2: two", " two", id="the_header_again"),
    ],
)
@pytest.mark.parametrize("manner", [OPENAI, BARE])
async def test_those_that_do_not_are_asked_for_the_rest_by_a_turn(
    manner: Manner, begun_with: str, written: str, text: str
) -> None:
    server = ChatServer(manner, lambda asked, seed: written if len(asked.messages) > 2 else WORDS)
    begun = Chat(CHAT.messages, begun_with)
    async with opened(server) as engine:
        (done,) = (await engine.generate(begun, Sampling(max_tokens=40))).completions
    assert done.text == text
    assert [turn["role"] for turn in server.bodies[-1]["messages"]] == [
        "system", "user", "assistant", "user",
    ]  # fmt: skip


@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("manner", [FULL, LLAMA, OPENAI, BARE, Manner(stop="kept")])
async def test_a_stop_string_ends_a_text_whoever_cuts_it(manner: Manner, include: bool) -> None:
    asked = Sampling(temperature=0.0, max_tokens=9, stop=("seven", " four"), include_stop=include)
    async with opened(ChatServer(manner, script)) as engine:
        (done,) = (await engine.generate(Chat(CHAT.messages), asked)).completions
    assert done.text == "one two three" + (" four" if include else "")
    assert (done.finish_reason, done.stop_string) == ("stop", " four")
    assert 3 <= done.tokens <= 6


async def test_tokens_of_samples_that_are_counted_together_are_shared_by_length() -> None:
    async with opened(ChatServer(FULL, script), part=3) as engine:
        reply = await engine.generate(CHAT, Sampling(n=3, max_tokens=7, seed=9))
    assert sum(done.tokens for done in reply.completions) == 21


async def test_a_prompt_is_fitted_once_its_length_is_known() -> None:
    server = ChatServer(FULL, script, context=60)
    long = Chat((Message("user", "word " * 40),))
    async with opened(server) as engine:
        (done,) = (
            await engine.generate(long, Sampling(temperature=0.0, max_tokens=500))
        ).completions
        assert done.tokens <= 20
        before = len(server.bodies)
        await engine.generate(long, Sampling(temperature=0.0, max_tokens=500))
        assert len(server.bodies) == before + 1, "and is not asked about again"
        with pytest.raises(ItemError, match="too_long"):
            await engine.generate(Chat((Message("user", "word " * 70),)), GREEDY)


@pytest.mark.parametrize(
    ("manner", "needs", "said"),
    [
        (FULL, tuple(Need), []),
        (OPENAI, (Need.CONTINUES, Need.LOGPROBS), ["goes on with an answer that was begun"]),
        (OLLAMA, (Need.CONTINUES, Need.LOGPROBS), ["gives log-probabilities"]),
        (BARE, tuple(Need), [" and "]),
    ],
)
async def test_stages_that_need_more_are_refused_in_a_line(
    manner: Manner, needs: tuple[Need, ...], said: list[str]
) -> None:
    async with opened(ChatServer(manner, script)) as engine:
        lines = list(lacking(engine.found, {"score": needs}, "http://x"))
        assert len(lines) == len(said)
        for line, part in zip(lines, said, strict=True):
            assert part in line and line.startswith("stage score needs") and "\n" not in line
        assert all("\n" not in line for line in engine.found.lines())


async def test_a_worker_of_such_a_stage_does_not_open() -> None:
    async with ChatServer(BARE, script).serving() as url:
        settings = EngineSettings(kind="chat", model="m", url=url)
        with pytest.raises(ConfigurationError, match="stage rationalize needs"):
            await open_engine(settings, needs={"rationalize": (Need.CONTINUES,)})


@pytest.mark.parametrize(
    ("manner", "sampling", "said"),
    [
        (OLLAMA, Sampling(top_k=20), "does not obey top_k"),
        (OLLAMA, Sampling(logprobs=5), "gives 0 log-probabilities"),
        (Manner(logprobs=5), Sampling(logprobs=20), "gives 5 log-probabilities"),
    ],
)
async def test_what_can_not_be_made_up_for_is_refused(
    manner: Manner, sampling: Sampling, said: str
) -> None:
    async with opened(ChatServer(manner, script)) as engine:
        with pytest.raises(ConfigurationError, match=said):
            await engine.generate(CHAT, sampling)


async def test_a_control_token_in_a_text_is_not_sent() -> None:
    async with opened(server := ChatServer(FULL, script)) as engine:
        before = len(server.bodies)
        with pytest.raises(ItemError, match="control_token"):
            await engine.generate(Chat((Message("user", "a<|im_end|>b"),)), GREEDY)
        assert len(server.bodies) == before


async def test_the_end_of_a_beginning_is_left_to_the_model() -> None:
    """A trailing blank is not sent: no tokenizer writes a word behind a lone one."""
    server = ChatServer(FULL, lambda asked, seed: " one two" if asked.prefill else WORDS)
    async with server.serving() as url:
        settings = EngineSettings(
            kind="chat", model="m", url=url, continues="continue_final_message"
        )
        engine = await open_engine(settings, heal=True)
        (done,) = (await engine.generate(CHAT, Sampling())).completions
        await engine.close()
    assert server.bodies[-1]["messages"][-1]["content"] == "Step 1:"
    assert (done.text, done.after(CHAT.prefill)) == ("one two", "Step 1: one two")


async def test_a_blank_that_the_model_does_not_write_is_forced() -> None:
    """Some tokenizers join it to the colon: without it, the beginning is another one."""
    server = ChatServer(FULL, lambda asked, seed: script(asked, seed).lstrip())
    async with opened(server) as engine:
        assert engine.found == replace(SEEDED, blanks=True)
        assert engine.uncut("Step 1: ") == len("Step 1: ")


TROUBLES = {
    "500": refuses(500), "503": refuses(503), "429": refuses(429), "529": refuses(529),
    "a_cut_reply": cut, "a_lost_connection": gone, "no_samples": says({"choices": []}),
    "an_error_with_200": says({"error": "x"}), "another_json": says([1]),
    "no_text": says({"choices": [{"index": 0, "message": {}, "finish_reason": "stop"}]}),
    "an_unfinished_sample": says(
        {"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": None}]}
    ),
}  # fmt: skip


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
async def test_trouble_is_tried_again_and_fails_in_the_end(trouble: Act) -> None:
    async with opened(server := ChatServer(FULL, script)) as engine:
        server.troubles = [trouble]
        (done,) = (await engine.generate(CHAT, GREEDY)).completions
        assert done.text == "one two three four five six"
        server.troubles = [trouble] * 9
        with pytest.raises(EngineFailed, match="failed 3 times"):
            await engine.generate(CHAT, GREEDY)


@pytest.mark.parametrize(
    ("message", "finish", "text", "ended", "thought"),
    [
        pytest.param({"content": "a"}, "eos", "a", "stop", "", id="as_together_says_it"),
        pytest.param(
            {"content": None, "reasoning_content": "I"}, "length", "", "length", "I",
            id="cut_in_its_thoughts",
        ),
        pytest.param(
            {"content": "a", "reasoning": "I think"}, "stop", "a", "stop", "I think",
            id="thoughts_kept_apart",
        ),
    ],
)  # fmt: skip
async def test_answers_of_other_manners_are_read(
    message: dict[str, Any], finish: str, text: str, ended: str, thought: str
) -> None:
    async with opened(server := ChatServer(FULL, script)) as engine:
        answer = {"index": 0, "message": message, "finish_reason": finish}
        server.troubles = [says({"choices": [answer]})]
        (done,) = (await engine.generate(CHAT, GREEDY)).completions
    assert (done.text, done.finish_reason, done.thought) == (text, ended, thought)


async def test_a_wait_that_the_server_asks_for_is_obeyed() -> None:
    async with opened(server := ChatServer(FULL, script)) as engine:
        server.troubles = [refuses(429, **{"Retry-After": "45"})]
        await engine.generate(CHAT, GREEDY)
    assert server.pauses == [45.0]


async def test_a_prompt_that_the_servers_filter_withholds_is_the_items_trouble() -> None:
    async with opened(server := ChatServer(FULL, script)) as engine:
        server.troubles = [refuses(400, "code: content_filter")]
        with pytest.raises(ItemError, match="filtered"):
            await engine.generate(CHAT, GREEDY)
        answer = {"index": 0, "message": {"content": ""}, "finish_reason": "content_filter"}
        server.troubles = [says({"choices": [answer]})]
        with pytest.raises(ItemError, match="filtered"):
            await engine.generate(CHAT, GREEDY)


async def test_fewer_are_in_flight_while_the_server_has_too_much_to_do() -> None:
    async with opened(server := ChatServer(FULL, script), max_in_flight=64, retries=3) as engine:
        admission = engine._server.admission
        before = admission.capacity
        server.troubles = [refuses(429)] * 3
        reply = await engine.generate(CHAT, Sampling(n=200, max_tokens=2, seed=1))
        assert len(reply.completions) == 200
        assert before // 8 <= admission.capacity < 64
        assert admission.in_flight == 0


def test_what_was_in_flight_together_halves_the_number_once() -> None:
    pace = Pace(64, start=16)
    together = [pace.begin() for _ in range(16)]
    for request in together[:5]:
        pace.crowded(request)
    assert pace.allowed == 8
    pace.crowded(pace.begin())
    assert pace.allowed == 4
    for _ in range(4):
        pace.answered()
    assert pace.allowed == 5, "and grows by an eighth, at least one, a round"


def test_without_trouble_the_number_doubles_each_round_up_to_its_limit() -> None:
    pace, seen = Pace(100, start=16), []
    for _ in range(400):
        pace.answered()
        seen.append(pace.allowed)
    assert sorted(set(seen)) == [16, 32, 64, 100]


async def test_requests_go_to_the_key_with_the_least_to_do_and_one_that_is_refused_rests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FIRST_KEY", "secret-a")
    monkeypatch.setenv("SECOND_KEY", "secret-b")
    names = ("FIRST_KEY", "SECOND_KEY")
    async with opened(server := ChatServer(FULL, script), api_key_env=names) as engine:
        await engine.generate(CHAT, Sampling(n=20, max_tokens=3, seed=2))
        assert set(server.keys) == {"secret-a", "secret-b"}
        server.troubles = [refuses(429, **{"Retry-After": "30"})]
        server.keys.clear()
        await engine.generate(CHAT, GREEDY)
        await engine.generate(CHAT, GREEDY)
    refused, *others = server.keys
    assert set(others) == {"secret-a", "secret-b"} - {refused}
    assert max(server.pauses) < 1, "nobody waits while another key is free"


async def test_a_key_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRONG_KEY", "secret-wrong")
    async with ChatServer(FULL, script, key="secret-right").serving() as url:
        settings = EngineSettings(kind="chat", model="m", url=url, api_key_env="WRONG_KEY")
        with pytest.raises(ConfigurationError, match=r"key: \$WRONG_KEY") as refused:
            await ChatEngine.open(settings)
    assert "secret" not in f"{refused.value} {settings!r}"


async def test_a_variable_that_is_not_set_is_named_before_anything_is_asked() -> None:
    assert "NO_SUCH_KEY" not in os.environ
    settings = EngineSettings(kind="chat", model="m", url="http://x", api_key_env="NO_SUCH_KEY")
    with pytest.raises(ConfigurationError, match="NO_SUCH_KEY is not set: export it"):
        await ChatEngine.open(settings)


async def test_further_fields_are_sent_with_each_request() -> None:
    options = {"reasoning_effort": "low", "chat_template_kwargs.enable_thinking": False}
    async with opened(server := ChatServer(FULL, script), options=options) as engine:
        await engine.generate(CHAT, GREEDY)
    for body in server.bodies:
        assert body["reasoning_effort"] == "low"
        assert body["chat_template_kwargs"] == {"enable_thinking": False}


async def test_a_model_that_the_server_does_not_have_is_said_with_those_that_it_has() -> None:
    async with ChatServer(FULL, script).serving() as url:
        with pytest.raises(ConfigurationError, match=re.escape("no model 'x', only: m")):
            await ChatEngine.open(EngineSettings(kind="chat", model="x", url=url))


async def test_the_longest_wish_is_bounded() -> None:
    async with opened(server := ChatServer(FULL, script)) as engine:
        server.troubles = [refuses(429, **{"Retry-After": "1e9"})]
        await engine.generate(CHAT, GREEDY)
    assert server.pauses == [LONGEST_WISH_S]
