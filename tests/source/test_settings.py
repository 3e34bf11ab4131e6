from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.domain.arrival import ArrivalRule
from ayla_provider.errors import AylaConfigError
from ayla_provider.source.settings import (
    REGIONS,
    REQUIRED_FIELDS,
    STORAGE_ENDPOINT,
    AylaSettings,
    ExportSettings,
    export_settings,
)
from ayla_provider.transport.network import Network

PASSWORD = "pw-5f3a"
APP_SECRET = "secret-77c1"
COLUMNS: dict[str, Any] = {"login": "admin@example.com", "password": PASSWORD, "host": None, "port": None}
EXTRA: dict[str, Any] = {
    "app_id": "app-id",
    "app_secret": APP_SECRET,
    "oem_id": "0a1b2c3d",
    "bucket": "ayla-export",
    "acs_url": "https://acs.example.com/token",
}
REQUIRED = ["login", "password", "app_id", "app_secret", "oem_id", "bucket", "acs_url"]


def settings(**changes: Any) -> AylaSettings:
    """The settings of a connection that is complete but for these changes, of a column or in the extra."""
    columns = COLUMNS | {name: value for name, value in changes.items() if name in COLUMNS}
    extra = EXTRA | {name: value for name, value in changes.items() if name not in COLUMNS}
    return AylaSettings.from_fields(conn_id="ayla_default", **columns, extra=extra)


def refusal(**changes: Any) -> str:
    with pytest.raises(AylaConfigError) as refused:
        settings(**changes)
    assert not refused.value.retryable
    return str(refused.value)


def test_the_fields_of_a_connection_become_settings() -> None:
    assert settings() == AylaSettings(
        user_url="https://user-field.aylanetworks.com",
        acs_url="https://acs.example.com/token",
        email="admin@example.com",
        password=PASSWORD,
        app_id="app-id",
        app_secret=APP_SECRET,
        oem_id="0a1b2c3d",
        bucket="ayla-export",
        export=ExportSettings(root="0a1b2c3d/"),
        storage_endpoint=STORAGE_ENDPOINT,
    )


@pytest.mark.parametrize("empty", [None, ""])
@given(missing=st.sets(st.sampled_from(REQUIRED), min_size=1))
def test_every_missing_field_is_named_and_no_other(empty: str | None, missing: set[str]) -> None:
    message = refusal(**dict.fromkeys(missing, empty))
    fields = message.partition("missing")[0].replace("'ayla_default'", "")
    assert {name for name in REQUIRED if REQUIRED_FIELDS[name] in fields} == missing
    assert "'ayla_default'" in message


@pytest.mark.parametrize(
    ("region", "url"),
    [
        (None, "https://user-field.aylanetworks.com"),
        ("", "https://user-field.aylanetworks.com"),
        ("us", "https://user-field.aylanetworks.com"),
        ("eu", "https://user-field-eu.aylanetworks.com"),
        ("cn", "https://user-field.ayla.com.cn"),
        ("us-dev", "https://user-dev.aylanetworks.com"),
        ("cn-dev", "https://user-dev.ayla.com.cn"),
    ],
)
def test_a_region_has_its_user_service(region: str | None, url: str) -> None:
    assert settings(region=region).user_url == url


def test_an_unknown_region_is_refused_with_the_known_ones() -> None:
    message = refusal(region="mars")
    assert "region is 'mars'" in message
    assert all(region in message for region in REGIONS)


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        ("user-field-1a2b.example.com", None, "https://user-field-1a2b.example.com"),
        ("user.example.com", 8443, "https://user.example.com:8443"),
        ("user.example.com:8443", None, "https://user.example.com:8443"),
        ("user.example.com:8443", 9, "https://user.example.com:8443"),
        ("https://user.example.com/", None, "https://user.example.com"),
        ("https://user.example.com/ayla/", None, "https://user.example.com/ayla"),
        (" https://user.example.com ", None, "https://user.example.com"),
        ("http://127.0.0.1", 8080, "http://127.0.0.1:8080"),
        ("http://[::1]", 8080, "http://[::1]:8080"),
        ("fd00::1", 8443, "https://[fd00::1]:8443"),
        ("fd00::1", None, "https://[fd00::1]"),
        (" ::1\n", None, "https://[::1]"),
        ("[fd00::1]", 8443, "https://[fd00::1]:8443"),
    ],
)
def test_a_host_takes_the_place_of_the_region(host: str, port: int | None, url: str) -> None:
    assert settings(host=host, port=port, region="eu").user_url == url


