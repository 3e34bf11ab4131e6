"""The shapes of a stream's lines, against a reader that parses each line."""

from __future__ import annotations

import json
import re
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ayla_provider.domain.stream_layout import levels_of
from ayla_provider.rows.stream_lines import unusual_lines
from ayla_provider.rows.stream_shapes import MOST_SHAPES, Shapes
from tests.support.proofs import scale

ENVELOPE = '{"shard":"s","sequence":"1","key":"k","event":'
LEVELS = levels_of("datapoint")


def line(event: str, envelope: str = ENVELOPE) -> bytes:
    return f"{envelope}{event}}}\n".encode()


def datapoint(body: str) -> bytes:
    return line(f'{{"metadata":{{"dsn":"a"}},"datapoint":{{{body}}},"timestamp":1.50E12}}')


def unknown(shapes: Shapes, *lines: bytes) -> list[bytes]:
    """Return the lines that have no known shape, and learn none."""
    block = b"".join(lines)
    return [block[begin:end] for begin, end in shapes.unknown_lines(block)]


def places(value: Any, place: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found = set()
    for key, inner in value.items():
        at = (*place, key)
        found.add(at)
        if at in LEVELS and inner is not None:
            found |= places(inner, at)
    return found


USUAL = [
    *('"text"', '""', "null", "true", "false", "0", "1", "-1", "2.5", "0.5", "-0.25", "12345678", "{}", "[]"),
    *('"a,b"', '"{"', '"[1.50]"', '["a","b"]', '["a", "b"]', '{"a":"b"}', '{"a": 1, "b": null}', '"\u00e4"'),
    *(r'"\t"', r'"\""', r'"\\"', r'"\u00e4"', r'"a\":1.50,\"b"', r'"\\u0000"'),
]
UNUSUAL = [
    *("1.50", "1e3", "-0", "0.10", "1234567890123456789", "[1]", '{"a":1.50}', "[1.5]", '{"a":[1]}', '[{"a":"b"}]'),
    *(r'"\u0000"', r'"\ud83d"', r'"\ud83d\ude00"', '["a\\u0000"]', '{"a":{"b":1.50}}'),
]


@pytest.mark.parametrize("value", USUAL)
def test_a_usual_value_has_the_shape_of_each_other_one(value: str) -> None:
    shapes = Shapes("datapoint")
    assert shapes.learn(datapoint('"value":"1","id":"x"'))
    assert shapes.learn(datapoint('"value":null,"id":"x"'))
    assert shapes.learn(datapoint(f'"value":{value},"id":"x"'))
    assert not unknown(shapes, *(datapoint(f'"value":{each},"id":"x"') for each in [*USUAL[:4], value]))


@pytest.mark.parametrize("value", UNUSUAL)
@pytest.mark.parametrize("identity", ["x", "\\t"])
def test_an_unusual_value_has_no_shape(value: str, identity: str) -> None:
    shapes = Shapes("datapoint")
    assert shapes.learn(datapoint('"value":"1","id":"x"'))
    assert shapes.learn(datapoint('"value":1,"id":"x"'))
    unusual, usual = datapoint(f'"value":{value},"id":"{identity}"'), datapoint(f'"value":"2","id":"{identity}"')
    assert unknown(shapes, usual, unusual, usual, unusual) == [unusual, unusual]


@pytest.mark.parametrize(
    "event",
    [
        '{"metadata":"a","datapoint":{"value":"1"},"timestamp":1}',
        '{"metadata":{"dsn":"a"},"datapoint":[],"timestamp":1}',
        '{"metadata":{"dsn":"a","dsn":"b"},"datapoint":{},"timestamp":1}',
        "[]",
        '"text"',
        "1",
        '{"metadata":{"dsn":"a"},"datapoint":{"value":"1"}',
        '{"metadata":{"dsn":"a"}},"more":{"a":{"b":{"c":"d"}}}',
        '{"metadata":{"dsn":"a"},  "datapoint":{"value":"1"}}',
    ],
)
def test_what_is_no_record_is_not_learned(event: str) -> None:
    shapes = Shapes("datapoint")
    assert not shapes.learn(line(event))
    assert shapes.keys == set()


def test_a_line_without_its_place_in_the_stream_is_not_learned() -> None:
    assert not Shapes("datapoint").learn(line("{}", '{"shard":"s","event":'))


def test_shapes_are_limited() -> None:
    shapes = Shapes("datapoint")
    lines = [datapoint(f'"k{number}":"1"') for number in range(MOST_SHAPES + 1)]
    assert [shapes.learn(each) for each in lines] == [True] * MOST_SHAPES + [False]
    assert unknown(shapes, *lines) == lines[-1:]
    assert not Shapes("datapoint").learn(datapoint(",".join(f'"k{number}":"1"' for number in range(300))))


@pytest.mark.parametrize("number", ["1.50", "1e3", "-0", "0.10", "5", "12345678901234567890", "-1.0E-7"])
def test_a_number_is_quoted_as_it_is_spelled(number: str) -> None:
    shapes = Shapes("datapoint")
    assert shapes.learn(datapoint('"value":1,"echo":true,"id":"x"'))
    found = shapes.quoted(datapoint(f'"value":{number},"echo":false,"id":"y"'))
    assert found == datapoint(f'"value":"{number}","echo":false,"id":"y"')


@pytest.mark.parametrize("value", ["01", "1.", ".5", "+1", "1.2.3", "--1", "NaN", "1 2", '{"a":1.50}', "[1.50]"])
def test_what_is_no_number_of_the_record_is_not_quoted(value: str) -> None:
    shapes = Shapes("datapoint")
    assert shapes.learn(datapoint('"value":1,"id":"x"'))
    assert shapes.quoted(datapoint(f'"value":{value},"id":"y"')) is None


texts = st.one_of(
    st.sampled_from(["", '"', "\\", '":1.50,', "\u2028", "\n", "{", "}\n"]),
    st.text(st.characters(codec="utf-8"), max_size=6),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(texts, inner, max_size=2)),
    max_leaves=4,
)
keys = st.sampled_from(["value", "id", "echo", "scope", "metadata", "datapoint", "timestamp", "\u00e4", 'a"b'])
objects = st.dictionaries(keys, values, max_size=4)
events = st.fixed_dictionaries({"datapoint": objects}, optional={"metadata": objects, "timestamp": values})


