"""One contract, six backends: scripted, vLLM in process, a real `vllm serve` by its completions and
by its chat route, and stand-ins for chat servers that lack much (`tests.support.chat_server`).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from actors.engines.contract import Chat, Engine, EngineSettings, Reply, Sampling
from actors.engines.scripted import ScriptedEngine
from actors.engines.served.capabilities import Capabilities
from actors.engines.served.chat import ChatEngine
from actors.engines.served.endpoint import EndpointEngine
from actors.engines.vllm import VllmEngine
from storage.errors import EngineFailed, ItemError
from storage.rows.records import Message
from tests.support.chat_server import FULL, LLAMA, ChatServer, Manner
from tests.support.served_model import served
from tests.support.tiny_model import make_tiny_model

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

CONTEXT = 512
GREEDY = Sampling(max_tokens=24, temperature=0.0)
SCRIPT = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho " * 3
)


@dataclass
class Backend:
    """An engine under test; `real` ones run the tiny model."""

    engine: Engine
    real: bool


def chat(content: str = "What is 2 + 3?", prefill: str = "Step 1: ") -> Chat:
    return Chat((Message("system", "Be brief."), Message("user", content)), prefill)


def script(asked: Chat, seed: int) -> str:
    """Goes on where the prefill ends; which words it uses depends on the seed."""
    words = (
        SCRIPT if seed == 0 else " ".join(f"w{(seed * 7919 + i * 31) % 1000}" for i in range(60))
    )
    said = asked.prefill.removeprefix("Step 1: ")
    return words.removeprefix(said)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"), context=CONTEXT)


def settings(model: Path, **more: object) -> EngineSettings:
    return EngineSettings(
        model=str(model), dtype="float32", part=3, cpu_threads=1, max_in_flight=32,
        options={"enforce_eager": True}, **more,
    )  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def vllm_engine(model: Path) -> AsyncIterator[VllmEngine]:
    engine = await VllmEngine.open(settings(model))
    yield engine
    await engine.close()


@pytest.fixture(scope="module")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real `vllm serve`; the URL of its API once it is healthy."""
    with served(model, "tiny", tmp_path_factory.mktemp("serve") / "log") as url:
        yield url