@pytest.mark.parametrize("field", ["host", "acs_url", "storage_endpoint"])
@pytest.mark.parametrize("value", ["ftp://example.com", "https://", "https:///path", "https://a:b", "https://[::1"])
def test_an_invalid_url_is_refused_with_the_name_of_its_field(field: str, value: str) -> None:
    assert f"'ayla_default': {field} is not a valid URL" in refusal(**{field: value})


@pytest.mark.parametrize("field", ["host", "acs_url", "storage_endpoint", "proxy"])
@pytest.mark.parametrize("odd", ["\n", "\r", "\t", "\0", "\x7f"])
def test_a_control_character_inside_a_url_is_refused_with_the_name_of_its_field(field: str, odd: str) -> None:
    assert f"{field} is not a valid URL" in refusal(**{field: f"https://exam{odd}ple.com"})
    assert f"{field} is not a valid URL" in refusal(**{field: f"https://example.com/{odd}a"})


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_a_port_that_cant_be_is_refused(port: int) -> None:
    assert f"port is {port}: expected 1 to 65535" in refusal(host="user.example.com", port=port)


@pytest.mark.parametrize("field", ["acs_url", "storage_endpoint"])
def test_a_url_without_a_scheme_is_refused_where_the_whole_is_needed(field: str) -> None:
    assert f"{field} is not a valid URL" in refusal(**{field: "acs.example.com/token"})


@pytest.mark.parametrize("field", ["host", "acs_url", "storage_endpoint"])
@pytest.mark.parametrize(
    "host", ["user.example.com", "10.0.0.1", "localhost.example.com", "127.0.0.1.example.com", "127.1", "[::2]"]
)
def test_plain_http_beyond_this_machine_needs_permission(field: str, host: str) -> None:
    url = f"http://{host}:8080"
    for refused in (None, False, "false", "0", "no", "maybe"):
        message = refusal(**{field: url, "allow_http": refused})
        assert f"{field} uses plain http" in message
        assert "allow_http" in message
    for allowed in (True, "true", "True", " on ", "1", 1):
        settings(**{field: url, "allow_http": allowed})


@pytest.mark.parametrize("field", ["host", "acs_url", "storage_endpoint"])
@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "2852039166", "0xa9fea9fe", "169.254.43518", "[fe80::1]", "[::ffff:169.254.169.254]"],
)
def test_a_link_local_address_is_refused_even_with_permission(field: str, host: str) -> None:
    assert "link-local" in refusal(**{field: f"http://{host}/", "allow_http": True})


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.10", "[::1]"])
def test_plain_http_within_this_machine_needs_no_permission(host: str) -> None:
    url = f"http://{host}:8080"
    made = settings(host=url, acs_url=url, storage_endpoint=url)
    assert (made.user_url, made.acs_url, made.storage_endpoint) == (url, url, url)


@pytest.mark.parametrize("field", ["oem_id", "bucket"])
@pytest.mark.parametrize("value", ["gs://bucket", "a/b", "..", ".", "/", "a b", "a\tb", "-a", "é", "_manifests"])
def test_a_name_that_could_lead_elsewhere_is_refused_and_named(field: str, value: str) -> None:
    assert f"{field} is {value!r}" in refusal(**{field: value})


@pytest.mark.parametrize("written", [lambda folders: folders, json.dumps], ids=["object", "JSON text"])
def test_the_spelling_of_a_folder_can_be_set_for_any_spelling_of_its_event_type(written: Any) -> None:
    folders = {"Datapoint-Ack": "DPA", "connection": "conn events", "activation": "Activation"}
    expected = {"datapoint_ack": "DPA", "connection": "conn events", "activation": "Activation"}
    assert settings(event_folders=written(folders)).export.event_folders == expected


def test_an_event_type_can_have_several_folders() -> None:
    written = {"connection": ["Connections v2", "Connection", "Connection"], "datapoint": "DP"}
    expected = {"connection": ("Connections v2", "Connection"), "datapoint": "DP"}
    assert settings(event_folders=written).export.event_folders == expected


@pytest.mark.parametrize(
    "value",
    [
        *(
            "{",
            "[]",
            '"datapoint"',
            "null",
            3,
            ["datapoint"],
            {"datapoint": ""},
            {"datapoint": "a/b"},
            {"datapoint": 1},
        ),
        *({"datapoint": []}, {"datapoint": ["a", "b/c"]}, {"datapoint": ["a", 1]}),
    ],
)
def test_malformed_event_folders_are_refused_and_named(value: object) -> None:
    assert "event_folders" in refusal(event_folders=value)


