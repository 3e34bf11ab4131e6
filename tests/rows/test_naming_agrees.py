"""A file's line names a subject if, and only if, its typed row does, however deep an identifier is encoded."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ayla_provider.archive.erasures import Matcher
from ayla_provider.domain.erasure import ErasureKeys, ErasureRequest
from ayla_provider.rows.duck import connect
from ayla_provider.rows.naming import NamingRows
from tests.archive.test_line_filter import DSN, NOW, USER, left
from tests.rows.test_naming import write

KEYS = ErasureKeys.parse("a-key-of-sixteen-characters", "x")
KNOWN = Matcher.of_known([(DSN, "an-id"), (USER, "an-id")])
ROWS = NamingRows(KNOWN, (DSN, USER), {})
NAMES = ("value_raw", "val_string")

SPELLINGS = (
    DSN,
    DSN.lower(),
    DSN.title(),
    USER,
    USER.upper(),
    USER[:18].upper() + USER[18:],
    USER.replace("-", ""),
    USER.replace("-", "").upper(),
)
OTHERS = ("LC000X000000099", "3fa85f64-5717-4562-b3fc-2c963f66afff", f"1{DSN}", f"{DSN}x", "", "nobody at all")


def base64(text: str) -> str:
    return b64encode(text.encode()).decode()


def base64_for_urls(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode()


def without_padding(text: str) -> str:
    return base64(text).rstrip("=")


def as_json(text: str) -> str:
    return json.dumps({"a": text, "b": 1})


def with_codes(text: str) -> str:
    """JSON in which each character that isn't a letter or a digit is a code."""
    return '"' + "".join(each if each.isalnum() and each.isascii() else f"\\u{ord(each):04x}" for each in text) + '"'


ENCODINGS: tuple[Callable[[str], str], ...] = (base64, base64_for_urls, without_padding, as_json, with_codes)
before = st.sampled_from(["", " ", "?", "??", "a ", "\n", "é ", "≥", "{", '"', "sn:", "sn_", ">>>"])
# A serial number ends where no letter or digit follows.
after = st.sampled_from(["", " ", "?", "??", "\n", "é", "≥", "}", '"', ":1", "_1", "-2", ">>>"])


@st.composite
def texts(draw: st.DrawFn, inner: tuple[str, ...]) -> str:
    """An identifier in as many encodings as there are, in any alignment."""
    text = draw(before) + draw(st.sampled_from(inner)) + draw(after)
    for encode in draw(st.lists(st.sampled_from(ENCODINGS), max_size=6)):
        text = draw(before) + encode(text) + draw(after)
    return text


def in_file(text: str, matcher: Matcher | None = None) -> bool:
    """Whether the filter of files takes the line of a datapoint whose value is a text: files have it as base64."""
    line = f"1a2b3c4d,LC-THERMO-2,LC000X000000011,note,Tm90ZQ==,string,{base64(text)},,output\n".encode()
    return left(line, of=matcher)[1] == 1


def in_stream(text: str) -> bool:
    """The same of a stream's line, which is JSON."""
    line = json.dumps({"event": {"dsn": "LC000X000000011", "value": text}}, ensure_ascii=False)
    return left(line.encode() + b"\n")[1] == 1


@pytest.fixture(scope="module")
def duck() -> Iterator[Any]:
    with connect() as connection:
        yield connection


def in_rows(text: str, folder: Path, duck: Any, names: tuple[str, ...]) -> bool:
    cells = {"value_raw": base64(text), "val_string": text}
    path = write(folder / "rows.parquet", [[cells[name] for name in names]], names)
    return ROWS.numbers(duck, path) == [0]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@example(text=base64(base64(DSN)))
@example(text=base64(base64(base64(base64(USER)))))
@example(text=f"a\n{DSN}")
@example(text=base64_for_urls(f"{DSN[:-1]}7≥"))
@example(text=f"{USER.replace('-', '')}{'0' * 32}")
@given(text=texts(SPELLINGS))
def test_an_identifier_is_found_in_files_and_rows_however_deep_it_is_encoded(
    text: str, tmp_path: Path, duck: Any
) -> None:
    assert in_file(text)
    assert in_file(text, KNOWN)
    assert in_stream(text)
    for names in (NAMES, NAMES[:1], NAMES[1:]):
        assert in_rows(text, tmp_path, duck, names)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(text=st.one_of(texts(OTHERS), st.text('LC0X7 -_+/=\\nu"abc\n', max_size=80)))
def test_files_and_rows_agree_about_others(text: str, tmp_path: Path, duck: Any) -> None:
    expected = in_file(text)
    assert in_file(text, KNOWN) == in_stream(text) == in_rows(text, tmp_path, duck, NAMES[1:]) == expected


@pytest.mark.parametrize(
    "text",
    [
        f"x{DSN}",
        f"{DSN}y",
        base64(f"x{DSN}y"),
        DSN.encode().hex(),
        USER.replace("-", "%2D"),
        USER.replace("-", "_"),
        base64(USER).replace("Z", "Z\n"),
        b64encode(bytes.fromhex(USER.replace("-", ""))).decode(),
    ],
    ids=["letter before", "letter after", "letters in base64", "hex", "percent", "underscores", "lines", "16 bytes"],
)
def test_what_is_not_looked_for_is_not_found_anywhere(text: str, tmp_path: Path, duck: Any) -> None:
    assert not in_file(text)
    assert not in_stream(text)
    assert not in_rows(text, tmp_path, duck, NAMES)


@pytest.mark.parametrize("character", [*"AVUQZzw05/+", "VVVU", "UVVV", "/+9"])
def test_a_text_that_is_base64_in_every_alignment_takes_no_more_time_than_another(character: str) -> None:
    from ayla_provider.archive.erasures import decodings

    text = (character * 100_000)[:100_000].encode()
    decoded = list(decodings(text, 8))
    assert sum(map(len, decoded)) < 20 * len(text)
    assert b64decode(text[: len(text) // 4 * 4])[:10] in b"".join(decoded)


def test_entries_with_another_key_are_found_alike() -> None:
    entry = ErasureRequest({"dsn": DSN}, None, NOW, NOW).entry(KEYS, NOW, {})
    of_hash = Matcher((subject, KEYS.newest.encode(), entry.id) for subject in entry.subjects)
    assert in_file(base64(base64(f"a {DSN}")), of_hash)


def test_a_value_of_thousands_of_nested_codes_is_one_level() -> None:
    # Whoever can write a value could otherwise stop every erasure.
    codes = "\\" + "u005c" * 5000
    assert KNOWN.words(f'"{codes}"'.encode()) == {}
    assert KNOWN.found(f'"{codes}"'.encode()) == set()
    # However deep: the last backslash makes an A of its code.
    assert KNOWN.found(f'"{codes}u00{ord(DSN[0]):x}{DSN[1:]}"'.encode()) == {"an-id"}
