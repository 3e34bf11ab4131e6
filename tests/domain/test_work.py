from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayla_provider.domain.work import Work, bigquery_labels, label_value, oem_of, postgres_name, snowflake_tag

WORK = Work(
    dag_id="Load.Fleet",
    task_id="load",
    run_id="scheduled__2026-11-01T08:00:00+00:00",
    oem_id="0dfc7900",
    event_type="datapoint",
)
works = st.builds(Work, st.text(min_size=1, max_size=250), st.text(max_size=250), st.text(max_size=250), st.text())


def test_labels_are_in_bigquerys_alphabet() -> None:
    assert bigquery_labels(WORK) == {
        "ayla_dag": "load-fleet",
        "ayla_task": "load",
        "ayla_run": "scheduled__2026-11-01t08-00-00-00-00",
        "ayla_oem": "0dfc7900",
        "ayla_event_type": "datapoint",
    }


@given(st.text(max_size=300))
def test_any_text_becomes_a_label(text: str) -> None:
    assert re.fullmatch(r"[a-z0-9_-]{0,63}", label_value(text))


def test_labels_that_are_cut_stay_different() -> None:
    one, other = label_value("x" * 80 + "1"), label_value("x" * 80 + "2")
    assert one != other
    assert len(one) == 63
    assert one.startswith("x" * 50)


def test_the_tag_of_snowflake_is_json() -> None:
    assert json.loads(snowflake_tag(WORK)) == {
        "app": "ayla_provider",
        "dag": "Load.Fleet",
        "task": "load",
        "run": "scheduled__2026-11-01T08:00:00+00:00",
        "oem": "0dfc7900",
        "event_type": "datapoint",
    }


@given(works)
def test_no_tag_is_longer_than_snowflake_accepts(work: Work) -> None:
    tag = snowflake_tag(work)
    assert len(tag) <= 2_000
    dag = json.loads(tag)["dag"]
    assert work.dag_id.startswith(dag)
    if all(part.isprintable() for part in work.fields.values()):
        assert dag == work.dag_id


def test_a_tag_of_control_characters_is_cut_and_stays_json() -> None:
    # JSON writes each of them with six characters.
    tag = snowflake_tag(Work(*["\1" * 250] * 5))
    assert 1_900 < len(tag) <= 2_000
    values = json.loads(tag)
    assert {values[name] for name in ("dag", "task", "run", "oem", "event_type")} == {values["run"]}
    assert set(values["run"]) == {"\1"}


def test_a_short_name_of_a_session_is_whole() -> None:
    work = Work("load", "load", "manual__1", "acme", "location")
    assert postgres_name(work) == "ayla:location:acme:load:load:manual__1"


def test_a_long_name_of_a_session_loses_only_the_ends_of_its_longest_parts() -> None:
    name = postgres_name(WORK)
    assert re.fullmatch(r"ayla:datapoint:0dfc7900:Load\.Fleet:load:scheduled__2\S*~[0-9a-f]{6}", name)
    assert len(name) == 63


@given(works)
def test_every_name_of_a_session_fits_and_is_printable(work: Work) -> None:
    name = postgres_name(work)
    assert len(name.encode()) <= 63
    assert re.fullmatch(r"ayla(:[!-9;-~]*){5}", name)


@given(works, works)
def test_names_of_sessions_of_different_runs_differ(one: Work, other: Work) -> None:
    def is_plain(work: Work) -> bool:
        return all(re.fullmatch(r"[!-9;-~]*", part) for part in work.fields.values())

    if one != other and is_plain(one) and is_plain(other):
        assert postgres_name(one) != postgres_name(other)


def test_work_of_nobody_is_not_shown() -> None:
    assert (bigquery_labels(Work()), snowflake_tag(Work()), postgres_name(Work())) == ({}, "", "")


@pytest.mark.parametrize(
    ("export", "oem"),
    [
        ("gs://vendor-bucket/0dfc7900/", "0dfc7900"),
        ("gs://vendor-bucket/moved/0dfc7900", "0dfc7900"),
        ("s3://acme-export", "acme-export"),
        ("kinesis://eu-west-1/fleet", "fleet"),
        ("", ""),
    ],
)
def test_the_oem_is_named_by_the_exports_url(export: str, oem: str) -> None:
    assert oem_of(export) == oem
