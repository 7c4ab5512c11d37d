"""The engine contract: text in, text out.

Backends: `vllm` (in process, CPU or GPU), `endpoint` (the completions route of any
OpenAI-compatible server), `chat` (the chat route of one), `scripted` (deterministic, with a latency
model). They differ in speed, never in meaning: the same chat, sampling parameters and seed ask for
the same samples. What a chat server lacks is made up for or refused
(`actors.engines.served.capabilities`).

Invariant: a crash, a lost connection or a malformed reply is `EngineFailed`, never an empty text;
a reply has exactly `n` completions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Literal, Protocol

from pydantic import AfterValidator

from actors.engines.served.keys import named
from storage.bounds import Count, Part, Plain, Positive, Seconds, ServerUrl, Share
from storage.rows.records import Message

IN_FLIGHT = 512
"""Sequences at once on one engine, where nothing else is asked for."""
Precision = Literal["auto", "half", "float16", "bfloat16", "float", "float32"]
"""What vLLM takes as `dtype`."""
SEED_SPACE = 1 << 31
"""Seeds of samples lie in [0, SEED_SPACE), as `storage.seeds.request_seed` makes them."""


class Refusal(StrEnum):
    """Why a model can't be asked about an item; closed."""

    TOO_LONG = "too_long"
    """What it would be asked leaves no room for an answer in its context."""
    CONTROL_TOKEN = "control_token"
    """A text holds a control token of the model that its tokenizer can't write as text."""
    FILTERED = "filtered"
    """The server's filter withheld the prompt from the model, or its answer from us."""


@dataclass(frozen=True, slots=True)
class Chat:
    """Messages and the beginning of the assistant's turn that the model must continue."""

    messages: tuple[Message, ...]
    prefill: str = ""
    thought_ends: bool = False
    """Whether the last `</think>` of the prefill ends the model's thinking; other control tokens in
    messages and prefill are text, but for a `<think>` that opens the prefill."""

    @classmethod
    def of(cls, system: str, user: str, prefill: str) -> Chat:
        """A system sentence, a user's turn, and how the assistant's turn begins."""
        return cls((Message("system", system), Message("user", user)), prefill)

    @property
    def user(self) -> str:
        """The turn that is answered."""
        return self.messages[-1].content

    def turns(self) -> list[dict[str, str]]:
        """The messages as chat templates take them."""
        return [{"role": turn.role, "content": turn.content} for turn in self.messages]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample.

    `seed` is the seed of the request: with `n` > 1 sample i uses (seed + i) mod SEED_SPACE.
    """

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    """-1: off."""
    max_tokens: int = 2048
    stop: tuple[str, ...] = ()
    include_stop: bool = False
    """Keep the stop string at the end of the text."""
    seed: int = 0
    logprobs: int = 0
    """Number of top log-probabilities wanted per generated token; 0: none."""

    def parts(self, size: int) -> Iterator[Sampling]:
        """This request cut into requests of at most `size` samples, with unchanged seeds.

        Small parts keep an engine's queue balanced; a part never runs over the end of the seed
        space, so that an engine may simply add i to the seed of a part.
        """
        if 0 < self.n <= size and 0 <= self.seed <= SEED_SPACE - self.n:
            yield self
            return
        done = 0
        while done < self.n:
            seed = (self.seed + done) % SEED_SPACE
            count = min(size, self.n - done, SEED_SPACE - seed)
            yield replace(self, n=count, seed=seed)
            done += count


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One generated token with the most likely alternatives at its position."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled continuation; `text` goes on behind the prefill, and does not include it."""

    text: str
    finish_reason: str
    """`stop` (end of turn or a stop string) or `length` (cut at the token limit)."""
    stop_string: str | None
    """The stop string that ended it; None for the end of the turn."""
    tokens: int
    logprobs: tuple[TokenLogprob, ...] = ()
    rewound: int = 0
    """Characters at the end of the prefill that `text` replaces (`actors.engines.healing`)."""
    thought: str | None = None
    """What the model thought, kept apart from `text` by a chat server ("": nothing); None: the
    engine keeps nothing apart, and thoughts stand in `text`."""

    def after(self, prefill: str) -> str:
        """The whole text of the assistant, as it was written."""
        return prefill[: len(prefill) - self.rewound] + self.text


