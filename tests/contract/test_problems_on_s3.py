"""Problems in a bucket of a real S3 server."""

from __future__ import annotations

import gzip
import uuid
from collections.abc import Callable

import pytest

from storage.errors import InputError
from storage.objects.opening import open_store
from tests.support.published import DATA, ROWS
from tests.support.s3_servers import shared_ministack
from workflows.answers import check_reference
from workflows.inputs.problems import checked_problems

Url = Callable[[str], str]


@pytest.fixture
def url() -> Url:
    """The address of something below a prefix of its own."""
    server, prefix = shared_ministack(), f"problems-{uuid.uuid4().hex[:8]}"
    return lambda path: server.url(f"{prefix}/{path}".rstrip("/"))


def put(url: str, name: str, data: bytes) -> None:
    open_store(url).put_new(name, data)


def count(source: str) -> int:
    return len(checked_problems(source, None, check_reference).problems)


def test_an_object_or_all_below_a_prefix_is_read_with_the_options_of_a_store(url: Url) -> None:
    gsm8k = (DATA / "gsm8k.jsonl").read_bytes()
    put(url("deep"), "gsm8k.jsonl.gz", gzip.compress(gsm8k))
    put(url("deep"), "math/math500.jsonl", (DATA / "math500.jsonl").read_bytes())
    put(url("deep"), "README.md", b"no table")
    assert count(url("deep/gsm8k.jsonl.gz")) == ROWS
    assert count(url("deep")) == 2 * ROWS


def test_what_is_not_there_is_one_line(url: Url) -> None:
    for path, said in (("a.jsonl", "a.jsonl: no such object"), ("none", "object below it")):
        with pytest.raises(InputError, match=said) as refused:
            count(url(path))
        assert "\n" not in str(refused.value)
