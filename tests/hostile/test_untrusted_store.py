"""Whoever may write to a store may write a run's documents: what a command then does with them.

Nothing of a store makes a command import code, read a secret or call a place that the store names.
What is damaged, huge, deep or newer ends in one line, with exit code 2 or 3, in bounded time and
memory.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from actors.engines.contract import EngineSettings
from actors.models.identity import model_identity
from launch.cli.main import run_command
from launch.config import load
from storage.errors import ConfigurationError, SpecMismatch
from storage.objects.opening import open_store
from storage.rows import schemas
from storage.rows.parquet import KIND, VERSION, sha256_of, write_parquet
from storage.rows.records import Problem
from storage.runs import layout
from storage.runs.commits import canonical_json, commit_bytes
from storage.runs.layout import launch_key
from storage.runs.run import Run
from tests.support.scripted_world import world_problems, write_problems
from workflows.builds import resume as resuming
from workflows.builds.resume import resume
from workflows.builds.trust import own_settings
from workflows.runs.configuration import RunConfig
from workflows.runs.settling import recalled
from workflows.runs.starting import start_run

Change = Callable[[dict[str, Any]], None]
ROAD = ["sample", "estimate", "label", "consensus", "export"]


def model_folder(folder: Path, weights: str = "weights") -> Path:
    """What stands in the place of a model: a folder with its files, of which none is loaded."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    (folder / "model.safetensors").write_text(weights)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


