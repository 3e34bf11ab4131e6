"""How long a layer keeps hours, and what its certificate says of what was removed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from ayla_provider.domain.erasure import Leftover
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.removal import (
    Removed,
    Rule,
    certificate,
    certificate_path,
    describe,
    in_words,
    with_quarantine,
)
from ayla_provider.errors import AylaConfigError

NOW = datetime(2026, 11, 28, 14, 30, tzinfo=UTC)
HOUR = datetime(2026, 11, 1, 5, tzinfo=UTC)
MONTH = timedelta(days=30)


def hour(place: int, event_type: str = "datapoint") -> ExportHour:
    return ExportHour(EventType(event_type), HOUR + place * ONE_HOUR)


def removed() -> Removed:
    """Two hours of datapoints and one of connections, in an order that isn't that of time."""
    counts = Removed.of(Rule("archive", MONTH, NOW))
    counts.add(hour(1), objects=2, size=3000, rows=10)
    counts.add(hour(0, "connection"), objects=1, size=500, rows=1)
    counts.add(hour(2), objects=1, size=96, rows=2)
    return counts


def test_a_rule_is_over_for_whole_hours_and_its_event_types() -> None:
    rule = Rule("archive", MONTH, NOW, event_types=(EventType("datapoint"),))
    assert rule.before == datetime(2026, 10, 29, 14, tzinfo=UTC)
    last = ExportHour(EventType("datapoint"), rule.before - ONE_HOUR)
    assert rule.is_over(last)
    assert not rule.is_over(ExportHour(EventType("datapoint"), rule.before))
    assert not rule.is_over(ExportHour(EventType("connection"), last.start))
    assert Rule("archive", MONTH, NOW).is_over(ExportHour(EventType("connection"), last.start))


@pytest.mark.parametrize("keep_for", [timedelta(days=2) - timedelta(seconds=1), 30])
def test_a_time_that_is_too_short_is_refused_with_the_shortest(keep_for: object) -> None:
    with pytest.raises(AylaConfigError) as caught:
        Rule("rows", keep_for, NOW)  # type: ignore[arg-type]
    assert str(caught.value) == f"keep_for of rows is {keep_for!r}: expected a timedelta of 2 days or more"
    assert Rule("rows", timedelta(days=2), NOW).before == datetime(2026, 11, 26, 14, tzinfo=UTC)


@pytest.mark.parametrize(
    ("keep_for", "quarantine"),
    [
        ({"archive": 5, "quarantine": 9}, 5),
        ({"archive": 9, "quarantine": 5}, 5),
        ({"archive": 7}, 7),
        ({"rows": 3}, None),
    ],
)
def test_malformed_lines_stay_no_longer_than_the_copies(keep_for: dict[str, int], quarantine: int | None) -> None:
    times = {layer: timedelta(days=days) for layer, days in keep_for.items()}
    expected = times if quarantine is None else times | {"quarantine": timedelta(days=quarantine)}
    assert with_quarantine(times) == expected


def test_the_counts_are_added() -> None:
    counts = removed()
    counts.held["case-7"] += 2
    counts.remains = "older versions"
    assert counts.document() == {
        "layer": "archive",
        "keep_for_days": 30.0,
        "before": "2026-10-29T14:00:00+00:00",
        "hours": 3,
        "objects": 4,
        "bytes": 3596,
        "rows": 13,
        "held": {"case-7": 2},
        "hours_by_event_type": {"connection": 1, "datapoint": 2},
        "oldest": "2026-11-01T05:00:00+00:00",
        "newest": "2026-11-01T07:00:00+00:00",
        "remains": "older versions",
    }
    nothing = Removed.of(Rule("rows", MONTH, NOW)).document()
    assert (nothing["oldest"], nothing["newest"], nothing["hours"], nothing["remains"]) == (None, None, 0, "")


def test_the_certificate_has_the_layers_and_who_wrote_it() -> None:
    text = certificate([removed()], started_at=NOW, ended_at=NOW + ONE_HOUR, written_by={"dag_id": "d"})
    assert json.loads(text) == {
        "format": "ayla-export-removal/1",
        "started_at": "2026-11-28T14:30:00+00:00",
        "ended_at": "2026-11-28T15:30:00+00:00",
        "written_by": {"dag_id": "d"},
        "layers": [removed().document()],
    }
    assert text.startswith('{\n "format"')
    assert text.endswith("}\n")


@pytest.mark.parametrize(
    ("what", "name"),
    [("remove_old-1", "remove_old-1"), ("a.b/c", "a-b-c"), ("", "removal")],
)
def test_a_certificate_has_a_path_of_its_own(what: str, name: str) -> None:
    assert certificate_path(NOW, what) == f"_removals/20261128T143000000000Z-{name}.json"


def test_what_was_removed_is_said_in_a_sentence() -> None:
    counts = removed()
    counts.held["case-7"] = 1
    counts.held["case-10"] = 2
    counts.remains = "older versions"
    assert describe(counts, dry_run=False) == (
        "archive lost 3 hours before 2026-10-29 14:00 UTC, 4 files, 3.6 kB, 13 rows; 2 hours stay because of the legal "
        "hold case-10; 1 hour stays because of the legal hold case-7. Older versions."
    )
    empty = Removed.of(Rule("rows", MONTH, NOW))
    assert describe(empty, dry_run=True) == "rows would lose 0 hours before 2026-10-29 14:00 UTC."


def test_what_remains_is_said_once_for_stores_that_have_the_same() -> None:
    counts = removed()
    kept = [
        Leftover("a", "older versions", datetime(2026, 12, 1, tzinfo=UTC)),
        Leftover("b", "older versions", datetime(2026, 12, 3, 23, tzinfo=UTC)),
        Leftover("b", "soft-deleted objects", None),
    ]
    counts.keep(kept[:1])
    counts.keep(kept[1:])
    assert [each.store for each in counts.leftovers] == ["a", "b", "b"]
    assert in_words(counts.leftovers) == "older versions (gone by 2026-12-03); soft-deleted objects"
