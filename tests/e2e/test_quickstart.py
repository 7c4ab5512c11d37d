"""The two quickstart configurations as they are shipped, against real servers of the demo's models.

Only addresses, names of models and numbers are changed: the demo has a model for each role, and its
texts are short.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.commands import ROOT, environment, stepmill
from tests.support.served_model import served

pytestmark = [
    pytest.mark.engine, pytest.mark.container, pytest.mark.slow, pytest.mark.timeout(2400),
]  # fmt: skip
ROLES = ("policy", "completer", "rationale")
SHORT: dict[str, dict[str, int]] = {
    "sample": {"first_round": 32, "cap": 64, "max_tokens": 256},
    "estimate": {"max_tokens": 256},
    "rationalize": {"max_tokens": 512, "total_tokens": 1900},
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    folder = tmp_path_factory.mktemp("served")
    starting = [served(ROOT / "demo/models" / role, role, folder / f"{role}.log") for role in ROLES]
    with ExitStack() as open_servers, ThreadPoolExecutor(len(ROLES)) as side_by_side:
        urls = side_by_side.map(open_servers.enter_context, starting)
        yield dict(zip(ROLES, urls, strict=True))


@pytest.mark.parametrize("kind", ["chat", "endpoint"])
def test_a_few_problems_become_exported_rows(
    kind: str, servers: Mapping[str, str], tmp_path: Path
) -> None:
    config: dict[str, Any] = yaml.safe_load((ROOT / f"configs/quickstart_{kind}.yaml").read_text())
    config |= {"problems": "problems.jsonl", "limit": 8}
    for role in ROLES:
        model = config["models"][role] | {"url": servers[role], "model": role}
        if kind == "endpoint":
            model["tokenizer"] = str(ROOT / "demo/models" / role)
        config["models"][role] = model
    for stage, numbers in SHORT.items():
        config["stages"][stage] = config["stages"].get(stage, {}) | numbers
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(config))
    world = [sys.executable, "-m", "demo.world", "--out", "problems.jsonl", "--problems", "8"]
    subprocess.run([*world, "--seed", "1"], cwd=tmp_path, env=environment(), check=True)
    built = stepmill(tmp_path, "build", "build.yaml")
    assert built.returncode == 0, built.stderr[-3000:]
    if kind == "chat":
        assert "has n, seeds, top_k, stop strings (named)" in built.stderr
        assert "going on with an answer (continue_final_message)" in built.stderr
    shown = stepmill(tmp_path, "status", config["run"], "--json")
    found = json.loads(shown.stdout)
    assert found["finished"]
    exported = next(stage for stage in found["stages"] if stage["stage"] == "export")
    assert exported["rows"] > 0
