"""ray.data: own map_batches with aiohttp in an actor, Parquet blocks out."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import ray
from task import FLIGHT, MODEL, arguments, prompt_of


class Ask:
    """A batch of rows at a time."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Rows with their answers."""
        return batch | {"text": asyncio.run(self._all([int(row) for row in batch["id"]]))}

    async def _all(self, rows: list[int]) -> list[str]:
        room = asyncio.Semaphore(FLIGHT)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def one(row: int) -> str:
                body = {"model": MODEL, "messages": [{"role": "user", "content": prompt_of(row)}]}
                url = f"{self._url}/chat/completions"
                async with room, session.post(url, json=body) as response:
                    text: str = (await response.json())["choices"][0]["message"]["content"]
                    return text

            return await asyncio.gather(*(one(row) for row in rows))


def main() -> None:
    """Start; it can't continue."""
    given = arguments()
    ray.init(address="local", num_cpus=2, include_dashboard=False)
    rows = ray.data.range(given.rows, override_num_blocks=max(1, given.rows // 500))
    answered = rows.map_batches(
        Ask, fn_constructor_args=(given.url,), batch_size=500, concurrency=1
    )
    answered.write_parquet(str((given.out / "rows").resolve()))


if __name__ == "__main__":
    main()
