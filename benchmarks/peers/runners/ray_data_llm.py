"""ray.data.llm: its HTTP processor over the chat route, Parquet blocks out."""

from __future__ import annotations

from typing import Any

import ray
from ray.data.llm import HttpRequestProcessorConfig, build_processor
from task import FLIGHT, MODEL, arguments, prompt_of


def asked_of(row: dict[str, Any]) -> dict[str, Any]:
    """The request of one row."""
    messages = [{"role": "user", "content": prompt_of(int(row["id"]))}]
    return {"id": row["id"], "payload": {"model": MODEL, "messages": messages}}


def answered(row: dict[str, Any]) -> dict[str, Any]:
    """What is stored of one row."""
    return {"id": row["id"], "text": row["http_response"]["choices"][0]["message"]["content"]}


def main() -> None:
    """Start; it can't continue."""
    given = arguments()
    ray.init(address="local", num_cpus=2, include_dashboard=False)
    config = HttpRequestProcessorConfig(
        url=f"{given.url}/chat/completions", batch_size=FLIGHT, concurrency=1
    )
    process = build_processor(config, preprocess=asked_of, postprocess=answered)
    rows = ray.data.range(given.rows, override_num_blocks=max(1, given.rows // 500))
    process(rows).write_parquet(str((given.out / "rows").resolve()))


if __name__ == "__main__":
    main()
