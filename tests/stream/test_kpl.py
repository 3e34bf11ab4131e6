"""Aggregated records, against an encoder of their own."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.domain.stream import StreamRecord
from ayla_provider.stream.kpl import MAGIC, user_records
from tests.support.aggregated import aggregated, enveloped, field, varint

NOW = datetime(2026, 11, 29, tzinfo=UTC)

KEYS = st.text(st.characters(codec="utf-8"), max_size=150)
RECORDS = st.lists(st.tuples(KEYS, st.binary(max_size=200)), min_size=1, max_size=20)


def record(data: bytes) -> StreamRecord:
    return StreamRecord(7, 0, NOW, "of the whole", data)


@given(RECORDS)
def test_what_was_aggregated_comes_out_in_its_order(records: list[tuple[str, bytes]]) -> None:
    read = user_records(record(aggregated(records)))
    assert [(one.key, one.data) for one in read] == records
    assert [one.place for one in read] == list(range(len(records)))
    assert {(one.number, one.arrived_at) for one in read} == {(7, NOW)}


def test_fields_that_nobody_needs_are_passed_over() -> None:
    hash_keys = field(2, b"12345") + varint(9 << 3 | 1) + bytes(8) + varint(10 << 3 | 5) + bytes(4) + field(11, 2**63)
    tag = field(2, 0) + field(4, field(1, b"name") + field(2, b"value"))
    read = user_records(record(aggregated([("a", b"one"), ("b", b"two")], hash_keys, tag)))
    assert [(one.key, one.data) for one in read] == [("a", b"one"), ("b", b"two")]


@given(RECORDS, st.data())
def test_a_damaged_record_is_passed_on_whole(records: list[tuple[str, bytes]], data: st.DataObject) -> None:
    whole = bytearray(aggregated(records))
    place = data.draw(st.integers(4, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    assert user_records(record(bytes(whole))) == [record(bytes(whole))]


@given(st.binary(max_size=200))
def test_any_message_is_read_or_passed_on(message: bytes) -> None:
    whole = record(enveloped(message))
    read = user_records(whole)
    assert read == [whole] or all(one.number == 7 for one in read)


@given(RECORDS, st.data())
def test_a_message_that_was_cut_before_its_digest_raises_nothing(
    records: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    message = aggregated(records)[4:-16]
    cut = message[: data.draw(st.integers(0, len(message) - 1))]
    whole = record(enveloped(cut))
    read = user_records(whole)
    assert read == [whole] or [one.data for one in read] == [content for _, content in records][: len(read)]


@pytest.mark.parametrize(
    "message",
    [
        b"",
        field(1, b"a"),
        field(3, field(1, 0) + field(3, b"data")),
        field(1, b"a") + field(3, field(1, 1) + field(3, b"data")),
        field(1, b"a") + field(3, field(1, 0)),
        field(1, b"a") + field(3, field(3, b"data")),
        field(1, b"a") + field(3, varint(1 << 3 | 3)),
        field(1, b"a") + b"\xff" * 11,
    ],
)
def test_a_message_of_another_form_is_passed_on_whole(message: bytes) -> None:
    whole = record(enveloped(message))
    assert user_records(whole) == [whole]


@pytest.mark.parametrize("data", [b"", b"{}", MAGIC, MAGIC[:3], MAGIC + bytes(15), MAGIC + bytes(16)])
def test_what_is_not_aggregated_is_passed_on(data: bytes) -> None:
    assert user_records(record(data)) == [record(data)]
