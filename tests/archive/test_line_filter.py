"""What the filter of erased lines leaves, compared with an erasure that knows the identifiers."""

from __future__ import annotations

import io
from base64 import b64encode
from datetime import UTC, datetime
from itertools import chain, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.archive import erasures
from ayla_provider.archive.erasures import LineFilter, Matcher
from ayla_provider.domain.erasure import ErasureKeys, ErasureRequest
from tests.support.traces import traces

DSN, USER = "LC000X000000007", "3fa85f64-5717-4562-b3fc-2c963f66afa6"
OTHER_DSN, OTHER_USER = "LC000X000000008", "3fa85f64-5717-4562-b3fc-2c963f66afa7"
KEYS = ErasureKeys.parse("a-key-of-sixteen-characters", "x")
NOW = datetime(2026, 11, 30, tzinfo=UTC)


def matcher(**identifiers: str) -> Matcher:
    request = ErasureRequest(identifiers or {"dsn": DSN, "user_uuid": USER}, None, NOW, NOW)
    entry = request.entry(KEYS, NOW, {})
    return Matcher((subject, KEYS.newest.encode(), entry.id) for subject in entry.subjects)


def left(content: bytes, size: int = 1 << 20, of: Matcher | None = None) -> tuple[bytes, int]:
    lines = LineFilter(of or matcher())
    blocks = (content[begin : begin + size] for begin in range(0, len(content), size))
    return b"".join(lines.blocks(blocks)), lines.lines


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


SPELLINGS = [
    DSN,
    DSN.lower(),
    USER,
    USER.upper(),
    USER.replace("-", ""),
    f"sn:{DSN}",
    f'{{"dsn":"{DSN}"}}',
    f"x{USER}y",
    f"0{USER.replace('-', '')}1",
    encoded(DSN),
    encoded(f"1{USER}"),
    encoded(f"12{USER.upper()}3"),
    encoded(f"text with {DSN} in it"),
    f"/{encoded(f'a {DSN}')}",
    encoded(encoded(f"a record with {USER}")),
    encoded(f"??>>{DSN}").replace("/", "\\/"),
]
OTHERS = [
    OTHER_DSN,
    OTHER_USER,
    f"{DSN}1",
    f"A{DSN}",
    USER[:-1],
    encoded(f"text with {OTHER_DSN} in it"),
    "",
    "null",
    "grün",
    "AAAA" * 20,
    "=" * 9,
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_line_goes_however_it_spells_an_identifier(spelling: str) -> None:
    lines = [b"a,b,c\n", f"a,{spelling},c\n".encode(), b"d,e,f"]
    assert left(b"".join(lines)) == (lines[0] + lines[2], 1)


@pytest.mark.parametrize("other", OTHERS)
def test_a_line_that_names_somebody_else_stays(other: str) -> None:
    content = f"a,{other},c\r\n".encode() * 3
    assert left(content) == (content, 0)


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_line_whose_escapes_hide_an_identifier_goes_and_no_other(place: int, end: bytes) -> None:
    hidden = b'{"user":"' + USER.replace("-", "\\u002d").encode() + b'"}'
    lines = [b'{"note":"a\\tb"}', b"", b"of nobody", b'"\\u0041"', b"another"]
    lines[place] = hidden
    content = b"\n".join(lines) + end
    kept = [line for line in content.splitlines(keepends=True) if USER[:8].encode() not in line]
    assert left(content) == (b"".join(kept), 1)


@pytest.mark.parametrize("place", range(5))
def test_each_run_of_base64_in_a_line_is_looked_at(place: int) -> None:
    runs = [encoded(f"nothing of anybody {number}") for number in range(5)]
    content = f"before\n{','.join(runs)}\nafter\n".encode()
    assert left(content) == (content, 0)
    runs[place] = encoded(f"something of {DSN}")
    assert left(f"before\n{','.join(runs)}\nafter\n".encode()) == (b"before\nafter\n", 1)


cells = st.one_of(st.sampled_from([*SPELLINGS, *OTHERS, *OTHERS]), st.text("abc019 -_.:+/=\r", max_size=40))


@given(rows=st.lists(st.lists(cells, min_size=1, max_size=4), max_size=30), size=st.integers(1, 300), end=st.booleans())
def test_what_is_left_is_what_an_erasure_that_knows_the_identifiers_leaves(
    rows: list[list[str]], size: int, end: bool
) -> None:
    lines = [",".join(row).encode() + b"\n" for row in rows]
    content = b"".join(lines) if end or not lines else b"".join(lines)[:-1]
    known = set(SPELLINGS)
    has = [any(cell in known for cell in row) for row in rows]
    result, erased = left(content, size)
    stays = [line for line, gone in zip(io.BytesIO(content), has, strict=False) if not gone]
    assert result == b"".join(stays)
    assert erased == sum(has[: len(list(io.BytesIO(content)))])
    assert not traces(result.replace(b"\\/", b"/"), {"user": USER})


@pytest.mark.parametrize("place", [0, 5_000_000, 9_999_000])
def test_a_line_that_is_longer_than_a_row_goes_as_a_whole_and_takes_no_memory(
    place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasures, "_IN_MEMORY", 1 << 20)
    long = bytearray(b"x " * 5_000_000)
    rows = [b"a,b\n", bytes(long) + b"\n", b"c,d\n", b"e,f"]
    assert left(b"".join(rows), 1 << 16) == (b"".join(rows), 0)
    long[place : place + len(DSN) + 2] = f" {DSN} ".encode()
    rows[1] = bytes(long) + b"\n"
    assert left(b"".join(rows), 1 << 16) == (b"".join((rows[0], rows[2], rows[3])), 1)


def test_each_erased_line_is_shown_and_one_that_is_too_long_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasures, "LONGEST_ROW", 1000)
    monkeypatch.setattr(erasures, "CHUNK", 1500)
    monkeypatch.setattr(erasures, "_OVERLAP", 20)
    short = f"of {DSN}\n".encode()
    long = b"a" * 990 + f" {DSN} ".encode() + b"b" * 2000 + b"\n"
    shown: list[tuple[bytes, set[str]]] = []
    lines = LineFilter(matcher(), lambda line, ids: shown.append((line, set(ids))))
    content = b"first\n" + short + long + b"between\n" + short + b"last"
    blocks = [content[begin : begin + 700] for begin in range(0, len(content), 700)]
    assert b"".join(lines.blocks(blocks)) == b"first\nbetween\nlast"
    assert lines.lines == 3
    assert [line for line, _ in shown] == [
        short,
        long[:1500],
        # Each part begins with the end of the one before.
        long[1480:3000],
        long[2980:],
        short,
    ]
    assert [ids for _, ids in shown] == [lines.by] * 5
    assert len(lines.by) == 1