def test_no_secret_shows_in_a_repr() -> None:
    made = settings()
    for text in (repr(made), str(made), f"{[made]}"):
        assert PASSWORD not in text
        assert APP_SECRET not in text


@pytest.mark.parametrize("field", ["host", "acs_url", "storage_endpoint"])
@pytest.mark.parametrize("scheme", ["https", "http", "ftp"])
def test_no_secret_of_a_url_shows_in_an_error(field: str, scheme: str) -> None:
    for user_info in (f"user:{PASSWORD}", PASSWORD, f"{PASSWORD}:", f":{PASSWORD}"):
        assert PASSWORD not in refusal(**{field: f"{scheme}://{user_info}@example.com"})


@given(
    st.fixed_dictionaries(
        {},
        optional={name: st.sampled_from([None, "", "/", "http://a.b", "a b", "[]"]) for name in EXTRA}
        | {"region": st.just("x"), "event_folders": st.just("x"), "host": st.just("x://"), "login": st.just("")},
    )
)
def test_no_secret_shows_in_any_other_error(changes: dict[str, Any]) -> None:
    try:
        settings(**changes)
    except AylaConfigError as refused:
        assert PASSWORD not in str(refused)  # noqa: PT017 - whichever it is
        assert APP_SECRET not in str(refused)  # noqa: PT017


def test_a_fingerprint_changes_with_each_thing_that_decides_a_sign_in_alone() -> None:
    made = settings()
    changes: list[dict[str, Any]] = [
        {name: "other"} for name in ("user_url", "email", "password", "app_id", "app_secret")
    ]
    others = [replace(made, **change) for change in changes]
    assert len({made.fingerprint, *(other.fingerprint for other in others)}) == 6
    assert replace(made, bucket="other", oem_id="other", acs_url="other").fingerprint == made.fingerprint
    assert settings().fingerprint == made.fingerprint


@given(*[st.text("ab", max_size=3)] * 4)
def test_two_sign_ins_have_one_fingerprint_only_if_they_are_the_same(a: str, b: str, c: str, d: str) -> None:
    one = replace(settings(), email=a, password=b)
    other = replace(settings(), email=c, password=d)
    assert (one.fingerprint == other.fingerprint) is ((a, b) == (c, d))


def test_a_fingerprint_holds_no_secret() -> None:
    assert len(settings().fingerprint) == 32
    assert PASSWORD not in settings().fingerprint


@pytest.mark.parametrize("url", ["https://u:hunter2/x@host", "https://u:hunter2#@h", "https://u:hunter2\u2100@host"])
def test_a_password_in_a_broken_url_isnt_shown(url: str) -> None:
    assert "hunter2" not in refusal(acs_url=url)


@pytest.mark.parametrize(
    "host", ["not a host!", "https://@h", "https://h?x=1", "https://h:0", "https://", "https://a..b"]
)
def test_a_host_that_is_none_is_refused_before_any_request(host: str) -> None:
    assert "host" in refusal(host=host)


def test_white_space_around_what_was_pasted_doesnt_count() -> None:
    pasted = settings(login=" e@example.com\n", app_id=" id ", bucket="b\n")
    assert (pasted.email, pasted.app_id, pasted.bucket) == ("e@example.com", "id", "b")


