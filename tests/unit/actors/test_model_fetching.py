"""From a model's name to its files: the hub's commit, what `train` stored, each fetched once."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import constants

from actors.engines.contract import EngineSettings
from actors.models import cache
from actors.models import hub as model_hub
from actors.models.facts import facts_of
from actors.models.fetching import at_hand, resolved, small_files
from actors.models.folder import check_model
from actors.models.identity import model_identity
from actors.models.source import ModelSource
from storage.errors import (
    EngineFailed,
    EngineRefused,
    InputError,
    NothingFound,
    ObjectCorrupt,
    UserError,
)
from storage.objects.local import LocalStore
from storage.trainings.checkpoints import files_in, store_files
from storage.trainings.training import Training, TrainingSpec
from tests.support.hub_server import Hub, serving

CONFIG = json.dumps(
    {"model_type": "qwen2", "torch_dtype": "bfloat16", "num_attention_heads": 4}
).encode()
FILES = {
    "config.json": CONFIG,
    "tokenizer.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
    "model.safetensors": b"w" * 1000,
    "pytorch_model.bin": b"w" * 1000,
    "consolidated.safetensors": b"w" * 1000,
    "README.md": b"# a model",
    "onnx/model.safetensors": b"w",
}
SMALL = {"config.json", "tokenizer.json", "chat_template.jinja"}
NEEDED = SMALL | {"model.safetensors"}
NAME = "org/tiny"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one model, and an empty cache."""
    with serving(Hub()) as served:
        served.push(NAME, FILES, tag="v1")
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        template = served.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("STEPMILL_CACHE", str(tmp_path / "cache"))
        model_hub._reach.cache_clear()
        yield served
        model_hub._reach.cache_clear()


def commit(hub: Hub) -> str:
    found = hub.commit(NAME, "main")
    assert found is not None
    return found


@pytest.mark.parametrize("revision", [None, "main", "v1", "a commit"])
def test_every_spelling_of_a_revision_becomes_the_same_commit(
    revision: str | None, hub: Hub
) -> None:
    asked = commit(hub) if revision == "a commit" else revision
    found = resolved(ModelSource(NAME, asked))
    assert found == ModelSource(NAME, commit(hub))
    assert found.identity == f"{NAME}@{commit(hub)}"
    settings = EngineSettings(model=NAME, revision=found.revision)
    assert model_identity(settings) == found.identity


def test_what_is_resolved_stays_when_the_hub_moves_on(hub: Hub) -> None:
    source = resolved(ModelSource(NAME))
    hub.push(NAME, FILES | {"tokenizer.json": b'{"another": 1}'})
    assert commit(hub) != source.revision
    folder = Path(at_hand(EngineSettings(model=NAME, revision=source.revision)).model)
    assert (folder / "tokenizer.json").read_bytes() == b"{}"


def test_only_what_is_needed_is_fetched_and_once(hub: Hub) -> None:
    settings = EngineSettings(model=NAME, revision=commit(hub))
    folder = Path(at_hand(settings).model)
    assert {file.name for file in folder.iterdir()} == NEEDED
    assert hub.downloads() == dict.fromkeys(NEEDED, 1)
    before = hub.requests.total()
    assert Path(at_hand(settings).model) == folder
    assert hub.requests.total() == before, "a whole model is asked of nobody"


def test_facts_and_tokenizer_take_no_weights_and_leave_them_to_be_fetched(hub: Hub) -> None:
    settings = EngineSettings(model=NAME, revision=commit(hub))
    facts = facts_of(settings)
    assert (facts.dtype, facts.heads, facts.weights_bytes) == ("bfloat16", 4, 1000)
    assert hub.downloads() == dict.fromkeys(SMALL, 1)
    assert (Path(at_hand(settings).model) / "model.safetensors").stat().st_size == 1000
    assert hub.downloads() == dict.fromkeys(NEEDED, 1)


