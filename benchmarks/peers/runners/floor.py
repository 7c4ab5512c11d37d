"""The floor: aiohttp, 64 requests in flight, one Parquet file per 100 rows, renamed into place."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pyarrow as pa
import pyarrow.parquet as pq
from task import FLIGHT, arguments, prompt_of

SHARD = 100


async def run(rows: int, url: str, out: Path) -> None:
    """Ask for what no file holds yet."""
    room = asyncio.Semaphore(FLIGHT)
    out.mkdir(parents=True, exist_ok=True)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one(row: int) -> dict[str, object]:
            body = {"model": "m", "messages": [{"role": "user", "content": prompt_of(row)}]}
            async with room, session.post(f"{url}/chat/completions", json=body) as response:
                answer = await response.json()
                return {"row": row, "text": answer["choices"][0]["message"]["content"]}

        async def shard(first: int) -> None:
            target = out / f"{first:06d}.parquet"
            if target.exists():
                return
            answers = await asyncio.gather(
                *(one(r) for r in range(first, min(rows, first + SHARD)))
            )
            partial = target.with_suffix(".partial")
            pq.write_table(pa.Table.from_pylist(answers), partial)
            partial.rename(target)

        ahead = asyncio.Semaphore(2)

        async def bounded(first: int) -> None:
            async with ahead:
                await shard(first)

        await asyncio.gather(*(bounded(first) for first in range(0, rows, SHARD)))


if __name__ == "__main__":
    asked = arguments()
    asyncio.run(run(asked.rows, asked.url, asked.out))
