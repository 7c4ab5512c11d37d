"""Identifies a model by names and digests that are the same on every machine.

Invariant: two engines with equal identity and equal `bound` settings sample from the same
distribution. The place of a folder, the number of GPUs and the address of a server do not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from actors.engines.contract import EngineSettings
from actors.models.fetching import tokenizer_of
from actors.models.folder import TOKENIZER_FILES, WEIGHTS, chat_template
from actors.models.source import ModelSource

WHOLE_BELOW = 64 * 1024 * 1024
"""Files smaller than this are hashed whole; of larger ones size and both ends are hashed."""
SAMPLE = 1024 * 1024
FILES = ("*.json", "*.jinja", "*.safetensors", "*.txt", "*.model")
CODE = "trust_remote_code"
"""Option of an engine that lets a model bring code of its own."""
DIGITS = 16

ONLY_SPEED = {
    "async_scheduling": "when the next step is planned",
    "cpu_offload_gb": "where weights wait",
    "disable_log_stats": "what is logged",
    "distributed_executor_backend": "how processes are started",
    "download_dir": "where files are kept",
    "enable_prefix_caching": "whether a known prefix is computed again",
    "enforce_eager": "how kernels are launched, as `eager`",
    "gpu_memory_utilization": "room for the KV cache, as `gpu_memory`",
    "kv_cache_memory_bytes": "room for the KV cache",
    "max_num_batched_tokens": "how much is in one step",
    "max_num_partial_prefills": "how much is in one step",
    "max_num_scheduled_tokens": "how much is in one step",
    "max_num_seqs": "how much is in one step, as `max_in_flight`",
    "max_parallel_loading_workers": "how weights are read",
    "num_gpu_blocks_override": "room for the KV cache",
    "numa_bind": "where processes run",
    "safetensors_load_strategy": "how weights are read",
    "scheduling_policy": "who is first",
    "swap_space": "room for the KV cache",
    "use_tqdm_on_load": "what is shown",
}
"""Entries of `options` that are not bound, each with its effect. They may change the order of
additions only, as another batch size does."""


def model_identity(settings: EngineSettings) -> str:
    """`folder-name@digest` for a folder on disk, `org/name@commit` for a model of the hub, else the
    name.
    """
    if settings.kind != "vllm":
        return settings.model
    source = ModelSource(settings.model, settings.revision)
    if source.folder is None:
        return source.identity
    weights = (set(source.folder.glob(pattern)) for pattern in WEIGHTS)
    files = next(filter(None, weights), set())  # of several forms, the first one is loaded
    patterns = (*FILES, "*.py") if settings.options.get(CODE) else FILES
    files |= {file for pattern in patterns for file in source.folder.glob(pattern)}
    return f"{source.folder.name}@{_digest(file for file in files if file.is_file())}"


def bound(engine: EngineSettings) -> dict[str, Any]:
    """Settings on which a model's output depends, beside its identity, as plain values.

    A tokenizer in a folder is given by the digest of its files, any other by name and revision.
    """
    tokenizer = tokenizer_of(engine)
    template: str | None = tokenizer.identity
    files: str | None = tokenizer.identity
    if engine.kind == "scripted" or (engine.kind == "chat" and engine.tokenizer is None):
        template = files = None
    elif folder := tokenizer.folder:
        text = chat_template(folder)
        template = None if text is None else _short(text.encode())
        files = _digest(folder / name for name in TOKENIZER_FILES if (folder / name).is_file())
    return {
        "max_model_len": engine.max_model_len,
        "dtype": engine.dtype,
        "revision": engine.revision,
        "tokenizer": files,
        "chat_template": template,
        "batch_invariant": engine.batch_invariant,
        "options": {k: v for k, v in engine.options.items() if k not in ONLY_SPEED},
    }


BOUND = tuple(bound(EngineSettings(kind="scripted")))
"""The keys that `bound` returns; older specs lack some of them."""


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.name}\x1f{file.stat().st_size}\x1f".encode())
        digest.update(_content(file))
    return digest.hexdigest()[:DIGITS]


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:DIGITS]


def _content(file: Path) -> bytes:
    size = file.stat().st_size
    if size < WHOLE_BELOW:
        return hashlib.sha256(file.read_bytes()).digest()
    with file.open("rb") as stream:
        head = stream.read(SAMPLE)
        stream.seek(size - SAMPLE)
        return hashlib.sha256(head + stream.read(SAMPLE)).digest()