@pytest.mark.parametrize("folders", [{"!": "X"}, {"Datapoint": "A", "data point": "B"}])
def test_an_event_folder_that_cant_be_names_its_field(folders: dict[str, str]) -> None:
    assert "event_folders" in refusal(event_folders=folders)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("http://proxy.example.com:3128", "http://proxy.example.com:3128"),
        ("proxy.example.com:3128", "http://proxy.example.com:3128"),
        ("https://proxy.example.com/", "https://proxy.example.com"),
        (" http://me:p%40ss@10.0.0.1:8080\n", "http://me:p%40ss@10.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_proxy_is_read(written: str, read: str) -> None:
    assert settings(proxy=written).network == Network(proxy=read)


@pytest.mark.parametrize(
    "rest",
    ["@", "@host:port", "@host:0", "@host/path", "@host?x", "@host#x", "@a b:1", "/@host", "@[::1", "\u2100@host"],
)
@pytest.mark.parametrize("scheme", ["http://", "https://", "socks5://", ""])
def test_an_invalid_proxy_is_refused_without_its_password(scheme: str, rest: str) -> None:
    message = refusal(proxy=f"{scheme}me:hunter2{rest}")
    assert "proxy is not a valid URL" in message
    assert "hunter2" not in message


def test_the_secrets_of_a_proxy_are_known_and_do_not_show() -> None:
    made = settings(proxy="http://me:hunter%2F2@host:1")
    assert set(made.secrets) == {PASSWORD, APP_SECRET, "http://me:hunter%2F2@host:1", "hunter%2F2", "hunter/2"}
    assert "hunter" not in repr(made)
    assert settings(proxy="http://host:1").secrets == (PASSWORD, APP_SECRET)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't be read (No such file"),
        ("", "no certificate in PEM format"),
        ("-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n", "no certificate in PEM format"),
        ("folder", "can't be read (Is a directory"),
    ],
)
def test_an_invalid_ca_file_is_reported_before_any_request(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "ca.pem"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    refused = refusal(ca_file=str(path))
    assert f"ca_file is {str(path)!r}" in refused
    assert message in refused


def test_a_ca_file_is_given_by_its_whole_path() -> None:
    assert "absolute path" in refusal(ca_file="ca.pem")


def test_a_ca_file_is_taken(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    assert settings(ca_file=str(tmp_path / "ca.pem")).network == Network(ca_file=str(tmp_path / "ca.pem"))


@pytest.mark.parametrize(
    ("given_minutes", "expected"),
    [
        ({}, ArrivalRule(timedelta(minutes=15), timedelta(minutes=90))),
        ({"quiet_period": "20", "patience": 180}, ArrivalRule(timedelta(minutes=20), timedelta(minutes=180))),
        ({"quiet_period": " 0 "}, ArrivalRule(timedelta(0), timedelta(minutes=90))),
        ({"patience": "2.5", "quiet_period": ""}, ArrivalRule(timedelta(minutes=15), timedelta(seconds=150))),
        ({"patience": None}, ArrivalRule()),
    ],
)
def test_the_arrival_rule_is_given_in_minutes(given_minutes: dict[str, Any], expected: ArrivalRule) -> None:
    assert settings(**given_minutes).export.rule == expected
    assert export_settings("ayla_s3", given_minutes).rule == expected


@pytest.mark.parametrize("name", ["quiet_period", "patience"])
@pytest.mark.parametrize("value", ["-1", -0.5, "soon", "15 minutes", "nan", "inf", "43201", "1e300", True, [15]])
def test_an_arrival_rule_that_isnt_in_minutes_is_refused(name: str, value: Any) -> None:
    message = f"{name} is {value!r}: expected minutes, from 0 to 43,200"
    assert message in refusal(**{name: value})
    with pytest.raises(AylaConfigError, match="connection 'ayla_s3'"):
        export_settings("ayla_s3", {name: value})


def test_the_credentials_service_keeps_the_slash_of_its_address() -> None:
    assert settings(acs_url="https://acs.example.com/token/").acs_url == "https://acs.example.com/token/"
    assert settings(host="https://user.example.com/").user_url == "https://user.example.com"


KEY = "0123456789abcdef-0123456789"


def test_the_credentials_service_keeps_the_query_of_its_address() -> None:
    url = f"https://acs.example.com/token?v=2&key={KEY}"
    made = settings(acs_url=url)
    assert (made.acs_url, made.acs_address) == (url, "https://acs.example.com/token")
    assert KEY in made.secrets
    assert "2" not in made.secrets
    assert KEY not in repr(made)


@pytest.mark.parametrize(
    ("field", "end"), [("host", "?a=b"), ("storage_endpoint", "?a=b"), ("host", "#a"), ("acs_url", "#a")]
)
def test_a_query_is_refused_elsewhere_and_a_fragment_everywhere(field: str, end: str) -> None:
    assert f"{field} has a " in refusal(**{field: f"https://example.com/path{end}"})


@pytest.mark.parametrize("written", ["%Y-%m-%dT%H:%M:%SZ", " %Y/%m/%d/%H ", "%d.%m.%Y %H", "hour-%H/%Y-%m-%d"])
def test_a_pattern_of_hours_is_read(written: str) -> None:
    pattern = settings(hour_pattern=written).export.hour_pattern
    assert pattern is not None
    assert pattern.text == written.strip()


@pytest.mark.parametrize("written", [None, "", "  "])
def test_without_a_pattern_folders_have_the_known_styles(written: str | None) -> None:
    assert settings(hour_pattern=written).export.hour_pattern is None
    assert export_settings("ayla_s3", {"hour_pattern": written.strip() if written else written}).hour_pattern is None


@pytest.mark.parametrize(
    "written", ["%Y-%m-%d", "%Y/%m/%d/%H/%H", "%y-%m-%d %H", "2026", 7, ["%Y"], "../%Y%m%d%H", "%"]
)
def test_a_pattern_that_names_no_hour_is_refused(written: object) -> None:
    for refused in (
        lambda: settings(hour_pattern=written),
        lambda: export_settings("ayla_default", {"hour_pattern": written}),
    ):
        with pytest.raises(AylaConfigError, match="connection 'ayla_default': hour_pattern is"):
            refused()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (None, ()),
        ("", ()),
        ([], ()),
        ("[]", ()),
        (["Datapoint/README*", "backup/*"], ("Datapoint/README*", "backup/*")),
        ('["Datapoint Ack/notes.txt"]', ("Datapoint Ack/notes.txt",)),
    ],
)
def test_the_objects_to_ignore_are_read(written: object, read: tuple[str, ...]) -> None:
    assert settings(ignored_objects=written).export.ignored_objects == read
    assert export_settings("ayla_s3", {"ignored_objects": written}).ignored_objects == read


