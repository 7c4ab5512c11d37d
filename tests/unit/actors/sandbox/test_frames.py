"""The framing under arbitrary bytes: frames, or a FrameError, and nothing else.

Each property is tried on $STEPMILL_FUZZ_CASES cases, by default on as many as take seconds.
"""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.sandbox.contract import Execution, Verdict
from actors.sandbox.guest.frames import MAX_BLOBS, PREFIX, Decoder, Frame, FrameError, encode
from actors.sandbox.wire import execution

MANY = settings(max_examples=int(os.environ.get("STEPMILL_FUZZ_CASES", "2500")))
blobs = st.lists(st.binary(max_size=200), max_size=4).map(tuple)
texts = st.text(max_size=20)
values = st.sampled_from(
    [None, True, -1, 1 << 70, 0.5, float("inf"), "exit", [], [1], {}, {"a": []}]
)
RESULT: dict[str, object] = {
    "end": "exit",
    "status": 0,
    "wall_s": 0.1,
    "cpu_s": 0.1,
    "peak_kb": 1,
    "delayed_s": 0.0,
    "stdout_truncated": False,
    "stderr_truncated": False,
    "alive": False,
}
fields = st.dictionaries(st.sampled_from([*RESULT, "other"]), values, max_size=4)


@MANY
@given(st.lists(st.tuples(texts, blobs), max_size=4), st.lists(st.integers(1, 64), min_size=1))
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(
    sent: list[tuple[str, tuple[bytes, ...]]], cuts: list[int]
) -> None:
    frames = [Frame(kind, {"n": number}, parts) for number, (kind, parts) in enumerate(sent)]
    stream = b"".join(map(encode, frames))
    decoder, received, at, turn = Decoder(), [], 0, 0
    while at < len(stream):
        step = cuts[turn % len(cuts)]
        received += decoder.feed(stream[at : at + step])
        at, turn = at + step, turn + 1
    assert received == frames


@MANY
@given(st.binary(max_size=400), st.booleans())
def test_arbitrary_bytes_are_frames_or_a_frame_error(data: bytes, begin_well: bool) -> None:
    decoder = Decoder()
    try:
        decoder.feed((b"SMF1" if begin_well else b"") + data)
    except FrameError:
        with pytest.raises(FrameError):
            decoder.feed(encode(Frame("ping")))


@MANY
@given(fields, blobs, st.integers(0, 1 << 20), st.integers(0, 255))
def test_a_damaged_frame_is_another_frame_or_a_frame_error(
    content: dict[str, object], parts: tuple[bytes, ...], position: int, value: int
) -> None:
    data = bytearray(encode(Frame("result", content, parts)))
    data[position % len(data)] = value
    try:
        frames = Decoder().feed(bytes(data))
    except FrameError:
        return
    for frame in frames:
        try:
            assert isinstance(execution(frame, 0.0, "x"), Execution)
        except FrameError:
            continue


@MANY
@given(fields, blobs)
def test_any_answer_is_an_execution_or_a_frame_error(
    content: dict[str, object], parts: tuple[bytes, ...]
) -> None:
    frame = Frame("result", {**RESULT, **content}, parts)
    try:
        seen = execution(frame, 0.0, "x")
    except FrameError:
        return
    assert seen.verdict in Verdict


def test_a_frame_larger_than_allowed_is_refused_before_it_is_buffered() -> None:
    with pytest.raises(FrameError):
        Decoder().feed(PREFIX.pack(b"SMF1", 10, MAX_BLOBS + 1))
    with pytest.raises(FrameError):
        encode(Frame("run", {}, (bytes(MAX_BLOBS + 1),)))


def test_a_header_nested_beyond_reason_is_refused() -> None:
    header = b"[" * 200_000
    with pytest.raises(FrameError):
        Decoder().feed(PREFIX.pack(b"SMF1", len(header), 0) + header)


def test_lengths_that_do_not_add_up_are_refused() -> None:
    header = json.dumps({"kind": "x", "blobs": [5]}).encode()
    with pytest.raises(FrameError):
        Decoder().feed(PREFIX.pack(b"SMF1", len(header), 3) + header + b"abc")
