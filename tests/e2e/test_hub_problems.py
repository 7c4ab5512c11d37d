"""Problems of the hub, in a process of its own, from a stand-in that speaks its HTTP."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.hub_server import Hub, serving
from tests.support.published import ROWS, rows_of

ROOT = Path(__file__).parents[2]
NOBODY = "http://127.0.0.1:9"
CARD = """\
---
configs:
- config_name: main
  data_files:
  - split: train
    path: main/train-*
  - split: test
    path: main/test-*
- config_name: socratic
  data_files: socratic/train-*
---
"""


def parquet(rows: list[dict[str, object]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    gsm8k, math = rows_of("gsm8k"), rows_of("math500")
    stand_in = Hub()
    part = "00000-of-00001.parquet"
    stand_in.push(
        "openai/gsm8k",
        {
            "README.md": CARD.encode(),
            f"main/train-{part}": parquet(gsm8k),
            f"main/test-{part}": parquet(gsm8k[:5]),
            f"socratic/train-{part}": parquet(gsm8k),
        },
    )
    stand_in.push("own/math", {"README.md": b"MATH", f"data/test-{part}": parquet(math)})
    with serving(stand_in):
        yield stand_in


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hub")


def problems(url: str, endpoint: str, home: Path, offline: str = "") -> tuple[int, str, str]:
    told = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_OFFLINE": offline}
    done = subprocess.run(
        [sys.executable, "-m", "launch", "problems", url],
        cwd=ROOT,
        env=os.environ | told,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("hf://datasets/own/math", f"split test: read as MATH-500 | {ROWS} problems"),
        ("hf://datasets/openai/gsm8k?config=main",
         f"split train (also there: test): read as GSM8K | {ROWS} problems"),
        ("hf://datasets/openai/gsm8k?config=main&split=test", "5 rows, 5 problems"),
        ("hf://datasets/openai/gsm8k/main/test-00000-of-00001.parquet", "5 rows, 5 problems"),
    ],
)  # fmt: skip
def test_a_dataset_is_read_with_its_split_said(url: str, said: str, hub: Hub, home: Path) -> None:
    code, out, error = problems(url, hub.url, home)
    assert (code, error) == (0, "")
    for part in said.split(" | "):
        assert part in out


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("hf://datasets/openai/gsm8k", "has the configurations main, socratic: add ?config="),
        ("hf://datasets/own/math?split=train", "has no split 'train', only test"),
        ("hf://datasets/no/such", "the hub has no dataset no/such: correct its name, or set HF_T"),
        ("hf://datasets/own/math/absent.csv", "it has no absent.csv"),
    ],
)
def test_what_the_hub_has_not_is_one_line(url: str, said: str, hub: Hub, home: Path) -> None:
    code, out, error = problems(url, hub.url, home)
    assert (code, out) == (2, "")
    assert error.startswith(f"stepmill: {url}: {said}")
    assert error.count("\n") == 1


def test_without_a_network_it_is_one_line_at_once_and_what_was_fetched_is_read(
    hub: Hub, home: Path, tmp_path: Path
) -> None:
    url = "hf://datasets/own/math"
    code, out, error = problems(url, NOBODY, tmp_path)
    assert (code, out) == (2, "")
    assert "can't be reached" in error
    assert error.endswith("or set HF_HUB_OFFLINE=1 to read what was fetched before\n")
    assert error.count("\n") == 1
    code, out, error = problems(url, NOBODY, tmp_path, offline="1")
    assert (code, out) == (2, "")
    assert "HF_HUB_OFFLINE is set" in error
    assert problems(url, hub.url, home)[0] == 0
    code, out, error = problems(url, NOBODY, home, offline="1")
    assert (code, error) == (0, "")
    assert f"{ROWS} problems" in out
