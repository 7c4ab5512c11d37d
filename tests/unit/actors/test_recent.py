"""Token ids are kept by the bytes that they take."""

from __future__ import annotations

from actors.engines.recent import ENTRY_BYTES, RecentIds


def test_what_was_not_asked_for_the_longest_goes_once_the_bytes_are_used_up() -> None:
    each = ENTRY_BYTES + 10 + 4 * 100
    recent: RecentIds[str] = RecentIds(3 * each)
    for name in "abc":
        assert list(recent.keep(name, range(100), 10)) == list(range(100))
    assert recent.bytes == 3 * each
    assert recent.get("a") is not None
    recent.keep("d", range(100), 10)
    assert [recent.get(name) is None for name in "abcd"] == [False, True, False, False]
    recent.keep("d", range(50), 10)
    assert recent.bytes == 3 * each - 200


def test_one_text_of_more_than_all_bytes_is_not_kept_and_takes_the_others_place() -> None:
    recent: RecentIds[str] = RecentIds(1_000)
    recent.keep("small", [1], 5)
    assert list(recent.keep("large", range(1_000), 5)) == list(range(1_000))
    assert (len(recent), recent.bytes) == (0, 0)