@given(splits=st.lists(st.integers(0, 200), max_size=10))
def test_the_blocks_make_no_difference(splits: list[int]) -> None:
    content = b"".join(f"{number},{DSN if number % 3 == 0 else OTHER_DSN},x\n".encode() for number in range(9))
    bounds = sorted({0, len(content), *(min(split, len(content)) for split in splits)})
    blocks = [content[begin:end] for begin, end in pairwise(bounds)]
    lines = LineFilter(matcher())
    assert b"".join(lines.blocks(blocks)) == left(content)[0]
    assert lines.lines == 3


def test_entries_are_told_apart_and_several_keys_hold_at_once() -> None:
    keys = ErasureKeys.parse("the-second-key-of-two the-first-key-of-two!", "x")
    first = ErasureKeys((keys.keys[1],))
    entries = [
        (ErasureRequest({"dsn": DSN}, None, NOW, NOW).entry(first, NOW, {}), first),
        (ErasureRequest({"user_uuid": OTHER_USER}, None, NOW, NOW).entry(keys, NOW, {}), keys),
    ]
    both = Matcher(
        chain.from_iterable(
            [(subject, made.newest.encode(), entry.id) for subject in entry.subjects] for entry, made in entries
        )
    )
    assert both.found(f"x,{DSN}".encode()) == {entries[0][0].id}
    assert both.found(f"{OTHER_USER},{DSN}".encode()) == {entry.id for entry, _ in entries}
    assert both.found(OTHER_DSN.encode()) == set()
