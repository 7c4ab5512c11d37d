"""datatrove's inference runner: chat route, checkpoints of 100 documents, JSON lines out."""

from __future__ import annotations

from typing import Any

from datatrove.data import Document
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
from datatrove.pipeline.writers import JsonlWriter
from task import FLIGHT, MODEL, arguments, prompt_of


async def ask(document: Document, generate: Any) -> Any:
    """One request."""
    return await generate({"messages": [{"role": "user", "content": document.text}]})


def main() -> None:
    """Start or continue."""
    given = arguments()
    runner = InferenceRunner(
        rollout_fn=ask,
        config=InferenceConfig(
            server_type="endpoint",
            model_name_or_path=MODEL,
            endpoint_url=given.url.removesuffix("/v1"),
            max_concurrent_generations=FLIGHT,
            server_ready_delay_sec=0.1,
        ),
        output_writer=JsonlWriter(
            str(given.out / "rows"), output_filename="${rank}_chunk_${chunk_index}.jsonl"
        ),
        checkpoints_local_dir=str(given.out / "checkpoints"),
        records_per_chunk=100,
    )
    documents = [Document(text=prompt_of(row), id=str(row)) for row in range(given.rows)]
    LocalPipelineExecutor(
        [documents, runner], tasks=1, workers=1, logging_dir=str(given.out / "logs")
    ).run()


if __name__ == "__main__":
    main()
