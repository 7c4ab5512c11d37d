"""A model's folder whose files are damaged, or somebody's trick: one line, at once, and no code."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.engines.contract import EngineSettings
from actors.engines.rendering import ChatRenderer
from actors.models.rewards import KEY, RewardModel, reference_of, reward_model_in
from actors.models.source import ModelSource
from launch.cli.main import run_command
from storage.errors import ConfigurationError, InputError

MODEL = Path(__file__).parents[2] / "demo/models/rationale"
DEEP = '{"a":' + "[" * 200_000 + "]" * 200_000 + "}"
Trick = Callable[[Path], object]


def pipe(place: Path) -> None:
    place.unlink()
    os.mkfifo(place)


def written(text: str) -> Trick:
    return lambda place: place.write_text(text)


def changed(**fields: object) -> Trick:
    return lambda place: place.write_text(json.dumps(json.loads(place.read_text()) | fields))


TRICKS: list[tuple[str, str, Trick]] = [
    ("a deep document", "config.json", written(DEEP)),
    ("a pipe", "config.json", pipe),
    ("a number that is a word", "config.json", changed(num_hidden_layers="x", hidden_size="y")),
    ("a tokenizer without parts", "tokenizer.json", written('{"tokenizer": 1}')),
    ("a deep tokenizer", "tokenizer.json", written(DEEP)),
    ("a template that is no text", "chat_template.jinja", lambda at: at.write_bytes(b"\xff\xfe")),
    ("weights that are a pipe", "model.safetensors", pipe),
]


@pytest.mark.parametrize(("file", "trick"), [t[1:] for t in TRICKS], ids=[t[0] for t in TRICKS])
def test_a_folder_of_tricks_is_refused_in_one_line(
    file: str, trick: Trick, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(MODEL, tmp_path / "model"))
    (folder / file).touch()
    trick(folder / file)
    (tmp_path / "r.jsonl").write_text('{"problem": "1 + 1", "steps": ["2"]}\n')
    words = ["score", str(folder), str(tmp_path / "r.jsonl"), "--store", str(tmp_path / "store")]
    assert run_command(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Traceback" not in said


def test_code_beside_a_tokenizer_is_not_run(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(MODEL, tmp_path / "model"))
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    own = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    changed(**own)(folder / "tokenizer_config.json")
    ChatRenderer.load(EngineSettings(model=str(folder)))
    assert not (folder / "ran").exists()


STORE = "s3://b/p?endpoint=http://stranger:9000"


def test_a_models_folder_has_no_server_of_its_choice_asked() -> None:
    model = RewardModel("implicit", reference=f"{STORE}/trainings/x")
    with pytest.raises(ConfigurationError, match="a server of its own choice: set"):
        reference_of(model, ModelSource("org/name"))
    assert reference_of(model, ModelSource(f"{STORE}/trainings/y")).model == model.reference


@pytest.mark.parametrize("said", [{"reference": 7}, {"separator": []}, {"beta": "x"}, [1], "x"])
def test_a_reward_models_word_of_other_types_is_refused(said: object) -> None:
    body = {"kind": "implicit"} | said if isinstance(said, dict) else said
    with pytest.raises(InputError, match="`stepmill`"):
        reward_model_in({KEY: body}, "m")
