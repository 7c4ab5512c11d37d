"""Credentials in URLs, names and messages are refused or hidden, and never repeated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from launch.cli.main import run_command
from launch.config import load
from storage.errors import ConfigurationError
from storage.objects.opening import open_store
from storage.secrecy import hidden, looks_like_key, no_credentials, plain_url, shown_url

KEYS = [
    "sk-abcdef1234567890abcd", "sk-proj-Ab12Cd34Ef56Gh78", "hf_AbCdEfGhIjKlMnOpQr",
    "ghp_0123456789abcdefghij", "AKIAIOSFODNN7EXAMPLE", "xoxb-1234567890-abcdefgh",
    "AIzaSyA1234567890abcdefghijklmnopqrstuv", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
    "wJalrXUtnFEMIK7MDENGbPxRfi1CYEXAMPLE9KEY2",
]  # fmt: skip
PLAIN = [
    "v1", "openai", "Qwen2.5-Math-7B-Instruct", "gpt-4o-mini-2024-07-18", "DeepSeek-R1-0528",
    "sk-learn-a-longer-folder-name", "0123456789abcdef0123456789abcdef",
    "550e8400-e29b-41d4-a716-446655440000", "meta-llama", "training", "e5f6a7b8c9d0e1f2a3b4c5d6",
]  # fmt: skip
SECRET = "hunter2/x+y"
URLS = {
    "a user and a password": f"http://me:{SECRET}@host:8000/v1",
    "a user": "http://hunter2@host:8000/v1",
    "a query": "http://host:8000/v1?api_key=hunter2",
    "a fragment": "http://host:8000/v1#hunter2",
    "a path": f"http://host:8000/{KEYS[2]}/v1",
    "a path, encoded": "http://host:8000/%68f_AbCdEfGhIjKlMnOpQr/v1",
}
STORES = {
    "a user and a password": f"s3://AKIA:{SECRET}@bucket/runs",
    "an endpoint's password": f"s3://bucket/runs?endpoint=http://me:{SECRET}@host:9000",
    "an endpoint's, encoded": "s3://bucket/runs?endpoint=http%3A%2F%2Fme%3Ahunter2%40host",
    "an endpoint's query": "s3://bucket/runs?endpoint=http://host/?key=hunter2",
    "an option": "s3://bucket/runs?hunter2",
    "an option's value": "s3://bucket/runs?secret=hunter2",
    "a style": "s3://bucket/runs?style=hunter2",
    "a fragment": "s3://bucket/runs#hunter2",
    "a prefix": f"s3://bucket/{KEYS[4]}/runs",
    "another scheme": f"gs://me:{SECRET}@bucket/runs",
    "a folder's URL": f"file://me:{SECRET}@host/runs",
    "a folder's query": "file:///tmp/runs?hunter2",
    "one slash too few": f"s3:me:{SECRET}@bucket",
}


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_known_by_its_form(key: str) -> None:
    assert looks_like_key(key)
    if key != KEYS[-1]:  # a word that only its letters give away stays in a sentence
        assert key not in hidden(f"the server said: {key}, no")


@pytest.mark.parametrize("word", PLAIN)
def test_names_of_models_and_folders_are_no_keys(word: str) -> None:
    assert not looks_like_key(word)
    assert hidden(word) == no_credentials(word) == word
    assert plain_url(f"http://host:8000/{word}/v1") == f"http://host:8000/{word}/v1"


@pytest.mark.parametrize("named", URLS)
def test_a_server_whose_url_holds_credentials_is_refused_before_anything_is_written(
    named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = {"kind": "endpoint", "model": "m", "url": URLS[named]}
    roles = ("policy", "completer", "rationale")
    body = {"run": "r", "problems": "p", "store": f"file:{tmp_path}/store",
            "models": dict.fromkeys(roles, engine)}  # fmt: skip
    (tmp_path / "build.yaml").write_text(json.dumps(body))
    with pytest.raises(ConfigurationError, match=r"`models.policy.url`: must"):
        load(tmp_path / "build.yaml")
    assert run_command(["build", str(tmp_path / "build.yaml")]) == 2
    said = capsys.readouterr().err
    assert "hunter2" not in said and KEYS[2] not in said
    assert [file.name for file in tmp_path.iterdir()] == ["build.yaml"]


@pytest.mark.parametrize("named", STORES)
def test_a_store_whose_url_holds_credentials_is_refused_without_them(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as refused:
        open_store(STORES[named])
    assert run_command(["status", "r", "--store", STORES[named]]) == 2
    for said in (str(refused.value), capsys.readouterr().err):
        assert "hunter2" not in said and KEYS[4] not in said


@pytest.mark.parametrize("token", [True, False], ids=["token", "no token"])
@pytest.mark.parametrize("address", [
    "http://me:hunter2@127.0.0.1:1", "me:hunter2@head:8265", "http://127.0.0.1:1/?key=hunter2",
])  # fmt: skip
def test_an_address_with_a_password_is_not_repeated(
    address: str,
    token: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.jsonl").write_text('{"problem": "1 + 1", "answer": "2"}\n')
    engine = {"kind": "chat", "model": "m", "url": "http://127.0.0.1:1/v1"}
    body = {"run": "r", "problems": "p.jsonl", "store": f"file:{tmp_path}/store",
            "models": dict.fromkeys(("policy", "completer", "rationale"), engine)}  # fmt: skip
    (tmp_path / "build.yaml").write_text(json.dumps(body))
    monkeypatch.setenv("HOME", str(tmp_path))
    if token:
        monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    else:
        monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    assert run_command(["submit", "build.yaml", "--address", address]) == 2
    assert "hunter2" not in capsys.readouterr().err


def test_what_is_shown_keeps_the_rest_of_a_url() -> None:
    assert shown_url("http://me:a/b@host:1/x?k=v#f") == "http://…@host:1/x?…"
    assert hidden("no answer from s3://k:s@b/p (GET x)") == "no answer from s3://…@b/p (GET x)"
    assert hidden("hf://datasets/a/b@main and a@b.c") == "hf://datasets/a/b@main and a@b.c"


@pytest.mark.parametrize("name", [
    "AKIAIOSFODNN7EXAMPLE", "sk-abcdef123456", "0123456789ABCDEF0123456789ABCDEF", "ghp_x",
    "A1B2C3D4E5F6A7B8C9",
])  # fmt: skip
def test_the_name_of_a_keys_variable_that_may_be_a_key_is_refused_and_not_repeated(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, "read")
    engine = {"kind": "chat", "model": "m", "url": "http://h/v1", "api_key_env": name}
    body = {"run": "r", "problems": "p", "models": {"policy": engine}}
    (tmp_path / "build.yaml").write_text(json.dumps(body))
    assert run_command(["build", str(tmp_path / "build.yaml")]) == 2
    said = capsys.readouterr().err
    assert "`models.policy.api_key_env`" in said and "name of an environment variable" in said
    assert name not in said and "read" not in said.replace("already", "")


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "KEY2", "AWS_BEARER_TOKEN_BEDROCK", "MYKEY123"])
def test_usual_names_of_variables_are_taken(name: str, tmp_path: Path) -> None:
    engine = {"kind": "chat", "model": "m", "url": "http://h/v1", "api_key_env": name}
    body = {"run": "r", "problems": "p",
            "models": dict.fromkeys(("policy", "completer", "rationale"), engine)}  # fmt: skip
    (tmp_path / "build.yaml").write_text(json.dumps(body))
    assert load(tmp_path / "build.yaml").engine("policy").api_key_env == name