def text_of(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    compact = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # DuckDB writes a control character with capitals.
    return re.sub(r"\\\\|\\u....", lambda found: found.group()[:2] + found.group()[2:].upper(), compact)


@settings(max_examples=scale(100, 5000), deadline=None)
@given(records=st.lists(events, min_size=1, max_size=12), ascii_only=st.booleans(), spaced=st.booleans())
def test_duckdb_reads_lines_with_a_known_shape_as_they_are(
    records: list[dict[str, Any]], ascii_only: bool, spaced: bool
) -> None:
    separators = (", ", ": ") if spaced else (",", ":")
    lines = [line(json.dumps(each, ensure_ascii=ascii_only, separators=separators)) for each in records]
    begins = [sum(map(len, lines[:number])) for number in range(len(lines))]
    known = set(range(len(lines)))
    shapes, block = Shapes("datapoint"), b"".join(lines)
    for begin, end in shapes.unknown_lines(block):
        text = block[begin:end]
        assert text in lines
        if unusual_lines(text) or not shapes.learn(text):
            known.remove(begins.index(begin))
    assert shapes.keys == set().union(*(places(records[number]) for number in known))
    with duckdb.connect() as duck:
        for number in known:
            query = (
                'select json_transform($line::json, \'{"event":{"datapoint":"MAP(VARCHAR,VARCHAR)"}}\').event.datapoint'
            )
            ((found,),) = duck.execute(query, {"line": lines[number].decode()}).fetchall()
            assert found == {key: text_of(value) for key, value in records[number]["datapoint"].items()}
