"""The answer key of the stream: its archive, its tables, and what a comparison with the export must find."""

from __future__ import annotations

import base64
import gzip
import json
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import duckdb

from ayla_provider.archive.stream_coverage import read_coverage
from ayla_provider.domain.completeness import Completeness, HourCompleteness
from ayla_provider.domain.events import parse_event_type
from ayla_provider.domain.hour import ONE_HOUR, ExportHour
from ayla_provider.domain.paths import STREAM_POSITION, TYPED_ROWS
from ayla_provider.local_cloud.rows import LAYOUTS
from ayla_provider.local_cloud.stream import StreamAnswer
from ayla_provider.local_cloud.stream_records import identity_of, row_of
from ayla_provider.rows.completeness import CompletenessComparison, Side
from simulation.drains import expired_between
from simulation.setup import Setup
from simulation.stream import TABLE_PREFIX, Arrival, arrivals_of, fleet_of, shards_of
from simulation.subjects import Subjects
from simulation.weeks import Window, is_in
from simulation.worker import destination_of

_SHOWN = 3


class StreamKey:
    """
    What the stream's archive and tables must have at the end, and the comparison with them.

    :param event_types: those that are loaded
    :param windows: the times whose hours are loaded
    :param erased: who is erased
    """

    def __init__(self, setup: Setup, event_types: Collection[str], windows: Sequence[Window], erased: Subjects) -> None:
        self._setup = setup
        self._event_types = event_types
        self._windows = windows
        self._erased = erased
        self._fleet = fleet_of(setup.stream)
        self._parents = {planned.id: planned.parents for planned in shards_of(setup.stream)}
        self.states: Counter[Completeness] = Counter()
        """What the comparison said of the hours."""
        self.found: Counter[str] = Counter()
        """How many events the comparison found that one side lacks: ``only_export`` and ``only_stream``."""

    def differences(
        self, now: datetime, hours: Sequence[datetime], drained_at: Sequence[datetime], lost: Collection[str]
    ) -> list[str]:
        """
        Return how the archive, the tables, and the comparison differ from the answer key.

        :param hours: those of the export
        :param drained_at: the times of the drains that came to their end
        :param lost: the names of the export's files that neither the vendor nor the archive has any more
        """
        everything = {
            (shard.id, arrival.record.number): arrival
            for shard in shards_of(self._setup.stream)
            for arrival in arrivals_of(self._setup.stream, shard.id)
        }
        spans = expired_between(drained_at)
        expired = {place for place, arrival in everything.items() if _is_in_one(arrival.record.arrived_at, spans)}
        kept = {
            place: arrival
            for place, arrival in everything.items()
            if place not in expired and not self._is_erased(arrival)
        }
        archive = self._setup.stream_archive()
        problems = list(_different_records(kept, archive))
        problems += self._different_gaps({place: everything[place] for place in expired}, archive)
        for event_type in self._event_types:
            problems += self._different_rows(event_type, kept.values())
            for start, end in self._windows:
                of_window = [hour for hour in hours if start <= hour < end]
                problems += self._different_hours(event_type, now, of_window, lost)
        return problems

    def _is_erased(self, arrival: Arrival) -> bool:
        event = arrival.event
        return bool(event.event_type) and self._erased.names(event.hour, _text_of(arrival.record.data))

    def _different_gaps(
        self, expired: Mapping[tuple[str, int], Arrival], archive: Mapping[str, bytes]
    ) -> Iterator[str]:
        """Yield the records that expired outside of a gap, and that there are gaps although none expired."""
        gaps = json.loads(archive[STREAM_POSITION])["gaps"]
        for (shard, number), arrival in expired.items():
            time = arrival.record.arrived_at.isoformat()
            # A shard that came while nobody drained continues one whose gap has no end before that.
            related = self._with_ancestors(shard)
            if not any(gap["shard"] in related and gap["start"] <= time < gap["end"] for gap in gaps):
                yield f"the record {number} of {shard} expired, and no gap says so"
        if gaps and not expired:
            yield f"nothing expired, and there are {len(gaps)} gaps"

    def _with_ancestors(self, shard: str) -> set[str]:
        found: set[str] = set()
        waiting = [shard]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self._parents[name]
        return found

    def _different_rows(self, event_type: str, kept: Collection[Arrival]) -> Iterator[str]:
        expected: dict[datetime, set[str]] = {}
        for arrival in kept:
            if arrival.event.event_type == event_type and is_in(arrival.event.hour, self._windows):
                expected.setdefault(arrival.event.hour, set()).add(arrival.event.identity)
        found = self._rows(event_type)
        identity = LAYOUTS[event_type].identity
        for hour in sorted(expected.keys() | found.keys()):
            wanted, held = expected.get(hour, set()), found.get(hour, Counter())
            is_equal = held == Counter(wanted) if identity else held.total() == len(wanted)
            if not is_equal:
                yield (
                    f"stream: {event_type} {hour:%Y-%m-%d %H:%M}: the table has {held.total()} rows, and the stream "
                    f"had {len(wanted)} events"
                )

    def _rows(self, event_type: str) -> dict[datetime, Counter[str]]:
        """Return the ids of the rows of a table, by hour."""
        identity = LAYOUTS[event_type].identity or "null"
        found: dict[datetime, Counter[str]] = {}
        with duckdb.connect(str(self._setup.database)) as connection:
            connection.execute("set TimeZone = 'UTC'")
            query = f"select folder_hour, {identity}::varchar from {TABLE_PREFIX}{event_type}"  # noqa: S608 - constants
            for hour, value in connection.execute(query).fetchall():
                found.setdefault(hour.astimezone(UTC), Counter())[str(value)] += 1
        return found

    def _different_hours(
        self, event_type: str, now: datetime, hours: Sequence[datetime], lost: Collection[str]
    ) -> Iterator[str]:
        """Compare the export with the stream, and yield how the result differs from the answer key."""
        place = self._setup.place
        export, stream = (
            Side(destination_of(replace(place, url=url)), destination_of(replace(place, url=f"{url}/{TYPED_ROWS}")))
            for url in (place.url, place.stream_url)
        )
        unusable = {hours[0] - ONE_HOUR, hours[-1] + ONE_HOUR} | {
            answer.hour
            for answer in self._setup.cloud.answer_key()
            if answer.event_type == event_type and any(file.object_name in lost for file in answer.files)
        }
        coverage = read_coverage(stream.archive)
        name = parse_event_type(event_type)
        with CompletenessComparison(export, stream, coverage, now=now) as comparison:
            results = comparison.compare(name, hours[0], hours[-1] + ONE_HOUR)
        archive = self._setup.stream_archive()
        touched = {
            hour
            for hour in hours
            for gap in coverage.gaps
            if (gap.start is None or gap.start - ONE_HOUR < hour + ONE_HOUR) and gap.end + ONE_HOUR > hour
        }
        # Hours beside a week aren't loaded. So it isn't certain what can be said of the week's first and last hour.
        at_edges = {hours[0], hours[-1]} - {self._setup.stream.start, self._setup.stream.end - ONE_HOUR}
        seen = False
        for result in results:
            if result.hour.start in at_edges:
                continue
            whole = self._fleet.answer(event_type, result.hour.start)
            seen = seen or bool(whole.both or whole.only_stream)
            answer = self._left(whole)
            self.states[result.state] += 1
            wanted = _state(answer, result.hour, self._setup.stream.start, touched, unusable)
            if result.state is not wanted and (seen or result.state is not Completeness.STREAM_OPEN):
                yield f"{result.hour} is {result.state.value} ({result.reason}), and should be {wanted.value}"
            elif result.state.is_compared:
                self.found.update(only_export=result.only_export, only_stream=result.only_stream)
                yield from _different_events(result, answer, archive)

    def _left(self, answer: StreamAnswer) -> StreamAnswer:
        """Return an answer without the events that are erased."""
        hour = answer.hour
        exported = {
            identity_of(answer.event_type, row_of(answer.event_type, line.decode()))
            for file in self._fleet.fleet.files(answer.event_type, hour)
            for line in file.contents[-1].split(b"\r\n")[:-1]
            if _is_row(answer.event_type, line) and not self._erased.names(hour, line)
        }
        streamed = {
            record.identity
            for record in self._fleet.records(hour)
            if record.event_type == answer.event_type and not self._erased.names(hour, _text_of(record.data))
        }
        return replace(
            answer,
            both=frozenset(answer.both & exported & streamed),
            only_stream=frozenset((answer.only_stream | answer.both) & streamed - exported),
            only_export=frozenset((answer.only_export | answer.both) & exported - streamed),
        )