class Place:
    """A run that was started with two local models, its store, and what continuing it reaches."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, store: Path | None = None) -> None:
        self.folder, self.url = folder, (store or folder / "store").as_uri()
        write_problems(world_problems(4), folder / "problems.jsonl")
        for name in ("policy", "completer"):
            model_folder(folder / "models" / name, name)
        self.file = self.configured()
        start_run(load(self.file), open_store(self.url), None)
        self.reached: list[RunConfig] = []
        patch.setattr(resuming, "continue_at", self._reach)

    def _reach(self, site: Any, run: Run, config: RunConfig) -> Run:
        self.reached.append(config)
        return run

    def configured(self, name: str = "build.yaml", **models: Mapping[str, Any]) -> Path:
        body = {
            "run": "r", "problems": "problems.jsonl", "store": self.url,
            "models": {role: {"model": f"./models/{role}"} for role in ("policy", "completer")}
            | models,
            "stages": {"road": ROAD, "consensus": {"sources": ["labels"]}},
        }  # fmt: skip
        (self.folder / name).write_text(json.dumps(body))
        return self.folder / name

    def altered(self, change: Change) -> None:
        """Rewrite launch.json, as somebody may who has the store."""
        file = self.folder / "store" / launch_key("r")
        body = json.loads(file.read_text())
        change(body)
        file.write_text(json.dumps(body))

    def resume(self, **given: Any) -> RunConfig:
        resume("r", self.url, **given)
        (config,) = self.reached
        return config


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    for name in ("RAY_ADDRESS", "STEPMILL_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path, monkeypatch)


def engine(**values: Any) -> Change:
    return lambda body: body["models"]["policy"].update(values)


def part(name: str, **values: Any) -> Change:
    return lambda body: body[name].update(values)


SERVER = {"kind": "endpoint", "url": "http://stranger.invalid/v1", "model": "policy"}
OBEYED = {
    "a server": (engine(**SERVER), "models.policy asks a server (`url`)"),
    "a server and somebody's secret": (
        engine(**SERVER, api_key_env="AWS_SECRET_ACCESS_KEY"), "(`url`, `api_key_env`)",
    ),
    "a chat server": (engine(**SERVER | {"kind": "chat"}), "models.policy asks a server"),
    "code of the model's own": (
        engine(options={"trust_remote_code": True}), "`options` (trust_remote_code)",
    ),
    "a class to import": (
        engine(options={"worker_cls": "os.system", "distributed_executor_backend": "x.Y"}),
        "`options` (distributed_executor_backend, worker_cls)",
    ),
    "an option that is no word": (engine(options={"\x1b[2J": 1}), "`options` (?)"),
    "a function to call": (engine(kind="scripted", model="os:system"), "`kind: scripted`"),
    "a training elsewhere": (
        engine(model="s3://other/x?endpoint=http://stranger.invalid/trainings/t"),
        "models.policy is a training of another store",
    ),
    "another cluster": (
        part("cluster", ray_address="stranger.invalid:6379"), "cluster.ray_address",
    ),
    "another container engine": (
        part("sandbox", docker_host="tcp://stranger.invalid:2375"), "sandbox.docker_host",
    ),
    "a folder of state": (part("sandbox", state_dir="/tmp/stranger"), "sandbox.state_dir"),
    "the weaker sandbox": (part("sandbox", fallback=True), "sandbox.fallback"),
    "bubblewrap": (part("sandbox", backend="bubblewrap"), "sandbox.backend"),
    "another runtime": (part("sandbox", runtime="none"), "sandbox.runtime"),
}  # fmt: skip


@pytest.mark.parametrize("named", OBEYED)
def test_what_runs_code_or_sends_a_secret_is_not_taken_from_the_store(
    named: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    change, said = OBEYED[named]
    place.altered(change)
    assert run_command(["resume", "r", "--store", place.url]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line and "--config FILE" in line
    assert "stranger" not in line and "SECRET" not in line and "\x1b" not in line
    assert not place.reached
    # The caller's own file is obeyed, whatever the store says.
    assert place.resume(own=own_settings(place.file)).engine("policy").kind == "vllm"


def test_a_run_of_local_models_goes_on_from_its_store_alone(place: Place) -> None:
    config = place.resume()
    assert config.engine("policy").model == str(place.folder / "models" / "policy")


def test_options_that_are_numbers_of_speed_are_taken_from_the_store(place: Place) -> None:
    place.altered(engine(options={"max_num_seqs": 8, "enforce_eager": True}))
    assert place.resume().engine("policy").options == {"max_num_seqs": 8, "enforce_eager": True}


def test_trackers_are_not_taken_from_the_store(place: Place) -> None:
    place.altered(lambda body: body.update(report_to=["wandb"]))
    assert place.resume().report_to == ()


BOUND: dict[str, tuple[Change, str]] = {
    "a stage's setting": (
        lambda body: body["stages"]["sample"].update(cap=3000),
        "configuration.stages.sample.cap: stored 2048, asked for 3000",
    ),
    "the precision": (engine(dtype="half"), "configuration.engines.policy.dtype"),
    "an option that decides texts": (
        lambda body: body["stages"]["estimate"].update(k_hard=17), "estimate.k_hard",
    ),
    "the limits of code": (
        lambda body: body["sandbox"]["limits"].update(memory_mb=100_000),
        "sandbox_limits.memory_mb",
    ),
    "a prompt": (
        lambda body: body.update(prompts={"solve": "{{ problem }}"}), "configuration.prompts",
    ),
    "the road": (
        lambda body: body["stages"].update(road=ROAD[:3]), "stages: stored",
    ),
}  # fmt: skip


@pytest.mark.parametrize("named", BOUND)
def test_what_the_spec_binds_is_checked_field_by_field(named: str, place: Place) -> None:
    change, said = BOUND[named]
    place.altered(change)
    with pytest.raises(SpecMismatch) as refused:
        place.resume()
    assert said in str(refused.value)
    assert not place.reached


@pytest.mark.parametrize("verb", ["resume", "build"])
def test_a_changed_model_folder_is_refused_by_resume_as_by_build(verb: str, place: Place) -> None:
    (place.folder / "models" / "policy" / "model.safetensors").write_text("others")
    with pytest.raises(SpecMismatch, match=r"models.policy: stored"):
        if verb == "resume":
            place.resume()
        else:
            start_run(load(place.file), open_store(place.url), None)


@pytest.mark.parametrize("weights", ["pytorch_model.bin", "model.pt", "model.gguf"])
def test_weights_of_any_form_are_part_of_what_a_model_is(weights: str, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    seen = set()
    for text in ("one", "two"):
        (folder / weights).write_text(text)
        seen.add(model_identity(EngineSettings(model=str(folder))))
    assert len(seen) == 2


def test_code_of_a_models_own_is_part_of_what_it_is_where_it_runs(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    seen: dict[bool, set[str]] = {True: set(), False: set()}
    for text in ("one", "two"):
        (folder / "modeling.py").write_text(text)
        for runs in seen:
            engine = EngineSettings(model=str(folder), options={"trust_remote_code": runs})
            seen[runs].add(model_identity(engine))
    assert (len(seen[True]), len(seen[False])) == (2, 1)


def test_code_from_the_hub_needs_a_commit_that_the_caller_names(place: Place) -> None:
    code = {"model": "org/name", "options": {"trust_remote_code": True}}
    config = load(place.configured("code.yaml", policy=code))
    with pytest.raises(ConfigurationError, match=r"models.policy runs code .*name its `revision`"):
        recalled(config)
    pinned = load(place.configured("code.yaml", policy=code | {"revision": "0" * 40}))
    assert recalled(pinned).engine("policy").revision == "0" * 40


def test_models_that_lie_elsewhere_are_found_by_their_content(place: Place, tmp_path: Path) -> None:
    shutil.move(place.folder / "models", tmp_path / "moved")
    (tmp_path / "moved" / "policy").rename(tmp_path / "moved" / "renamed")
    model_folder(tmp_path / "moved" / "policy", "another one of that name")
    with pytest.raises(ConfigurationError, match=r"policy is policy@.*give `--models FOLDER`"):
        place.resume()
    with pytest.raises(ConfigurationError, match="there is no such folder"):
        place.resume(models=tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match=r"models.policy is policy@\w+, not in .*empty"):
        (tmp_path / "empty").mkdir()
        place.resume(models=tmp_path / "empty")
    config = place.resume(models=tmp_path / "moved")
    assert config.engine("policy").model == str(tmp_path / "moved" / "renamed")
    assert config.engine("completer").model == str(tmp_path / "moved" / "completer")


def test_no_path_of_a_jobs_unpacked_folder_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked = tmp_path / "session/runtime_resources/working_dir_files/_ray_pkg_0a1b"
    unpacked.mkdir(parents=True)
    monkeypatch.chdir(unpacked)
    store = tmp_path / "store"
    job = Place(unpacked, monkeypatch, store)
    assert "_ray_pkg_" not in (store / launch_key("r")).read_text()
    # On the next cluster the job's folder has another name.
    there = tmp_path / "session2/runtime_resources/working_dir_files/_ray_pkg_9f"
    there.parent.mkdir(parents=True)
    unpacked.rename(there)
    monkeypatch.chdir(there)
    resume("r", store.as_uri())
    monkeypatch.chdir(tmp_path)
    resume("r", store.as_uri(), models=there / "models")
    assert [config.engine("policy").model for config in job.reached] == [
        str(there / "models" / "policy")
    ] * 2


def test_a_run_of_servers_goes_on_with_the_callers_file(place: Place) -> None:
    # Its identity is the name that the server knows.
    file = place.configured(
        "served.yaml", policy={"kind": "chat", "model": "m", "url": "http://h/v1"}
    )
    text = file.read_text().replace('"run": "r"', '"run": "served"')
    file.write_text(text)
    start_run(load(file), open_store(place.url), None)
    with pytest.raises(ConfigurationError, match=r"models.policy asks a server"):
        resume("served", place.url)
    resume("served", place.url, own=own_settings(file))
    assert place.reached[0].engine("policy").url == "http://h/v1"
    file.write_text(text.replace('"model": "m"', '"model": "n"'))
    with pytest.raises(SpecMismatch, match=r'models.policy: stored "m", asked for "n"'):
        resume("served", place.url, own=own_settings(file))


DAMAGED: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b"{",
    "no object": b"[]",
    "deep": b'{"models":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep, within Python's bound": b'{"models":' + b"[" * 600 + b"]" * 600 + b"}",
    "newer": b'{"format": 2}',
    "of other types": b'{"models": 7, "stages": [], "run": {}}',
    "not UTF-8": b'{"a": "\xff"}',
    "long numbers": b'{"shard_size": ' + b"9" * 5000 + b"}",
}


BESIDE = ("launch.json", "chain.json", "origin.json", "removed.json", "stopped.json",
          "plans/000000.json")  # fmt: skip
"""Documents that tests/unit/launch/test_hostile_store.py has not."""
DOCUMENTS = (*BESIDE, "spec.json", "_SUCCESS.json", "problems/commits/000000.json",
             "dataset/genprm/SHA256SUMS")  # fmt: skip
VERBS = ("status r", "audit r", "resume r", "compare r", "runs", "download r {folder}/to")


def check_verbs(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Every verb works on the place's store, or ends with 2 or 3 and one line."""
    for verb in VERBS:
        words = verb.format(folder=place.folder).split()
        code = run_command([*words, "--store", place.url])
        check_line(verb, code, *capsys.readouterr())


