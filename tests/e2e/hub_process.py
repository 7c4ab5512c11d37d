"""One of several processes of a machine that want a hub's model: an engine, or a training.

python -m tests.e2e.hub_process engine NAME COMMIT
python -m tests.e2e.hub_process train FOLDER

Prints one JSON line: what it said, or how many updates it made.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from actors.engines.contract import Chat, EngineSettings, Sampling
from actors.training.events import Event, Place
from launch.config import load_training
from storage.objects.opening import open_store
from storage.rows.records import Message


async def generate(name: str, commit: str) -> str:
    """Open the engine and ask it something."""
    from actors.engines.vllm import VllmEngine

    settings = EngineSettings(
        model=name, revision=commit, max_model_len=256, max_in_flight=4, cpu_threads=1
    )
    engine = await VllmEngine.open(settings)
    try:
        chat = Chat((Message("system", "Be brief."), Message("user", "1 + 1?")))
        reply = await engine.generate(chat, Sampling(max_tokens=4, temperature=0.0))
    finally:
        await engine.close()
    return reply.completions[0].text


def train(folder: Path) -> int:
    """Train on the run `taught` of the folder's store, as a worker does."""
    from actors.training.loop import train as work
    from tests.support.training_world import prepared
    from workflows.training.start import pinned, start_training

    config = pinned(load_training(folder / "train.yaml"), None)
    training = start_training(config, open_store(config.store))
    said: list[Event] = []
    work(prepared(config, training), Place(0, 1, 0, 1, gpu=False), said.append)
    return said[-1].step


def main() -> None:
    """Do as asked."""
    what, *given = sys.argv[1:]
    done = asyncio.run(generate(*given)) if what == "engine" else train(Path(given[0]))
    print(json.dumps(done))


if __name__ == "__main__":
    main()