def _text_of(data: bytes) -> bytes:
    """Return a record as text in which everything is as it was before JSON."""
    try:
        return json.dumps(json.loads(data), ensure_ascii=False).encode()
    except ValueError:
        return data


def _is_row(event_type: str, line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return line.count(b",") == len(LAYOUTS[event_type].columns) - 1


def _is_in_one(time: datetime, spans: Sequence[tuple[datetime, datetime]]) -> bool:
    return any(start <= time < end for start, end in spans)


def _different_records(kept: Mapping[tuple[str, int], Arrival], archive: Mapping[str, bytes]) -> Iterator[str]:
    """Yield the records that the archive lacks, has twice, or has in another form."""
    found: dict[tuple[str, int], bytes] = {}
    for path in sorted(archive):
        if not path.endswith(".jsonl.gz"):
            continue
        for line in gzip.decompress(archive[path]).splitlines():
            document = json.loads(line)
            place = document["shard"], int(document["sequence"])
            if place in found:
                yield f"{path}: the record {place[1]} of {place[0]} is there twice"
            event = line.partition(b',"event":')[2].removesuffix(b"}")
            found[place] = base64.b64decode(document["data"]) if "data" in document else event
            if place in kept and kept[place].event.event_type and not path.startswith(_folder(kept[place])):
                yield f"{path}: the record {place[1]} of {place[0]} is in the wrong hour"
    lacking, extra = kept.keys() - found.keys(), found.keys() - kept.keys()
    if lacking or extra:
        shown = sorted(lacking | extra)[:_SHOWN]
        yield (
            f"the stream's archive lacks {len(lacking)} of {len(kept)} records, and has {len(extra)} that it "
            f"shouldn't have: {shown}"
        )
    changed = [place for place in kept.keys() & found.keys() if kept[place].record.data != found[place]]
    if changed:
        yield f"the stream's archive has {len(changed)} records with other bytes: {sorted(changed)[:_SHOWN]}"


def _folder(arrival: Arrival) -> str:
    return f"{ExportHour(parse_event_type(arrival.event.event_type), arrival.event.hour).partition}/"


def _state(
    answer: StreamAnswer, hour: ExportHour, first: datetime, touched: set[datetime], unusable: set[datetime]
) -> Completeness:
    """
    Return what the comparison must say of an hour.

    :param touched: the hours in or beside a gap
    :param unusable: the hours that the export's archive doesn't have, or not in full
    """
    if hour.start == first:
        return Completeness.BEFORE_STREAM
    if hour.start in touched:
        return Completeness.GAP
    around = {hour.start - ONE_HOUR, hour.end}
    if hour.start in unusable or (answer.only_stream and around & unusable):
        return Completeness.NOT_SETTLED
    if answer.only_stream and answer.only_export:
        return Completeness.BOTH_MISSING
    if answer.only_stream:
        return Completeness.MISSING_IN_EXPORT
    return Completeness.MISSING_IN_STREAM if answer.only_export else Completeness.COMPLETE


def _different_events(result: HourCompleteness, answer: StreamAnswer, archive: Mapping[str, bytes]) -> Iterator[str]:
    counts = result.both, result.only_export, result.only_stream
    wanted = len(answer.both), len(answer.only_export), len(answer.only_stream)
    if counts != wanted:
        yield f"{result.hour}: the comparison found {counts} events in both, only the export, only the stream: {wanted}"
    if not result.missing_path or LAYOUTS[answer.event_type].identity is None:
        return
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        file.write(archive[result.missing_path])
        file.flush()
        query = f"select only_in, id from read_parquet('{file.name}')"  # noqa: S608 - a path of ours
        with duckdb.connect() as connection:
            found = set(connection.execute(query).fetchall())
    missing = {("export", identity) for identity in answer.only_export}
    missing |= {("stream", identity) for identity in answer.only_stream}
    if found != missing:
        yield f"{result.hour}: the comparison names {sorted(found ^ missing)[:_SHOWN]} wrongly, or not at all"
