"""Whom the local server answers: whoever has the address, from the page itself."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from storage.runs.marks import marks_of
from storage.runs.run import Run
from tests.support.page import TOKEN, served
from tests.support.whole_run import finished as build_run

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    from storage.objects.opening import open_store

    return build_run(open_store(f"file://{tmp_path_factory.mktemp('guarded')}"))


@pytest.fixture(scope="module")
def site(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served([run], tmp_path_factory.mktemp("index")) as (address, desks):
        desks[run.name].index.fill()
        yield address


def ask(
    site: str, path: str, method: str = "GET", body: object = None, **headers: str
) -> tuple[int, str, http.client.HTTPMessage]:
    where = urlsplit(site)
    connection = http.client.HTTPConnection(where.hostname or "", where.port or 0, timeout=240)
    data = None if body is None else json.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, data, named)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text, answer.headers


def own(site: str) -> str:
    return f"http://{urlsplit(site).netloc}"


def api(run: Run, what: str) -> str:
    return f"/{TOKEN}/api/{run.name}/{what}"


def test_the_page_and_its_parts_are_answered(site: str, run: Run) -> None:
    for path in ("", "app.js", "style.css", "preact-htm.min.js", "preact-htm.LICENSE.txt"):
        status, text, headers = ask(site, f"/{TOKEN}/{path}")
        assert (status, bool(text)) == (200, True), path
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
    assert ask(site, api(run, "meta"))[0] == 200


@pytest.mark.parametrize(
    ("path", "headers", "why"),
    [
        ("/", {}, "lacks the token"),
        ("/api/runs", {}, "lacks the token"),
        ("/wrong-token/api/runs", {}, "lacks the token"),
        (f"/{TOKEN}x/api/runs", {}, "lacks the token"),
        (f"/{TOKEN}/api/runs", {"Host": "attacker.invalid"}, "names no local address"),
        (f"/{TOKEN}/api/runs", {"Host": "127.0.0.1.attacker.invalid:80"}, "names no local address"),
        (f"/{TOKEN}/api/runs", {"Host": ""}, "names no local address"),
        (f"/{TOKEN}/api/runs", {"Origin": "http://attacker.invalid"}, "from another page"),
        (f"/{TOKEN}/api/runs", {"Origin": "null"}, "from another page"),
        (f"/{TOKEN}/api/runs", {"Sec_Fetch_Site": "cross-site"}, "from another site"),
    ],
)
def test_others_are_refused(site: str, path: str, headers: dict[str, str], why: str) -> None:
    status, text, _ = ask(site, path, **headers)
    assert status == 403
    assert why in text


def test_a_tunnel_may_have_another_port(site: str) -> None:
    assert ask(site, f"/{TOKEN}/api/runs", Host="localhost:9999")[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Origin": "own"}, 403),
        ({"Origin": "own", "Content_Type": "text/plain"}, 403),
        ({"Origin": "http://attacker.invalid", "Content_Type": "application/json"}, 403),
        ({"Origin": "own", "Content_Type": "application/json"}, 200),
    ],
)
def test_a_mark_is_taken_from_the_page_alone(
    site: str, run: Run, headers: dict[str, str], status: int
) -> None:
    given = {name: own(site) if value == "own" else value for name, value in headers.items()}
    before = len(marks_of(run))
    path_id = f"train/0#{status}" if status != 200 else "train/0#0"
    body = {"path_id": path_id, "right": True, "first_error": None, "note": ""}
    assert ask(site, api(run, "mark"), "POST", body, **given)[0] == status
    assert len(marks_of(run)) == before + (status == 200)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([1], "names a path_id"),
        ({"path_id": 5}, "names a path_id"),
        ({"path_id": "nobody#1", "right": True}, "no"),
        ({"path_id": "train/0#0", "right": "yes"}, "right: true or false"),
        ({"path_id": "train/0#0", "right": False, "first_error": 99}, "has steps 0 to 1"),
        ({"path_id": "train/0#0", "right": False, "note": "x" * 5_000}, "shorten it"),
    ],
)
def test_a_mark_that_says_nothing_is_refused(site: str, run: Run, body: object, said: str) -> None:
    headers = {"Origin": own(site), "Content_Type": "application/json"}
    status, text, _ = ask(site, api(run, "mark"), "POST", body, **headers)
    assert status in (400, 404)
    assert said in json.loads(text)["error"]


@pytest.mark.parametrize(
    "name", ["../guard.py", "..%2fguard.py", "%2e%2e/guard.py", "site/index.html", "nothing.js"]
)
def test_only_files_of_the_page_are_answered(site: str, name: str) -> None:
    assert ask(site, f"/{TOKEN}/{name}")[0] in (403, 404)


def test_no_other_address_of_this_machine_is_listened_on(site: str) -> None:
    port = urlsplit(site).port
    with socket.socket() as other:
        other.settimeout(5)
        with pytest.raises(OSError):
            other.connect(("127.0.0.2", port))