def test_a_tokenizer_of_another_model_is_fetched_without_that_models_weights(hub: Hub) -> None:
    other = hub.push("org/words", FILES)
    settings = EngineSettings(
        model=NAME, revision=commit(hub), tokenizer="org/words", tokenizer_revision=other
    )
    here = at_hand(settings)
    assert here.tokenizer is not None
    assert {file.name for file in Path(here.tokenizer).iterdir()} == SMALL
    assert (here.revision, here.tokenizer_revision) == (None, None)


def test_who_comes_second_waits_for_the_download_of_the_first(hub: Hub) -> None:
    """The processes of a node meet at a file's lock; so do threads, which open it each anew."""
    hub.open.clear()
    waiting = threading.Event()
    settings = EngineSettings(model=NAME, revision=commit(hub))

    def second(done: int, total: int) -> None:
        if not total:
            waiting.set()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(at_hand, settings)
        assert hub.sending.wait(60)
        later = pool.submit(at_hand, settings, second)
        assert waiting.wait(60)
        hub.open.set()
        assert first.result(60) == later.result(60)
    assert hub.downloads() == dict.fromkeys(NEEDED, 1)


def test_bytes_are_told_up_to_the_last(hub: Hub) -> None:
    told: list[tuple[int, int]] = []
    at_hand(EngineSettings(model=NAME, revision=commit(hub)), lambda *at: told.append(at))
    size = sum(len(FILES[name]) for name in NEEDED)
    assert told[-1] == (size, size)


