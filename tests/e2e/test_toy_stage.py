"""A stage that no module of ours names: one description and one record, brought by a package.

The package is this file, and a folder that names it as an entry point of `stepmill.stages`. What
makes rows of it are workers on Ray.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from actors.engines.contract import Chat, Engine, Sampling
from actors.workers.contract import ShardResult, process_items
from launch.cli.main import run_command
from storage.bounds import STRICT, Count
from storage.errors import ItemError
from storage.fault_points import VARIABLE
from storage.rows.kinds import PATHS, PROBLEMS, Rows, ShardRows
from storage.rows.records import Message
from storage.rows.records import Path as Solution
from storage.seeds import request_seed
from tests.support.scripted_world import scripted_build, world_problems, write_problems
from workflows.stages.kit import Stage

ROOT = Path(__file__).parents[2]
SCRIPTS = "tests.scripted_models"
ROAD = ["sample", "estimate", "toy", "label", "consensus", "export"]


@dataclass(frozen=True, slots=True)
class Gloss:
    """What a model says of a path."""

    path_id: str
    text: str
    letters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ToySettings:
    """Stage `toy`."""

    __pydantic_config__ = STRICT

    least: Count = 3
    """Letters of a gloss below which its path is dropped."""


class Glosser:
    """Asks for a gloss of every path."""

    def __init__(self, engine: Engine, least: int, seed: int) -> None:
        self._engine, self._least, self._seed = engine, least, seed

    async def run(self, rows: ShardRows) -> ShardResult[Gloss]:
        async def one(path: Solution) -> list[Gloss]:
            chat = Chat((Message("system", "Gloss."), Message("user", path.path_id)))
            seed = request_seed(self._seed, "toy", path.path_id, 0)
            asked = Sampling(temperature=0, top_p=1, top_k=-1, max_tokens=8, n=1, seed=seed)
            (said,) = (await self._engine.generate(chat, asked)).completions
            if len(said.text) < self._least:
                raise ItemError("short_gloss")
            return [Gloss(path.path_id, said.text, len(said.text))]

        chosen = [path for path in rows[PATHS] if path.selected]
        made, drops = await process_items(chosen, lambda path: path.path_id, one)
        return ShardResult(tuple(made), tuple(drops))

    async def close(self) -> None:
        await self._engine.close()


TOY = Stage(
    rows=Rows("toy", Gloss),
    role="judge",
    reads=(PROBLEMS, PATHS),
    says="writes a gloss of every path, and drops those with a short one",
    settings=ToySettings,
    make=lambda kit: Glosser(kit.engine, kit.own.least, kit.seed),
)


def says(chat: Chat, seed: int) -> str:
    """A gloss of as many letters as the path's number has, and two."""
    return "a" * (2 + int(chat.messages[1].content.rpartition("#")[2]) % 3)


