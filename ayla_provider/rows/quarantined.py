"""What lies in an archive's quarantine, by reason and month; and another try to load it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ayla_provider.archive.destination import Destination
from ayla_provider.archive.private import open_private
from ayla_provider.archive.scratch import scratch_folder
from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS, ColumnLayout
from ayla_provider.domain.events import EventType
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.paths import QUARANTINE, parse_manifest_path
from ayla_provider.domain.privacy import PrivacyPolicy
from ayla_provider.domain.typed_manifest import new_columns_in
from ayla_provider.errors import AylaConfigError, AylaError
from ayla_provider.rows.duck import connect, literal
from ayla_provider.rows.parquet import duckdb_errors
from ayla_provider.rows.typed_archive import TypedArchive
from ayla_provider.rows.verify import read_receipt


@dataclass(slots=True)
class Reason:
    """Lines of one event type, month, and reason."""

    event_type: str
    month: str
    """``2026-11``, of the hours."""
    reason: str
    lines: int = 0
    hours: int = 0
    first: datetime | None = None
    last: datetime | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of an hour that was tried again."""

    hour: ExportHour
    before: int
    """Quarantined lines before."""
    after: int
    """Quarantined lines now."""
    problem: str = ""
    """Why it wasn't tried; empty if it was."""


def quarantined_hours(
    archive: Destination, event_types: Collection[EventType] | None, start: datetime, end: datetime
) -> list[ExportHour]:
    """
    Return the hours that have a quarantine file, in order.

    It takes one listing.

    :param event_types: None for all
    :param start: the first hour, aware
    :param end: the end of the last hour, aware
    :raises AylaDestinationError: if the archive can't be listed
    """
    hours = []
    for listed in archive.tree(f"{QUARANTINE}/"):
        stem, dot, _ = listed.stored.path.rpartition(".parquet")
        hour = parse_manifest_path(f"{stem}.json", QUARANTINE) if dot else None
        is_wanted = hour and start <= hour.start < end and (event_types is None or hour.event_type in event_types)
        if hour and is_wanted:
            hours.append(hour)
    return sorted(hours)


def reasons_of(archive: Destination, hours: Collection[ExportHour]) -> list[Reason]:
    """
    Return why lines are in the quarantine: by event type, month, and reason, the most frequent first.

    It reads the quarantine file of each hour.

    :raises AylaError: if a file can't be read
    """
    found: dict[tuple[str, str, str], Reason] = {}
    for hour, reasons in _counted(archive, hours):
        for reason, lines in reasons.items():
            key = (str(hour.event_type), f"{hour.start:%Y-%m}", reason)
            entry = found.setdefault(key, Reason(*key))
            entry.lines += lines
            entry.hours += 1
            entry.first = min(hour.start, entry.first or hour.start)
            entry.last = max(hour.start, entry.last or hour.start)
    return sorted(found.values(), key=lambda entry: (entry.event_type, entry.month, -entry.lines, entry.reason))


def replay(
    archive: Destination,
    rows: Destination,
    hour: ExportHour,
    written_by: Mapping[str, str],
    *,
    policy_key: str = "",
    layouts: Sequence[ColumnLayout] = COLUMN_LAYOUTS,
    ignored_files: Sequence[str] = (),
) -> Replayed:
    """
    Make an hour's rows again, because its layout was declared, or a parser was fixed.

    They are made under the policy that the hour has.

    :param written_by: for the receipt
    :param policy_key: of the hashes of that policy
    :param layouts: those that files may have
    :param ignored_files: as in the loads
    :raises AylaError: if the rows can't be read or written
    """
    receipt = read_receipt(rows, hour)
    if receipt is None:
        return Replayed(hour, 0, 0, "it was never typed: the next load tries it anyway")
    if receipt.removed:
        return Replayed(hour, 0, 0, "a rule removed its typed rows")
    try:
        policy = PrivacyPolicy(receipt.privacy, policy_key)
    except AylaConfigError:
        return Replayed(hour, 0, 0, "its policy hashes columns: the key is needed")
    if not policy.made(receipt.version):
        return Replayed(hour, 0, 0, "it was made with another key")
    typed = TypedArchive(
        archive,
        rows,
        layouts=layouts,
        policy=policy,
        # The hour is loaded already, so it has no more malformed lines than the user accepts.
        max_malformed=1,
        ignored_files=ignored_files,
        on_new_column=new_columns_in(receipt.version),
    )
    before = _lines(archive, hour)
    try:
        typed.ensure(hour, written_by, again=True)
    except AylaError as error:
        return Replayed(hour, before, before, str(error))
    return Replayed(hour, before, _lines(archive, hour))


def _lines(archive: Destination, hour: ExportHour) -> int:
    """Return how many lines of an hour are in the quarantine: malformed ones, and those with a new column."""
    if archive.find(f"{QUARANTINE}/{hour.partition}.parquet") is None:
        return 0
    return sum(lines for _, reasons in _counted(archive, [hour]) for lines in reasons.values())


def _counted(archive: Destination, hours: Collection[ExportHour]) -> Iterator[tuple[ExportHour, Counter[str]]]:
    with scratch_folder() as folder:
        duck = connect(folder=folder)
        local = folder / "lines.parquet"
        for hour in hours:
            with open_private(local, "wb") as file:
                for block in archive.blocks(f"{QUARANTINE}/{hour.partition}.parquet"):
                    file.write(block)
            query = f"select reason, count(*) from read_parquet({literal(str(local))}) group by all"
            with duckdb_errors(str(hour)):
                yield hour, Counter(dict(duck.execute(query).fetchall()))
            local.unlink()
        duck.close()