@pytest.mark.parametrize(
    "written",
    ["README", "{}", '{"a": 1}', {"a": "b"}, [1], ["*"], ["*/x"], ["README"], ["Data*/x"], ["Datapoint/"], 7, [[]]],
)
def test_objects_to_ignore_that_could_hide_whole_folders_are_refused(written: object) -> None:
    assert "ignored_objects is not a JSON list of names or patterns" in refusal(ignored_objects=written)
    with pytest.raises(AylaConfigError, match="connection 'ayla_s3': ignored_objects"):
        export_settings("ayla_s3", {"ignored_objects": written})


@pytest.mark.parametrize(
    ("written", "days"), [(None, None), ("", None), (365, 365), ("90", 90), (" 365 ", 365), (1, 1), (3660, 3660)]
)
def test_the_retention_is_given_in_days(written: object, days: int | None) -> None:
    expected = None if days is None else timedelta(days=days)
    assert settings(retention=written).export.retention == expected
    assert export_settings("ayla_s3", {"retention": written}).retention == expected


@pytest.mark.parametrize("written", [0, -1, "a year", "365d", 3661, "nan", "inf", True, [365]])
def test_a_retention_that_isnt_in_days_is_refused(written: object) -> None:
    assert f"retention is {written!r}: expected days, from 1 to 3,660" in refusal(retention=written)


def test_objects_to_ignore_can_begin_with_the_oem_id_as_messages_show_them() -> None:
    written = [f"{EXTRA['oem_id']}/Connection/notes[1].txt", "Old [backup]/*", "Old[*]/x"]
    assert settings(ignored_objects=written).export.ignored_objects == (
        "Connection/notes[1].txt",
        "Old [backup]/*",
        "Old[*]/x",
    )
    assert "ignored_objects" in refusal(ignored_objects=[f"{EXTRA['oem_id']}/*"])


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (None, "0a1b2c3d/"),
        ("", "0a1b2c3d/"),
        ("/", ""),
        ("export", "export/"),
        ("0a1b2c3d/export/", "0a1b2c3d/export/"),
        (" /a b/c/ ", "a b/c/"),
    ],
)
def test_a_prefix_replaces_the_oem_id_as_the_folder_of_all_event_folders(written: str | None, read: str) -> None:
    assert settings(prefix=written).export.root == read


@pytest.mark.parametrize(("written", "read"), [(None, ""), ("", ""), ("/", ""), ("a/b", "a/b/"), (" /a b/ ", "a b/")])
def test_a_prefix_in_s3_is_none_by_default(written: str | None, read: str) -> None:
    assert export_settings("ayla_s3", {"prefix": written}).root == read


@pytest.mark.parametrize("written", ["a//b", "gs://bucket/a", "a\nb"])
def test_a_prefix_that_is_no_folder_is_refused(written: str) -> None:
    assert "prefix is" in refusal(prefix=written)


def test_objects_to_ignore_can_begin_with_the_prefix() -> None:
    assert settings(prefix="a/b", ignored_objects=["a/b/Connection/x"]).export.ignored_objects == ("Connection/x",)