def endpoint_settings(server: str, model: Path) -> EngineSettings:
    return EngineSettings(
        kind="endpoint",
        model="tiny",
        url=server,
        tokenizer=str(model),
        part=3,
        max_in_flight=32,
        retries=1,
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def endpoint_engine(server: str, model: Path) -> AsyncIterator[EndpointEngine]:
    engine = await EndpointEngine.open(endpoint_settings(server, model))
    yield engine
    await engine.close()


def chat_settings(server: str, **more: object) -> EngineSettings:
    return EngineSettings(
        kind="chat", url=server, part=3, max_in_flight=32, retries=1, **more,
    )  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chat_engine(server: str) -> AsyncIterator[ChatEngine]:
    engine = await ChatEngine.open(chat_settings(server, model="tiny"))
    yield engine
    await engine.close()


async def stand_in(manner: Manner) -> AsyncIterator[ChatEngine]:
    async with ChatServer(manner, script, context=CONTEXT).serving() as url:
        engine = await ChatEngine.open(chat_settings(url, model="m"))
        yield engine
        await engine.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def full_engine() -> AsyncIterator[ChatEngine]:
    async for engine in stand_in(FULL):
        yield engine


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def llama_engine() -> AsyncIterator[ChatEngine]:
    async for engine in stand_in(LLAMA):
        yield engine


@pytest.fixture(
    scope="module",
    params=[
        "scripted",
        "full",
        "llama",
        pytest.param("vllm", marks=pytest.mark.engine),
        pytest.param("endpoint", marks=pytest.mark.engine),
        pytest.param("chat", marks=pytest.mark.engine),
    ],
)
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == "scripted":
        limits = EngineSettings(kind="scripted", part=3, max_in_flight=32, max_model_len=CONTEXT)
        return Backend(ScriptedEngine(script, limits), real=False)
    real = request.param not in ("full", "llama")
    return Backend(request.getfixturevalue(f"{request.param}_engine"), real)


async def texts(engine: Engine, asked: Chat, sampling: Sampling) -> list[str]:
    return [done.text for done in (await engine.generate(asked, sampling)).completions]


async def test_a_reply_has_exactly_the_samples_asked_for(backend: Backend) -> None:
    reply = await backend.engine.generate(chat(), Sampling(n=7, max_tokens=12, seed=5))
    assert len(reply.completions) == 7
    for done in reply.completions:
        assert done.finish_reason in ("stop", "length")
        assert 0 < done.tokens <= 12
    assert reply.prompt_tokens > 0


async def test_the_same_seed_repeats_the_same_samples_and_another_gives_others(
    backend: Backend,
) -> None:
    wanted = Sampling(n=4, max_tokens=20, seed=1234)
    first = await texts(backend.engine, chat(), wanted)
    again = await texts(backend.engine, chat(), wanted)
    other = await texts(backend.engine, chat(), Sampling(n=4, max_tokens=20, seed=99))
    assert first == again
    assert len(set(first + other)) == 8


async def test_sample_i_of_a_request_is_the_sample_of_seed_plus_i_alone(backend: Backend) -> None:
    together = await texts(backend.engine, chat(), Sampling(n=5, max_tokens=20, seed=40))
    alone = [
        (await texts(backend.engine, chat(), Sampling(n=1, max_tokens=20, seed=40 + i)))[0]
        for i in range(5)
    ]
    assert together == alone


async def test_seeds_run_on_past_the_end_of_the_seed_space(backend: Backend) -> None:
    last = (1 << 31) - 1
    wrapped = await texts(backend.engine, chat(), Sampling(n=2, max_tokens=20, seed=last))
    first = await texts(backend.engine, chat(), Sampling(n=1, max_tokens=20, seed=last))
    assert wrapped[:1] == first


async def test_a_sample_that_reaches_the_limit_is_cut_there(backend: Backend) -> None:
    (done,) = (await backend.engine.generate(chat(), GREEDY)).completions
    assert (done.finish_reason, done.stop_string, done.tokens) == ("length", None, 24)


@pytest.mark.parametrize("include", [False, True])
async def test_the_first_stop_string_ends_the_text_and_is_named(
    backend: Backend, include: bool
) -> None:
    (whole,) = await texts(backend.engine, chat(), GREEDY)
    at = next(i for i in range(6, len(whole)) if whole.find(whole[i : i + 3]) == i)
    stop, later = whole[at : at + 3], whole[at + 4 : at + 7]
    wanted = Sampling(
        max_tokens=24, temperature=0.0, stop=("never seen", later, stop), include_stop=include
    )
    (done,) = (await backend.engine.generate(chat(), wanted)).completions
    assert done.text == whole[:at] + (stop if include else "")
    assert (done.finish_reason, done.stop_string) == ("stop", stop)


async def test_a_prefill_is_continued_as_if_the_model_had_written_it(backend: Backend) -> None:
    (whole,) = await texts(backend.engine, chat(), GREEDY)
    cut = whole.rindex(whole[len(whole) // 2])
    (rest,) = await texts(backend.engine, chat(prefill="Step 1: " + whole[:cut]), GREEDY)
    assert rest.startswith(whole[cut:])


async def test_log_probabilities_come_with_every_token_most_likely_first(
    backend: Backend,
) -> None:
    wanted = Sampling(max_tokens=10, temperature=0.0, logprobs=4)
    (done,) = (await backend.engine.generate(chat(), wanted)).completions
    assert len(done.logprobs) == done.tokens == 10
    for row in done.logprobs:
        assert row.logprob <= 0
        assert row.top[0] == pytest.approx((row.token, row.logprob)), "greedy takes the likeliest"
        assert [value for _, value in row.top] == sorted((v for _, v in row.top), reverse=True)
    if backend.real:
        assert all(1 < len(row.top) <= 4 for row in done.logprobs)


async def test_without_log_probabilities_none_are_sent(backend: Backend) -> None:
    (done,) = (await backend.engine.generate(chat(), GREEDY)).completions
    assert done.logprobs == ()


async def test_a_prompt_that_fills_the_context_is_the_items_own_trouble(backend: Backend) -> None:
    with pytest.raises(ItemError, match="too_long"):
        await backend.engine.generate(chat("long " * CONTEXT), GREEDY)


async def test_a_limit_beyond_the_context_is_cut_to_it(backend: Backend) -> None:
    long = "w " * (150 if backend.real else CONTEXT - 40)
    wanted = Sampling(max_tokens=5000, temperature=0.0)
    (done,) = (await backend.engine.generate(chat(long), wanted)).completions
    assert done.tokens < CONTEXT


async def test_many_chats_in_flight_each_get_their_own_reply(backend: Backend) -> None:
    asked = [chat(f"Question {i}?") for i in range(24)]
    alone = [await texts(backend.engine, one, GREEDY) for one in asked[::6]]
    at_once = await asyncio.gather(*(texts(backend.engine, one, GREEDY) for one in asked))
    assert at_once[::6] == alone


async def test_more_seeded_prompt_tokens_than_a_step_takes_do_no_harm(backend: Backend) -> None:
    """Cut into chunks, a seeded prompt would crash vLLM on a CPU."""
    asked = [chat(f"{i} " + "long " * 80) for i in range(24)]
    wanted = Sampling(n=2, max_tokens=8, seed=3)
    at_once = await asyncio.gather(*(texts(backend.engine, one, wanted) for one in asked))
    assert at_once[5] == await texts(backend.engine, asked[5], wanted)


async def test_a_cancelled_caller_leaves_room_for_the_others(backend: Backend) -> None:
    long = Sampling(n=32, max_tokens=300, seed=1)
    calls = [asyncio.create_task(backend.engine.generate(chat(str(i)), long)) for i in range(4)]
    await backend.engine.generate(chat(), Sampling(max_tokens=1))
    for call in calls:
        call.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(one) for one in outcomes} <= {asyncio.CancelledError, Reply}
    assert await texts(backend.engine, chat(), GREEDY)


@pytest.mark.engine
async def test_both_real_backends_write_what_transformers_writes(
    vllm_engine: VllmEngine, endpoint_engine: EndpointEngine, chat_engine: ChatEngine, model: Path
) -> None:
    """Greedy texts over several prompts, prefill included: one prompt, one tokenization."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    reference = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    for number in range(6):
        asked = chat(f"What is {number} + 3?", "Step 1: ")
        turns = [{"role": turn.role, "content": turn.content} for turn in asked.messages]
        prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        inputs = tokenizer(prompt + asked.prefill, return_tensors="pt", add_special_tokens=False)
        with torch.inference_mode():
            written = reference.generate(**inputs, max_new_tokens=24, do_sample=False)
        expected = tokenizer.decode(
            written[0][inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        for engine in (vllm_engine, endpoint_engine, chat_engine):
            assert await texts(engine, asked, GREEDY) == [expected]


@pytest.mark.engine
async def test_the_real_backends_agree_on_sampled_texts_and_log_probabilities(
    vllm_engine: VllmEngine, endpoint_engine: EndpointEngine, chat_engine: ChatEngine
) -> None:
    wanted = Sampling(n=4, max_tokens=16, seed=77, top_p=0.9, top_k=20, logprobs=3)
    ours = await vllm_engine.generate(chat(), wanted)
    served = [await engine.generate(chat(), wanted) for engine in (endpoint_engine, chat_engine)]
    pairs = [
        pair for theirs in served for pair in zip(ours.completions, theirs.completions, strict=True)
    ]
    for one, other in pairs:
        assert (one.text, one.finish_reason, one.tokens) == (
            other.text, other.finish_reason, other.tokens,
        )  # fmt: skip
        for left, right in zip(one.logprobs, other.logprobs, strict=True):
            assert left.logprob == pytest.approx(right.logprob, abs=1e-5)


@pytest.mark.engine
async def test_the_prefix_cache_serves_the_rollouts_of_a_path(vllm_engine: VllmEngine) -> None:
    asked = chat("A question that no other test asks. " * 8)
    await vllm_engine.generate(asked, GREEDY)
    reply = await vllm_engine.generate(asked, Sampling(n=6, max_tokens=2, seed=3))
    assert reply.cached_tokens > reply.prompt_tokens  # most of the prompt, in each part


@pytest.mark.engine
async def test_a_cancelled_request_is_withdrawn_from_the_engine(vllm_engine: VllmEngine) -> None:
    call = asyncio.create_task(
        vllm_engine.generate(chat("?"), Sampling(n=3, max_tokens=400, seed=1))
    )
    while not vllm_engine._llm.get_num_unfinished_requests():
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert vllm_engine._llm.get_num_unfinished_requests() == 0
    assert vllm_engine._admission.in_flight == 0


async def test_a_closed_scripted_engine_refuses_and_closes_twice() -> None:
    await refuses_when_closed(ScriptedEngine(script))


@pytest.mark.engine
async def test_a_closed_endpoint_engine_refuses_and_closes_twice(server: str, model: Path) -> None:
    await refuses_when_closed(await EndpointEngine.open(endpoint_settings(server, model)))


async def refuses_when_closed(engine: Engine) -> None:
    await engine.close()
    await engine.close()
    with pytest.raises(EngineFailed):
        await engine.generate(chat("after the end"), GREEDY)


@pytest.mark.engine
async def test_a_closed_chat_engine_refuses_and_closes_twice(server: str) -> None:
    await refuses_when_closed(await ChatEngine.open(chat_settings(server, model="tiny")))


@pytest.mark.engine
async def test_all_that_vllm_can_do_is_found(chat_engine: ChatEngine) -> None:
    assert chat_engine.found == Capabilities(
        many=True, takes_seed=True, seed=True, takes_more=True, top_k=True, stops="named",
        logprobs=20, continues="continue_final_message", thoughts=True, blanks=True, usage=True,
    )  # fmt: skip


@pytest.mark.engine
@pytest.mark.fault
async def test_a_killed_engine_core_fails_everything_in_flight_and_after(
    vllm_engine: VllmEngine,
) -> None:
    long = Sampling(n=3, max_tokens=400, seed=1)
    calls = [asyncio.create_task(vllm_engine.generate(chat(str(i)), long)) for i in range(8)]
    while vllm_engine._llm.get_num_unfinished_requests() < 8:
        await asyncio.sleep(0)
    (core,) = (
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and "EngineCore" in "".join(child.cmdline())
    )  # other tests' children may be gone and not yet waited for
    core.kill()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [EngineFailed] * 8
    with pytest.raises(EngineFailed):
        await vllm_engine.generate(chat(), GREEDY)
    await refuses_when_closed(vllm_engine)


OWNER = """
import asyncio, sys, time
from actors.engines.contract import Chat, EngineSettings, Sampling
from actors.engines.vllm import VllmEngine
from storage.rows.records import Message

async def main():
    engine = await VllmEngine.open(EngineSettings(
        model=sys.argv[1], dtype="float32", cpu_threads=1, options={"enforce_eager": True}))
    await engine.generate(Chat((Message("user", "hi"),)), Sampling(max_tokens=2))
    print("ready", flush=True)
    await asyncio.Event().wait()

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.engine
@pytest.mark.fault
async def test_no_engine_core_outlives_an_owner_that_is_killed(model: Path, tmp_path: Path) -> None:
    owner_file = tmp_path / "owner.py"
    owner_file.write_text(OWNER)
    root = Path(__file__).parents[2]
    owner = await asyncio.create_subprocess_exec(
        sys.executable, str(owner_file), str(model),
        env=os.environ | {"PYTHONPATH": str(root), "TMPDIR": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert owner.stdout is not None
    assert await owner.stdout.readline() == b"ready\n"
    started = psutil.Process(owner.pid).children(recursive=True)
    assert started, "the engine core is a process of its own"
    owner.kill()
    await owner.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, started, 30)
    for left in alive:
        left.kill()
    assert not alive