@dataclass(frozen=True, slots=True)
class Reply:
    """What an engine answers to one request."""

    completions: tuple[Completion, ...]
    prompt_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Which model, where and how it is run."""

    kind: Literal["vllm", "endpoint", "chat", "scripted"] = "vllm"
    """`vllm`, `endpoint` (a server's completions route), `chat` (its chat route) or `scripted`; see
    docs/models.md."""
    model: Plain = ""
    """Model folder, hub name (org/name), or training:NAME for what `train` left in the store; for
    `endpoint` and `chat`, the name that the server knows."""
    revision: str | None = None
    """Branch, tag or commit of a hub's model; None: its main branch. Resolved to a commit once,
    when a run is created."""
    url: ServerUrl | None = None
    """Base URL of an OpenAI-compatible server (`endpoint` and `chat`), e.g. http://host:8000/v1."""
    tokenizer: Plain | None = None
    """Folder or name of the tokenizer, where it is not the model's own."""
    tokenizer_revision: str | None = None
    """Branch, tag or commit of a hub's tokenizer."""
    api_key_env: Annotated[str | tuple[str, ...] | None, AfterValidator(named)] = None
    """Environment variable that holds the server's key (`endpoint` and `chat`), or several: each
    request takes the key that has the least to do. The key itself stands nowhere."""
    continues: Literal["auto", "continue_final_message", "prefix", "assistant", "user"] = "auto"
    """How the server goes on with an answer that was begun (`chat` only): by the field
    `continue_final_message`, by `prefix: true` in the last message, because that is the
    assistant's, or not at all: a user's turn asks for the rest. `auto`: what is found to work."""
    max_model_len: Positive | None = None
    """Context length in tokens; None: the model's own."""
    max_in_flight: Positive | None = None
    """Sequences that one engine works on at once; a few more wait inside it. None: 512; for a
    verifier as many of 4,096 tokens as a GPU's KV cache holds, at most 512, and 48 without one."""
    part: Positive = 1
    """Most samples of one request inside the engine; larger requests are cut into parts. A part
    gives its places back when its last sample has ended: with more than one, places of shorter
    samples stand empty meanwhile. For servers that charge, or wait, for each request."""
    tensor_parallel: Positive = 1
    gpu_memory: Share = 0.9
    """Share of GPU memory that the engine may take (GPU only), or all engines of a GPU together."""
    gpu_share: Part | None = None
    """Share of one GPU that the engine takes, of its time and of `gpu_memory`, so that models which
    fit one GPU together stay open beside each other (GPU only); None: whole GPUs."""
    kv_cache_gib: Positive = 1
    """KV cache in GiB (CPU only)."""
    cpu_threads: Positive | None = None
    """Threads of the engine's arithmetic (CPU only); None: all cores but one."""
    timeout_s: Seconds = 600.0
    """Longest wait for one reply of a server (`endpoint` and `chat`)."""
    retries: Count = 6
    """Tries after the first one before a server counts as failed (`endpoint` and `chat`)."""
    dtype: Precision = "auto"
    """Precision of the arithmetic. `auto`, decided once, when a run is created: on GPUs what vLLM
    takes (bfloat16, or float16), on processors float32 unless they multiply bfloat16 themselves."""
    eager: bool | None = None
    """Run the model as it is, without compiling it first (and without CUDA graphs): starts sooner,
    runs slower where the model is large. None: for models so small that it does not pay."""
    batch_invariant: bool = False
    """vLLM's kernels whose results do not depend on what else is in the batch: slower, on NVIDIA
    GPUs of compute capability 8.0 and later (`vllm` only)."""
    options: dict[str, Plain | int | float | bool] = field(default_factory=dict)
    """Further engine arguments, handed through to vLLM; for `chat`, further fields of each request
    (`reasoning_effort: low`, `chat_template_kwargs.enable_thinking: false`)."""

    @property
    def served(self) -> bool:
        """Whether the model is a server's."""
        return self.kind in ("endpoint", "chat")

    @property
    def in_flight(self) -> int:
        """`max_in_flight`, or what it is where it is left open."""
        return self.max_in_flight or IN_FLIGHT

    @property
    def memory_share(self) -> float:
        """Share of each of its GPUs' memory that it may take."""
        return self.gpu_memory * (self.gpu_share or 1.0)

    @property
    def hundredths(self) -> int:
        """Hundredths of each of its GPUs that it takes."""
        return math.ceil(100 * (self.gpu_share or 1.0) - 1e-9)


class Engine(Protocol):
    """Text in, text out."""

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        """Continue `chat`; cancelling the call withdraws the request from the engine.

        Raises EngineFailed; raises ItemError('too_long') for a prompt that leaves no room for a
        token in the context.
        """
        ...

    async def close(self) -> None:
        """Stop the engine and everything it started."""
        ...
