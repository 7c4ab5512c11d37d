"""The S3 store over real HTTP, through a proxy that does to its requests what networks do.

One weather again: `STEPMILL_SEED=3 python -m pytest tests/faults/test_s3_faults.py -k weather`
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path as Folder

import pytest

from storage.audit import audit
from storage.datasets.download import download
from storage.errors import (
    CommitUnknown,
    ConfigurationError,
    InfrastructureError,
    ObjectCorrupt,
    StoreRefused,
    StoreUnavailable,
)
from storage.objects import paced, s3
from storage.objects.local import LocalStore
from storage.objects.patience import Patience
from storage.objects.probe import probe_store
from storage.objects.s3 import S3Store
from storage.objects.store import Put
from storage.rows.kinds import PATHS, PROBLEMS
from storage.rows.parquet import sha256_of
from storage.runs.run import Run
from storage.sweep import sweep
from tests.support import swift_server
from tests.support.fault_proxy import BYTE_S, Fault, FaultProxy, fault_proxy
from tests.support.ports import free_port
from tests.support.s3_servers import KEY, SECRET, pys3local, shared_ministack
from tests.support.whole_run import finished, path, started, work_shard

MOST_S = 10.0
"""Seconds for what has to end after 0.4 and at most three tries of a second, on a busy machine."""
QUICK = Patience(tries=6, sleep=lambda _: None)
SEEDS = [int(os.environ["STEPMILL_SEED"])] if "STEPMILL_SEED" in os.environ else range(6)


@pytest.fixture
def prefix() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    with fault_proxy(shared_ministack().endpoint) as running:
        yield running


@pytest.fixture
def store(proxy: FaultProxy, prefix: str) -> S3Store:
    return S3Store.at(shared_ministack().url(prefix, proxy.endpoint), QUICK)


@pytest.fixture
def truth(prefix: str) -> S3Store:
    """The same objects, without the proxy."""
    return S3Store.at(shared_ministack().url(prefix), QUICK)


PUT_FAULTS = ["lost request", "lost reply", "500 after apply", "503", "409", "twice", "portal"]


@pytest.mark.parametrize("where", ["/data/", "/commits/"])
@pytest.mark.parametrize("kind", PUT_FAULTS)
def test_a_fault_of_one_put_costs_a_request_and_nothing_else(
    store: S3Store, truth: S3Store, proxy: FaultProxy, kind: str, where: str
) -> None:
    run = started(store)
    proxy.requests.clear()
    proxy.faults = [Fault(kind, "PUT", where)]
    receipt = run.publish(PATHS, 1, [path("train/3", 0)])
    assert receipt.won
    assert proxy.faults[0].times == 0
    assert proxy.count("PUT", where) <= 2
    assert Run.open(truth, "whole").commit("sample", 1).attempt == receipt.attempt
    assert len(list(truth.list("runs/whole/sample/"))) == 2


def test_a_put_whose_stored_bytes_differ_is_noticed_before_the_commit(
    store: S3Store, truth: S3Store, proxy: FaultProxy
) -> None:
    run = started(store)
    proxy.faults = [Fault("lying put", "PUT", "/data/")]
    receipt = run.publish(PATHS, 1, [path("train/3", 0)])
    commit = Run.open(truth, "whole").commit("sample", 1)
    assert receipt.won and commit.attempt == receipt.attempt
    assert re.search(r"/000001-1-[0-9a-f]{64}\.parquet$", commit.data_key)
    assert sha256_of(truth.get(commit.data_key)) == commit.sha256
    assert run.read_rows(PATHS, 1) == [path("train/3", 0)]
    assert sweep(run).objects == 1


def test_a_commit_that_the_store_altered_is_noticed_and_named(
    store: S3Store, proxy: FaultProxy
) -> None:
    run = started(store)
    proxy.faults = [Fault("lying put", "PUT", "/commits/")]
    with pytest.raises(CommitUnknown, match=r"commits/000001.json could not be settled"):
        run.publish(PATHS, 1, [path("train/3", 0)])


@pytest.mark.parametrize("kind", ["endless", "nameless"])
def test_a_listing_without_an_end_is_given_up(store: S3Store, proxy: FaultProxy, kind: str) -> None:
    store.put_new("a/b", b"x")
    proxy.faults = [Fault(kind, "GET", "list-type", times=1_000)]
    with pytest.raises(StoreUnavailable, match="it has no end"):
        list(store.list("a/"))
    assert proxy.count("GET", "list-type") <= 3


def test_a_put_that_was_thought_lost_and_arrives_late_changes_nothing(
    store: S3Store, truth: S3Store, proxy: FaultProxy
) -> None:
    run = started(store)
    proxy.faults = [
        Fault("late request", "PUT", "/commits/"),
        Fault("late request", "PUT", "/data/"),
    ]
    first = run.publish(PATHS, 1, [path("train/3", 0)])
    before = Run.open(truth, "whole").commit("sample", 1)
    second = run.publish(PATHS, 1, [path("train/3", 1)])
    proxy.deliver()
    assert (first.won, second.won) == (True, False)
    assert Run.open(truth, "whole").commit("sample", 1) == before
    assert len(run.read_rows(PATHS, 1)) == 1


def test_a_late_commit_of_a_twin_that_gave_up_is_adopted_by_the_next(
    store: S3Store, proxy: FaultProxy
) -> None:
    run = started(store)
    proxy.faults = [
        Fault("late request", "PUT", "/sample/commits/", times=6),
        Fault("503", "GET", "/sample/commits/", times=1_000),
    ]
    with pytest.raises(CommitUnknown):
        run.publish(PATHS, 1, [path("train/3", 0)])
    proxy.faults.clear()
    proxy.deliver()
    receipt = run.publish(PATHS, 1, [path("train/3", 1)])
    assert not receipt.won
    assert run.read_rows(PATHS, 1) == [path("train/3", 0)]
    assert sweep(run).objects == 1


@pytest.mark.parametrize("kind", ["lost request", "lost reply", "503", "cut", "short", "altered"])
def test_a_get_that_fails_twice_is_repeated(store: S3Store, proxy: FaultProxy, kind: str) -> None:
    data = os.urandom(100_000)
    store.put_new("a/b", data)
    proxy.faults = [Fault(kind, "GET", "a/b", times=2)]
    assert store.get("a/b") == data
    assert proxy.count("GET", "a/b") == 3


@pytest.mark.parametrize("kind", ["altered", "short"])
def test_bytes_that_never_come_right_name_the_key_and_both_digests(
    store: S3Store, proxy: FaultProxy, kind: str
) -> None:
    run = finished(store)
    key = run.commit("sample", 1).data_key
    proxy.faults = [Fault(kind, "GET", "/sample/data/000001", times=10_000)]
    with pytest.raises(ObjectCorrupt, match=rf"{key} is damaged: committed as sha256 \w+, read"):
        run.read_rows(PATHS, 1)


@pytest.mark.parametrize("kind", ["lost request", "503", "cut"])
def test_a_listing_of_many_pages_survives_the_loss_of_some(
    store: S3Store, truth: S3Store, proxy: FaultProxy, kind: str
) -> None:
    with ThreadPoolExecutor(16) as writers:
        list(writers.map(lambda n: truth.put_new(f"a/{n:05d}", b"x"), range(2_100)))
    proxy.faults = [Fault(kind, "GET", "list-type=2", times=2)]
    assert sorted(entry.key for entry in store.list("a/")) == [f"a/{n:05d}" for n in range(2_100)]
    assert proxy.count("GET", "list-type=2") == 3 + 2


def test_a_burst_of_refusals_costs_time_only(store: S3Store, proxy: FaultProxy) -> None:
    slept: list[float] = []
    patient = S3Store(
        store.bucket, store.prefix, store.options, Patience(sleep=slept.append), store.client
    )
    run = started(patient)
    proxy.faults = [Fault("503", times=8)]
    assert len(run.read_rows(PROBLEMS, 0)) == 3
    assert len(slept) == 8
    assert max(slept) > 4 * slept[0]


def test_a_store_that_is_down_for_ever_ends_within_the_budget(
    store: S3Store, proxy: FaultProxy
) -> None:
    run = started(store)
    proxy.faults = [Fault("503", times=10_000)]
    proxy.requests.clear()
    with pytest.raises(StoreUnavailable, match="503"):
        store.get("a/b")
    assert len(proxy.requests) == QUICK.tries
    with pytest.raises(StoreUnavailable, match="503"):
        run.publish(PATHS, 1, [path("train/3", 0)])
    assert len(proxy.requests) < 5 * QUICK.tries
    proxy.faults = [Fault("503", method="PUT", times=10_000)]
    proxy.requests.clear()
    with pytest.raises(StoreUnavailable, match="in 3 tries"):
        run.publish(PATHS, 1, [path("train/3", 0)])
    assert len(proxy.requests) < 5 * QUICK.tries


def test_a_port_that_nobody_listens_on_is_unavailable(prefix: str) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    store = S3Store.at(shared_ministack().url(prefix, nobody), QUICK)
    with pytest.raises(StoreUnavailable, match="EndpointConnectionError"):
        store.get("a")
    assert store.put_new("a", b"x") is Put.UNKNOWN
    with pytest.raises(StoreUnavailable, match="no clear answer"):
        probe_store(store, QUICK)


def test_a_server_that_stands_still_is_given_up_on(
    prefix: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "READ_S", 2.0)
    store = S3Store.at(shared_ministack().url(prefix, proxy.endpoint), QUICK)
    store.put_new("a", b"x")
    proxy.faults = [Fault("stalled", times=3)]
    assert store.put_new("b", b"x") is Put.UNKNOWN
    assert store.get("a") == b"x"


@pytest.mark.parametrize("kind", ["trickling", "dripping", "stalled"])
@pytest.mark.parametrize("request_", ["GET", "LIST", "HEAD", "DELETE"])
def test_an_answer_that_trickles_ends_when_patience_does(
    prefix: str, proxy: FaultProxy, kind: str, request_: str
) -> None:
    brief = Patience(tries=3, deadline_s=0.4, sleep=lambda _: None)
    store = S3Store.at(shared_ministack().url(prefix, proxy.endpoint), brief)
    store.put_new("a", b"x" * 500)
    proxy.faults = [Fault(kind, "" if request_ == "LIST" else request_, times=1_000)]
    ask: Callable[[], object] = {
        "GET": lambda: store.get("a"),
        "LIST": lambda: list(store.list("")),
        "HEAD": lambda: store.modified("a"),
        "DELETE": lambda: store.delete("a"),
    }[request_]
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=rf"{request_} a?: \w+ \(127"):
        ask()
    assert time.monotonic() - began < MOST_S
    proxy.faults.clear()
    ask()


@pytest.mark.parametrize("kind", ["trickling", "stalled"])
def test_a_put_whose_answer_trickles_is_unknown_and_settled_by_reading(
    prefix: str, proxy: FaultProxy, kind: str
) -> None:
    brief = Patience(tries=3, deadline_s=0.4, sleep=lambda _: None)
    store = S3Store.at(shared_ministack().url(prefix, proxy.endpoint), brief)
    proxy.faults = [Fault(kind, "PUT")]
    began = time.monotonic()
    assert store.put_new("a", b"x") is Put.UNKNOWN
    assert time.monotonic() - began < MOST_S


def test_a_server_that_takes_no_bytes_is_given_up_on(prefix: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = shared_ministack().url(prefix, f"http://127.0.0.1:{deaf.getsockname()[1]}")
        began = time.monotonic()
        assert (
            S3Store.at(url, Patience(deadline_s=0.4)).put_new("a", bytes(50 << 20)) is Put.UNKNOWN
        )
        assert time.monotonic() - began < MOST_S


@pytest.mark.parametrize("line", [b"", b"HTTP/1.1 200 OK\r\na: "], ids=["first line", "headers"])
def test_a_proxy_whose_word_trickles_is_given_up_on(
    line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{door.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)

        def trickle() -> None:
            with contextlib.suppress(OSError):  # the door is closed, or the client has gone
                while True:
                    client, _ = door.accept()
                    with client, contextlib.suppress(OSError):
                        client.sendall(line)
                        for _ in range(1_000):
                            client.sendall(b"a")
                            time.sleep(BYTE_S)

        threading.Thread(target=trickle, daemon=True).start()
        brief = Patience(tries=3, deadline_s=0.4, sleep=lambda _: None)
        store = S3Store.at("s3://bucket/p?endpoint=https://s3.invalid", brief)
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="GET a"):
            store.get("a")
        assert time.monotonic() - began < MOST_S


def test_a_large_object_over_a_slow_line_is_not_cut(
    store: S3Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "READ_S", 0.7)
    data = os.urandom(80_000)
    store.put_new("a", data)
    proxy.faults = [Fault("slow", "GET")]
    began = time.monotonic()
    assert store.get("a") == data
    assert time.monotonic() - began > 2 * s3.READ_S, "the proxy was not slow"
    assert proxy.count("GET", "/a") == 1


@pytest.mark.parametrize("request_", ["LIST", "GET"])
def test_an_answer_without_an_end_is_not_kept_in_memory(
    store: S3Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, request_: str
) -> None:
    monkeypatch.setattr(paced, "MOST_UNASKED", 1 << 20)
    store.put_new("a", b"x")
    proxy.faults = [Fault("flooding", "GET", times=2)]
    answers: dict[str, Callable[[], object]] = {
        "LIST": lambda: [entry.key for entry in store.list("")],
        "GET": lambda: store.get("a"),
    }
    assert answers[request_]() == {"LIST": ["a"], "GET": b"x"}[request_]
    assert len(proxy.requests) == 1 + 3


def test_a_sign_in_page_is_neither_an_object_nor_a_listing(
    store: S3Store, proxy: FaultProxy
) -> None:
    store.put_new("a/b", b"x")
    proxy.faults = [Fault("portal", "GET", times=2)]
    assert store.get("a/b") == b"x"
    proxy.faults = [Fault("portal", "GET", "list-type", times=2)]
    assert [entry.key for entry in store.list("a/")] == ["a/b"]
    proxy.faults = [Fault("portal", times=1_000)]
    asked: list[Callable[[], object]] = [lambda: store.get("a/b"), lambda: list(store.list("a/"))]
    for ask in asked:
        with pytest.raises(StoreUnavailable, match="the answer is not an S3 server's"):
            ask()
    assert store.modified("a/b") is None


@pytest.mark.parametrize("known", ["at", "after"])
def test_a_sign_in_page_in_the_place_of_a_tombstone_removes_nothing(
    store: S3Store, truth: S3Store, proxy: FaultProxy, known: str
) -> None:
    run = finished(truth)
    before = sorted(entry.key for entry in truth.list(""))
    proxy.faults = [Fault("portal", "GET", "removed.json", times=1_000)]
    if known == "after":
        proxy.faults.insert(0, Fault("twice", "GET", "removed.json"))
    with pytest.raises(StoreUnavailable, match="the answer is not an S3 server's"):
        Run.start(store, "whole", run.spec, QUICK)
    assert sorted(entry.key for entry in truth.list("")) == before


def test_an_object_whose_length_is_not_said_is_asked_for_again(
    store: S3Store, proxy: FaultProxy
) -> None:
    store.put_new("a", b"x")
    proxy.faults = [Fault("unmeasured", "GET")]
    assert store.get("a") == b"x"
    assert proxy.count("GET", "/a") == 2


def test_a_refusal_is_never_repeated_and_tells_no_secret(store: S3Store, proxy: FaultProxy) -> None:
    run = started(store)
    proxy.faults = [Fault("403", times=10_000)]
    for request in (
        lambda: store.get("runs/x"),
        lambda: store.put_new("runs/x", b"y"),
        lambda: list(store.list("runs/")),
        lambda: store.delete("runs/x"),
        lambda: run.publish(PATHS, 1, [path("train/3", 0)]),
    ):
        proxy.requests.clear()
        with pytest.raises(
            StoreRefused, match=r"was refused: AccessDenied \(403\); check"
        ) as caught:
            request()
        assert len(proxy.requests) == 1
        assert caught.value.__cause__ is None
        assert "runs/" in str(caught.value)
        assert KEY not in str(caught.value)
        assert SECRET not in str(caught.value)


def test_a_proxy_that_takes_the_condition_away_is_found_by_the_probe(
    store: S3Store, proxy: FaultProxy
) -> None:
    proxy.faults = [Fault("stripped", "PUT", times=10_000)]
    with pytest.raises(StoreRefused, match="can't hold a run: it replaces an object"):
        probe_store(store)
    assert list(store.list("")) == []


def test_a_server_that_overwrites_is_refused(tmp_path: Folder, prefix: str) -> None:
    server = pys3local(tmp_path)
    server.start()
    try:
        with pytest.raises(StoreRefused, match="can't hold a run: it replaces an object"):
            probe_store(S3Store.at(server.url(prefix), QUICK))
    finally:
        server.stop()


def test_a_server_whose_racing_writers_win_together_is_refused(
    tmp_path: Folder, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", swift_server.KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with swift_server.swift(tmp_path) as endpoint:
        store = S3Store.at(f"s3://{swift_server.BUCKET}/{prefix}?endpoint={endpoint}", QUICK)
        assert [store.put_new("a", b"1"), store.put_new("a", b"2")] == [Put.CREATED, Put.EXISTS]
        with pytest.raises(StoreRefused, match="of 16 racing writers were told they won"):
            probe_store(store)


@pytest.mark.parametrize("seed", SEEDS)
def test_in_any_weather_a_build_by_four_ends_as_on_a_clear_day(
    prefix: str, truth: S3Store, tmp_path: Folder, seed: int
) -> None:
    with fault_proxy(shared_ministack().endpoint, seed) as proxy:
        patient = Patience(tries=12, sleep=lambda _: None)
        store = S3Store.at(shared_ministack().url(prefix, proxy.endpoint), patient)

        def build(worker: int) -> None:
            for _ in range(20):
                try:
                    run = started(store)
                    for shard in range(run.spec.plan.shards):
                        work_shard(run, (shard + worker) % run.spec.plan.shards)
                    run.finish()
                    return
                except InfrastructureError:
                    continue
            raise AssertionError(f"seed {seed}: no end in 20 tries")

        with ThreadPoolExecutor(4) as workers:
            list(workers.map(build, range(4)))
        proxy.deliver()
        assert len(proxy.requests) > 100
    quiet = finished(LocalStore.at(tmp_path / "quiet"))
    run = Run.open(truth, "whole", QUICK)
    for stage in run.spec.stages:
        built = [(commit.data_key, commit.drops) for commit in run.commits(stage)]
        expected = [(commit.data_key, commit.drops) for commit in quiet.commits(stage)]
        assert built == expected, f"seed {seed}"
    sweep(run)
    result = audit(run)
    assert (result.findings, result.finished) == ((), True), f"seed {seed}"
    download(run, tmp_path / "out")
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=tmp_path / "out", check=True)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://", "names no bucket"),
        ("s3:///prefix", "names no bucket"),
        ("s3://b", "names no bucket"),
        ("s3://key:secret@bucket/x", "must not hold a user or a password"),
        ("s3://bucket/a/../b", "not a plain path"),
        ("s3://bucket/a b", "not a plain path"),
        ("s3://bucket?endpont=http://x", "none of endpoint, region, style: did you mean endpoint?"),
        ("s3://bucket?style=round", "style is not path or virtual"),
        ("s3://bucket?endpoint=nonsense", "nonsense"),
    ],
)
def test_a_url_that_can_not_be_meant_says_what_is_wrong(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        S3Store.at(url)
    assert "secret" not in str(caught.value)


def test_a_bucket_that_is_not_there_is_a_persons_error(proxy: FaultProxy) -> None:
    store = S3Store.at(f"s3://no-such-bucket/x?endpoint={proxy.endpoint}", QUICK)
    with pytest.raises(ConfigurationError, match="there is no bucket 'no-such-bucket'"):
        store.put_new("a", b"x")
    with pytest.raises(ConfigurationError, match="there is no bucket 'no-such-bucket'"):
        list(store.list(""))


def test_without_credentials_the_store_says_which_are_missing(
    prefix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Folder
) -> None:
    url = shared_ministack().url(prefix)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(StoreRefused, match="no credentials; set AWS_ACCESS_KEY_ID"):
        S3Store.at(url, QUICK).put_new("a", b"x")


def test_the_endpoint_may_come_from_the_environment(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", shared_ministack().endpoint)
    store = S3Store.at(f"s3://stepmill-tests/{prefix}", QUICK)
    assert store.put_new("a", b"x") is Put.CREATED
    assert store.url == f"s3://stepmill-tests/{prefix}"
    assert S3Store.at(shared_ministack().url(prefix)).get("a") == b"x"