def offline(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(constants, "HF_HUB_OFFLINE", True)
    model_hub._reach.cache_clear()


def gone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    model_hub._reach.cache_clear()


@pytest.mark.parametrize("cut", [offline, gone])
def test_what_is_cached_needs_no_hub(
    cut: Callable[[pytest.MonkeyPatch], None], hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = resolved(ModelSource(NAME))
    at_hand(EngineSettings(model=NAME, revision=before.revision))
    cut(monkeypatch)
    assert resolved(ModelSource(NAME)) == before
    assert at_hand(EngineSettings(model=NAME, revision=before.revision)).revision is None


@pytest.mark.parametrize(
    ("name", "revision", "change", "said"),
    [
        pytest.param("org/absent", None, None, "the hub has no model of that name", id="name"),
        pytest.param(NAME, "v9", None, "the hub has no revision v9 of it", id="revision"),
        pytest.param(NAME, None, "gated", "accept its terms there, and set HF_TOKEN", id="gated"),
        pytest.param(NAME, None, "offline", "HF_HUB_OFFLINE is set", id="offline"),
        pytest.param(NAME, None, "gone", "the hub can't be reached", id="no hub"),
        pytest.param("org/empty", None, None, "it has no weights", id="no weights"),
        pytest.param(NAME, None, "unwritable", "can't be written", id="cache"),
        pytest.param(NAME, None, "full", "GB free: make room there, or set HF_HOME", id="disk"),
    ],
)
def test_what_can_not_be_had_is_said_in_one_line(
    name: str,
    revision: str | None,
    change: str | None,
    said: str,
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub.push("org/empty", {"config.json": CONFIG})
    if change == "gated":
        hub.token = "a secret"
    elif change == "full":
        monkeypatch.setattr(cache, "SPARE_BYTES", 1 << 62)
    elif change == "unwritable":
        (tmp_path / "hub").write_text("a file where the cache would be")
    elif change is not None:
        {"offline": offline, "gone": gone}[change](monkeypatch)
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        at_hand(EngineSettings(model=name, revision=revision))
    assert "\n" not in str(caught.value)
    here = change in ("full", "unwritable")
    assert isinstance(caught.value, EngineRefused if here else InputError)


def test_a_hub_that_is_gone_for_a_while_is_asked_again(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = EngineSettings(model=NAME, revision=commit(hub))
    with monkeypatch.context() as patch:
        gone(patch)
        with pytest.raises(EngineFailed, match="the hub can't be reached"):
            at_hand(settings)
    assert at_hand(settings).revision is None


def test_a_hub_that_stumbles_is_no_fault_of_the_users(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumbles(*given: object, **named: object) -> None:
        raise ConnectionResetError("the other end hung up")

    settings = EngineSettings(model=NAME, revision=commit(hub))
    monkeypatch.setattr(model_hub, "snapshot_download", stumbles)
    with pytest.raises(EngineFailed, match="the hub can't be read: the other end hung up"):
        at_hand(settings)


def test_a_token_opens_what_is_gated(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token = "a secret"
    monkeypatch.setenv("HF_TOKEN", "a secret")
    assert at_hand(EngineSettings(model=NAME, revision=commit(hub))).revision is None


# What `train` left in a store.


def stored(folder: Path, name: str = "taught", files: dict[str, bytes] = FILES) -> str:
    """The URL of a store in which a training ended with these files."""
    made = folder / "made" / name
    for path, data in files.items():
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        (made / path).write_bytes(data)
    store = LocalStore.at(folder / "store")
    training = Training.start(store, name, TrainingSpec("base", "run", "digest", {}))
    parts = store_files(store, training.prefix, made, files_in(made))
    training.commit(parts, 1, {}, final=True)
    return store.url


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("STEPMILL_CACHE", str(tmp_path / "cache"))
    return stored(tmp_path)


def test_what_was_trained_is_named_by_its_store_and_found_there(store: str) -> None:
    source = resolved(ModelSource("training:taught").within(store))
    assert source.name == f"{store}/trainings/taught"
    assert source == resolved(ModelSource(f"{store}/trainings/taught").within("file:///other"))
    assert re.fullmatch(r"taught@[0-9a-f]{16}", source.identity)
    settings = EngineSettings(model=source.name, revision=source.revision)
    check_model(settings)
    assert facts_of(settings).weights_bytes == 3001
    folder = Path(at_hand(settings).model)
    assert files_in(folder) == sorted(FILES)
    assert set(files_in(Path(small_files(source)))) == SMALL | {"README.md"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("training:absent", "no training 'absent' in file://"),
        ("training:begun", "training 'begun' in file://"),
    ],
)
def test_a_training_that_gives_no_model_is_said_in_one_line(
    name: str, said: str, store: str
) -> None:
    Training.start(LocalStore.at(Path(store.removeprefix("file://"))), "begun",
                   TrainingSpec("base", "run", "digest", {}))  # fmt: skip
    with pytest.raises(NothingFound, match=said):
        resolved(ModelSource(name).within(store))


def test_a_url_without_a_training_is_refused(store: str) -> None:
    with pytest.raises(InputError, match="write STORE/trainings/NAME, or training:NAME"):
        ModelSource(store).within(store)


def test_a_part_that_is_damaged_never_becomes_a_model(store: str, tmp_path: Path) -> None:
    source = resolved(ModelSource("training:taught").within(store))
    largest = max((tmp_path / "store").rglob("parts/*"), key=lambda file: file.stat().st_size)
    largest.write_bytes(b"x" * 1000)
    with pytest.raises(ObjectCorrupt):
        at_hand(EngineSettings(model=source.name, revision=source.revision))
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_what_lost_a_file_in_the_cache_is_fetched_again(store: str) -> None:
    source = resolved(ModelSource("training:taught").within(store))
    settings = EngineSettings(model=source.name, revision=source.revision)
    folder = Path(at_hand(settings).model)
    (folder / "model.safetensors").unlink()
    assert files_in(Path(at_hand(settings).model)) == sorted(FILES)


def test_another_model_under_the_same_name_is_not_taken_for_it(store: str, tmp_path: Path) -> None:
    source = resolved(ModelSource("training:taught").within(store))
    other = stored(tmp_path / "other", files=FILES | {"config.json": b"{}"})
    moved = EngineSettings(model=f"{other}/trainings/taught", revision=source.revision)
    with pytest.raises(NothingFound, match="holds another model than this began with"):
        at_hand(moved)