def check_line(verb: str, code: int, out: str, err: str) -> None:
    lines = [line for line in err.splitlines() if line.strip() and not line.startswith("  ")]
    assert code in (0, 2, 3), verb
    assert len(lines) <= 1 and len(err) < 2_000, f"{verb}: {err}"
    assert code == 0 or lines or (verb.startswith("audit") and out), verb


def written(place: Place, document: str) -> Path:
    file = place.folder / "store" / "runs/r" / document
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


@pytest.mark.parametrize("document", BESIDE)
def test_a_damaged_document_is_one_line(
    document: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds, at = list(DAMAGED.values()), BESIDE.index(document)
    for damaged in (kinds[at], kinds[(at + 3) % 9], kinds[(at + 6) % 9]):
        written(place, document).write_bytes(damaged)
        check_verbs(place, capsys)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_huge_document_is_not_read(
    document: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    with written(place, document).open("wb") as stream:
        stream.truncate(1 << 40)  # a terabyte of nothing
    check_verbs(place, capsys)


def rows_in(place: Place, data: bytes, **changed: Any) -> None:
    """Give the run's input other bytes, under a commit that is signed as ours are."""
    run = Run.open(open_store(place.url), "r")
    digest = sha256_of(data)
    key = layout.data_key("r", "problems", 0, digest)
    store = place.folder / "store"
    (store / key).write_bytes(data)
    commit = dataclasses.replace(
        run.commit("problems", 0), data_key=key, sha256=digest, bytes=len(data)
    )
    body = json.loads(commit_bytes(commit)) | changed
    del body["digest"]
    body["digest"] = hashlib.sha256(canonical_json(body)).hexdigest()
    (store / layout.commit_key("r", "problems", 0)).write_bytes(canonical_json(body))


def problems(kind: str = "problem", version: str = "1", **columns: pa.Array) -> bytes:
    """A Parquet file of problems, some columns of which are others."""
    table = schemas.to_table(Problem, [Problem(f"p{n}", "q", "1") for n in range(4)])
    for name, column in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return write_parquet(table.replace_schema_metadata({KIND: kind, VERSION: version}))


OTHER_ROWS: dict[str, Callable[[], bytes]] = {
    "no Parquet": lambda: b"PAR1 and nothing more",
    "nothing": lambda: b"",
    "cut": lambda: problems()[:-20],
    "another kind": lambda: problems(kind="path"),
    "a kind that is no text": lambda: problems(kind=b"\xff\xfe"),  # type: ignore[arg-type]
    "a version that is no number": lambda: problems(version="one"),
    "a newer version": lambda: problems(version="1000000"),
    "numbers for texts": lambda: problems(problem=pa.array([1, 2, 3, 4])),
    "lists for texts": lambda: problems(answer=pa.array([["a"]] * 4)),
    "texts that are no UTF-8": lambda: problems(
        problem=pa.Array.from_buffers(
            pa.string(), 4, pa.array([b"a", b"\xff\xfe", b"\xed\xa0\x80", b""]).buffers()
        )
    ),
    "nothing for texts": lambda: problems(problem_id=pa.array([None] * 4, pa.string())),
    "other columns": lambda: write_parquet(
        pa.table({"x": [1]}).replace_schema_metadata({KIND: "problem", VERSION: "1"})
    ),
    "a column twice": lambda: write_parquet(
        pa.Table.from_arrays(
            [pa.array(["a"])] * 4, names=["problem_id", "problem", "answer", "answer"]
        ).replace_schema_metadata({KIND: "problem", VERSION: "1"})
    ),
    "twenty million equal rows": lambda: write_parquet(
        pa.table(
            {"problem_id": pa.array(["x"]).take(pa.array([0] * 20_000_000, pa.int8()))}
        ).replace_schema_metadata({KIND: "problem", VERSION: "1"})
    ),
}


@pytest.mark.parametrize("named", OTHER_ROWS)
def test_rows_of_another_form_are_one_line(
    named: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    rows_in(place, OTHER_ROWS[named]())
    check_verbs(place, capsys)
    assert run_command(["audit", "r", "--store", place.url]) == 3
    assert "problems/0: data_damaged" in capsys.readouterr().out


SIGNED: dict[str, tuple[dict[str, Any], int, str]] = {
    "one field more": ({"later": {"a": 1}}, 0, ""),
    "what only a newer version can read": ({"needs": ["merged shards"]}, 2, "newer version"),
    "another place": ({"data_key": "../../etc/passwd"}, 3, "names no data"),
    "rows of another type": ({"rows": "7"}, 3, "rows"),
    "no seconds": ({"seconds": None}, 3, "seconds"),
    "deep": ({"counts": {"a": json.loads("[" * 80 + "]" * 80)}}, 3, "levels deep"),
}


@pytest.mark.parametrize("named", SIGNED)
def test_a_commit_that_is_well_signed_and_wrong_is_said(
    named: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    changed, code, said = SIGNED[named]
    rows_in(place, problems(), **changed)
    assert run_command(["status", "r", "--store", place.url]) == code
    err = capsys.readouterr().err
    assert said in err
    check_verbs(place, capsys)


def test_a_plan_of_10_to_the_15_items_ends_in_one_line(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    file = place.folder / "store/runs/r/spec.json"
    body = json.loads(file.read_text())
    body["plan"]["items"] = 10**15
    file.write_text(json.dumps(body))
    check_verbs(place, capsys)