class Packaged:
    """A configuration, and processes that find the package."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.package = folder / "package"
        self.store = f"file:{folder}/store"
        about = self.package / "toy-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[stepmill.stages]\ntoy = {__name__}:TOY\n")
        write_problems(world_problems(14), folder / "problems.jsonl")

    def configured(self, name: str, **stages: object) -> str:
        """A file with this road and these settings."""
        body = scripted_build("toyed", {"k_hard": 16, "k_medium": 12, "k_easy": 8, "probe": 8})
        scripts = {role: f"{SCRIPTS}:{role}" for role in ("policy", "completer")}
        models = scripts | {"judge": f"{__name__}:says"}
        body["models"] = {
            role: {"kind": "scripted", "model": script} for role, script in models.items()
        }
        body["cluster"] = {"retry_pause_s": 0.1}
        body["stages"] |= {"road": ROAD, "consensus": {"sources": ["labels"]}} | stages
        (self.folder / name).write_text(json.dumps(body))
        return str(self.folder / name)

    def process(self, *asked: str, fault: str = "", package: bool = True) -> tuple[int, str, str]:
        """A command's exit code and what it wrote, in a process of its own."""
        places = [str(ROOT), *([str(self.package)] if package else [])]
        done = subprocess.run(
            [sys.executable, "-m", "launch", *asked, "--store", self.store],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(places), VARIABLE: fault},
            capture_output=True,
            text=True,
            timeout=240,
        )
        return done.returncode, done.stdout, done.stderr

    def here(self, *asked: str) -> tuple[int, str, str]:
        """The same in this process, for what needs neither Ray nor another process."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = run_command([*asked, "--store", self.store])
        return code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Packaged]:
    """A run that was stopped by its store after the stage, and continued in another process."""
    packaged = Packaged(tmp_path_factory.mktemp("toy"))
    config = packaged.configured("build.yaml", toy={"least": 4})
    code, _, said = packaged.process("build", config, fault="after_data@label/1=fail")
    assert code == 3, said
    code, _, said = packaged.process("resume", "toyed", "--config", config)
    assert code == 0, said
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(packaged.package)
        yield packaged


def stages(packaged: Packaged, run: str) -> dict[str, dict[str, object]]:
    code, out, said = packaged.here("status", run, "--json")
    assert code == 0, said
    return {stage["stage"]: stage for stage in json.loads(out)["stages"]}


def test_a_run_with_it_is_resumed_and_audited_and_what_it_drops_goes_no_further(
    built: Packaged,
) -> None:
    found = stages(built, "toyed")
    kept, (dropped,) = found["toy"]["rows"], found["toy"]["drops"].values()  # type: ignore
    assert kept > 0 < dropped
    assert list(found["toy"]["drops"]) == ["short_gloss"]  # type: ignore[call-overload]
    left = found["label"]
    assert left["rows"] + sum(left["drops"].values()) == kept  # type: ignore
    code, out, _ = built.here("audit", "toyed", "--json")
    assert code == 0, out


def test_its_settings_are_in_the_spec_and_a_wrong_one_is_named_by_its_key(built: Packaged) -> None:
    spec = json.loads((built.folder / "store/runs/toyed/spec.json").read_text())
    assert spec["configuration"]["stages"]["toy"] == {"least": 4}
    assert spec["schemas"]["gloss"] == 1
    for wrong, said in (
        ({"least": -1}, "`stages.toy.least`: "),
        ({"most": 1}, "unknown key `stages.toy.most`"),
        ({"least": True}, "`stages.toy.least`: must be a number, not true"),
    ):
        code, _, error = built.here("build", built.configured("wrong.yaml", toy=wrong))
        assert (code, said in error) == (2, True), error
    code, _, error = built.process("build", str(built.folder / "build.yaml"), package=False)
    assert (code, "no stage 'toy' is known here: install" in error) == (2, True), error


def test_its_rows_are_downloaded_by_its_name_and_the_dataset_is_as_ever(built: Packaged) -> None:
    for view, columns in (
        (["--view", "toy"], [field.name for field in dataclasses.fields(Gloss)]),
        ([], None),
    ):
        folder = built.folder / f"out{len(view)}"
        code, _, said = built.here("download", "toyed", str(folder), *view)
        assert code == 0, said
        tables = [pq.read_table(file) for file in (folder / "data").iterdir()]
        rows = sum(table.num_rows for table in tables)
        assert rows == stages(built, "toyed")["toy" if view else "export"]["rows"]
        assert columns is None or tables[0].column_names == columns
    assert built.here("audit", "toyed")[0] == 0


AFTER = "label, consensus, export"


@pytest.mark.parametrize(("change", "taken", "made", "left"), [
    pytest.param({"label": {"threshold": 0.5}, "toy": {"least": 4}},
                 "problems, sample, estimate, toy", AFTER, "nothing", id="labels"),
    pytest.param({"toy": {"least": 3}},
                 "problems, sample, estimate", "nothing", f"toy, {AFTER}", id="own setting"),
    pytest.param({"road": [stage for stage in ROAD if stage != "toy"]},
                 "problems, sample, estimate", AFTER, "nothing", id="without it"),
])  # fmt: skip
def test_a_derived_run_makes_it_anew_by_its_own_settings_and_what_it_lets_through(
    change: dict[str, object], taken: str, made: str, left: str, built: Packaged
) -> None:
    config = built.configured("derived.yaml", **change)
    name = f"derived-{len(str(change))}"
    build = built.here if left == "nothing" else built.process
    code, _, said = build("build", config, "--run", name, "--from", "toyed")
    assert code == 0, said
    assert f"taken over {taken}; made here {made}; left to the models {left}" in said
    assert built.here("audit", name)[0] == 0
