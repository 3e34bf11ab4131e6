"""
The parts of an hour that is too large for one task: typed by several tasks, compared and committed by one.

A part is some files of the hour. Its rows, what each is compared by, and its malformed lines wait in a folder that no
reader looks into, under a name that identifies the part's files and how they are treated. A record, written last, says
that the part is complete. So any task can make a part again, or use one that another task has made.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ayla_provider.archive.destination import Destination, Stored, url_of
from ayla_provider.archive.private import open_private
from ayla_provider.archive.records import write_json
from ayla_provider.archive.scratch import scratch_folder
from ayla_provider.domain.csv.columns import ColumnLayout
from ayla_provider.domain.csv.recognition import Recognised
from ayla_provider.domain.hour import ExportHour
from ayla_provider.domain.json_fields import UNREADABLE, require, typed_field
from ayla_provider.domain.manifest import Manifest
from ayla_provider.domain.paths import PARTS
from ayla_provider.domain.tables import Table
from ayla_provider.domain.typed_manifest import TypedFile, parse_typed_file, shallow
from ayla_provider.errors import AylaDestinationError, AylaError, AylaWarehouseError
from ayla_provider.rows.duck import connect, literal
from ayla_provider.rows.intake import GoodLines
from ayla_provider.rows.parquet import PARQUET, SAME, TYPES, HourBalance, duckdb_errors, models_of, table_of_hour
from ayla_provider.rows.quarantine import Quarantine
from ayla_provider.transport.checksum import CHUNK, Crc32c

log = logging.getLogger(__name__)

FORMAT = "ayla-export-part/1"

_GROUP = 32 * 1000 * 1000
"""Bytes of a row group, as in :data:`~ayla_provider.rows.parquet.PARQUET`."""

_READERS = 4
"""How many files of marks are read at once."""

_SMALLEST_GROUP, _LARGEST_GROUP = 2048, 122_880
"""Rows. DuckDB makes no smaller groups, and by default no larger ones."""


class TypeFiles(Protocol):
    """Types the files of a part, as the hour's own files are typed."""

    def __call__(
        self,
        archived: Manifest,
        connection: Any,
        folder: Path,
        parquet: Path,
        quarantine: Quarantine,
        *,
        of_hour: Sequence[Recognised],
        marked: bool,
    ) -> tuple[list[GoodLines], HourBalance]:
        """See :func:`~ayla_provider.rows.parquet.type_hour`."""


@dataclass(frozen=True, slots=True)
class Content:
    """A file of a part."""

    size: int
    crc32c: str


@dataclass(frozen=True, slots=True)
class PartFile:
    """What became of a file of a part, before it is compared with the other parts."""

    typed: TypedFile
    ends_blank: bool


@dataclass(frozen=True, slots=True)
class Part:
    """
    A part of an hour that is typed.

    :param name: identifies its content
    :param reasons: why lines are malformed, and how many
    """

    name: str
    rows: Content
    marks: Content
    quarantine: Content | None
    reasons: Mapping[str, int]
    files: tuple[PartFile, ...]

    @property
    def count(self) -> int:
        """Its rows, before it is compared with the other parts."""
        return sum(file.typed.loaded for file in self.files)

    def recognised(self, layouts: Iterable[ColumnLayout]) -> list[Recognised]:
        """Return what the columns of its files are, without the files that have no lines."""
        named = {layout.name: layout for layout in layouts}
        recognised = []
        for file in self.files:
            if file.typed.layout:
                layout, columns = named[file.typed.layout], file.typed.columns
                new = tuple(name for name in columns if name not in layout.columns)
                recognised.append(Recognised(layout, columns, file.typed.header, new))
        return recognised

    def dumps(self) -> str:
        """Return the record as JSON text: the inverse of :func:`parse_part`."""
        document = {
            "format": FORMAT,
            "name": self.name,
            "rows": shallow(self.rows),
            "marks": shallow(self.marks),
            "quarantine": shallow(self.quarantine) if self.quarantine else None,
            "reasons": dict(self.reasons),
            "files": [{**shallow(file.typed), "ends_blank": file.ends_blank} for file in self.files],
        }
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def parse_part(text: bytes, name: str) -> Part | None:
    """Return the part of a record; None if it isn't one that this version of the package has written."""
    try:
        document: dict[str, Any] = json.loads(text)
        require(document["format"] == FORMAT, "its format is another one")
        require(document["name"] == name, "it is that of another part")
        quarantine = document["quarantine"]
        return Part(
            name=name,
            rows=_content(document["rows"]),
            marks=_content(document["marks"]),
            quarantine=None if quarantine is None else _content(quarantine),
            reasons={str(reason): int(count) for reason, count in typed_field(document, "reasons", dict).items()},
            files=tuple(map(_part_file, typed_field(document, "files", list))),
        )
    except UNREADABLE:
        return None


def _content(document: Any) -> Content:
    return Content(typed_field(document, "size", int), typed_field(document, "crc32c", str))


def _part_file(document: Any) -> PartFile:
    return PartFile(
        typed=parse_typed_file(document),
        ends_blank=typed_field(document, "ends_blank", bool),
    )


@dataclass(slots=True)
class JoinedHour:
    """
    The parts of an hour, compared.

    :param table: the rows' table, before the privacy policy
    :param recognised: what the columns of each file are
    """

    table: Table
    recognised: list[Recognised]
    parts: list[Part]

    @property
    def blank_ends(self) -> int:
        """How many files end with an empty line."""
        return sum(file.ends_blank for part in self.parts for file in part.files)

    @property
    def has_quarantine(self) -> bool:
        """Whether a line is in the quarantine, be it malformed or not."""
        return any(part.quarantine for part in self.parts)

    @property
    def reasons(self) -> Counter[str]:
        """Why lines are malformed, and how many."""
        reasons: Counter[str] = Counter()
        for part in self.parts:
            reasons.update(part.reasons)
        return reasons


class HourParts:
    """
    Makes the parts of one hour, and joins them.

    :param archive: gets what shows the vendor's bytes, or a hash of them without a key
    :param rows: gets the typed rows
    :param type_files: types the files of a part
    """

    def __init__(
        self,
        archive: Destination,
        rows: Destination,
        hour: ExportHour,
        *,
        layouts: Sequence[ColumnLayout],
        memory: str,
        type_files: TypeFiles,
    ) -> None:
        self._archive = archive
        self._rows = rows
        self._hour = hour
        self._folder = f"{PARTS}/{hour.partition}"
        self._layouts = layouts
        self._memory = memory
        self._type_files = type_files
        self._listed: dict[str, dict[str, Stored]] = {}
        """What the folders of the parts had when they were listed, by destination."""

    def ensure(self, part: Manifest, name: str, of_hour: Sequence[Recognised] = ()) -> tuple[Part, bool]:
        """
        Return a part, and whether it was made now; otherwise it existed already.

        :param part: the hour with the files of the part alone
        :param name: identifies these files, and how they are treated
        :param of_hour: what the columns of all files of the hour are, if it is known
        """
        found = self._find(name)
        if found:
            return found, False
        with scratch_folder() as folder:
            return self._make(part, name, of_hour, folder), True

    def join(self, parts: Sequence[tuple[Manifest, str]]) -> JoinedHour:
        """
        Return the parts of an hour with what their files have in common. Parts that are missing are made.

        :param parts: the hour with the files of each part alone, and the part's name
        """
        made = []
        for number, (part, name) in enumerate(parts, 1):
            found, is_new = self.ensure(part, name)
            if is_new:
                log.info("%s: part %d of %d wasn't typed by another task. It is now.", self._hour, number, len(parts))
            made.append(found)
        recognised = [each for part in made for each in part.recognised(self._layouts)]
        table = table_of_hour(self._hour.event_type, recognised)
        types = {column.name: column.type for column in table.columns}
        for number, (part, name) in enumerate(parts):
            own = table_of_hour(self._hour.event_type, made[number].recognised(self._layouts))
            if all(types[column.name] is column.type for column in own.columns):
                continue
            # A file of another part has a layout that gives a column of this one another type.
            mark = hashlib.sha256(repr(sorted(types.items())).encode()).hexdigest()[:8]
            made[number] = self.ensure(part, f"{name}.{mark}", recognised)[0]
        return JoinedHour(table, recognised, made)

    def write_quarantine(self, joined: JoinedHour, local: Path, folder: Path) -> None:
        """Write the malformed lines of all parts as one Parquet file, in their order."""
        paths = []
        for number, part in enumerate(joined.parts):
            if part.quarantine:
                paths.append(folder / f"malformed-{number}.parquet")
                fetch(self._archive, self._path(part.name, "quarantine.parquet"), part.quarantine.crc32c, paths[-1])
        with contextlib.closing(connect(memory=self._memory, folder=folder)) as duck, duckdb_errors(str(self._hour)):
            if not paths:
                with Quarantine(folder / "malformed") as empty:
                    empty.write_parquet(duck, local)
                return
            duck.execute(
                f"copy (select * from read_parquet({_list(paths)}) order by source_object, source_generation, line) "
                f"to {literal(str(local))} (format parquet, compression zstd)"
            )
        for path in paths:
            path.unlink()

    def settle(self, joined: JoinedHour, folder: Path) -> Settled:
        """Find out which rows of a part are left out, because a row of another part is the same, or newer."""
        return Settled(self, joined, folder)

    def remove(self) -> None:
        """Remove what is left of the hour's parts. What can't be removed is in nobody's way, and is logged."""
        for destination in (self._rows, self._archive):
            try:
                for stored in destination.folder(self._folder).values():
                    destination.remove(stored)
            except AylaError as error:
                log.warning("The parts of %s can't be removed from %s: %s", self._hour, destination.url, error)

    def fetch_rows(self, part: Part, local: Path) -> None:
        """Bring a part's rows to this disk."""
        fetch(self._rows, self._path(part.name, "rows.parquet"), part.rows.crc32c, local)

    def fetch_marks(self, part: Part, local: Path) -> None:
        """Bring to this disk what the rows of a part are compared by."""
        fetch(self._archive, self._path(part.name, "marks.parquet"), part.marks.crc32c, local)

    def connect(self, folder: Path) -> Any:
        """Return a database for the comparison."""
        return connect(memory=self._memory, folder=folder)

    @property
    def hour(self) -> ExportHour:
        """The hour."""
        return self._hour

    def _path(self, name: str, kind: str) -> str:
        return f"{self._folder}/{name}.{kind}"

    def _find(self, name: str) -> Part | None:
        """Return a part that is complete; None if there is none."""
        record = self._rows.read(self._path(name, "json"))
        part = parse_part(record[0], name) if record else None
        known = {"", *(layout.name for layout in self._layouts)}
        if part is None or any(file.typed.layout not in known for file in part.files):
            return None
        in_rows, in_archive = self._list(self._rows), self._list(self._archive)
        complete = self._holds(self._rows, in_rows.get(self._path(name, "rows.parquet")), part.rows)
        complete = complete and self._holds(
            self._archive, in_archive.get(self._path(name, "marks.parquet")), part.marks
        )
        if part.quarantine:
            lines = in_archive.get(self._path(name, "quarantine.parquet"))
            complete = complete and self._holds(self._archive, lines, part.quarantine)
        return part if complete else None

    def _list(self, destination: Destination) -> dict[str, Stored]:
        if destination.url not in self._listed:
            self._listed[destination.url] = destination.folder(self._folder)
        return self._listed[destination.url]

    @staticmethod
    def _holds(destination: Destination, stored: Stored | None, content: Content) -> bool:
        # Two tasks at once can leave the rows of one and the record of the other.
        return stored is not None and stored.size == content.size and destination.crc32c(stored) == content.crc32c

    def _make(self, part: Manifest, name: str, of_hour: Sequence[Recognised], folder: Path) -> Part:
        full, rows, marks = folder / "full.parquet", folder / "rows.parquet", folder / "marks.parquet"
        lines = folder / "quarantine.parquet"
        inner = folder / "lines"
        inner.mkdir()
        with (
            contextlib.closing(connect(memory=self._memory, folder=folder)) as duck,
            Quarantine(inner / "quarantine") as quarantine,
        ):
            files, balance = self._type_files(part, duck, inner, full, quarantine, of_hour=of_hour, marked=True)
            if quarantine.kept:
                quarantine.write_parquet(duck, lines)
        # With a new database, no setting of the typing is left.
        with contextlib.closing(connect(memory=self._memory, folder=folder)) as duck, duckdb_errors(str(self._hour)):
            _separate(duck, full, rows, marks)
        full.unlink()
        made = Part(
            name=name,
            rows=content_of(rows),
            marks=content_of(marks),
            quarantine=content_of(lines) if quarantine.kept else None,
            reasons=dict(quarantine.reasons),
            files=tuple(PartFile(typed_file(file, balance), file.ends_blank) for file in files),
        )
        put(self._rows, self._path(name, "rows.parquet"), rows)
        put(self._archive, self._path(name, "marks.parquet"), marks)
        if quarantine.kept:
            put(self._archive, self._path(name, "quarantine.parquet"), lines)
        path = self._path(name, "json")
        found = self._rows.read(path)
        write_json(self._rows, path, made.dumps(), found[1] if found else None)
        return made


def _separate(duck: Any, full: Path, rows: Path, marks: Path) -> None:
    """Write the rows, and what each is compared by, into two files. In both, the rows have the same order."""
    source = f"read_parquet({literal(str(full))})"
    names = [name for name, *_ in duck.execute(f"describe select * from {source}").fetchall()]
    # A file whose order counts can't have groups of a size in bytes. A group of so many rows has about this size even
    # where the rows are longest.
    ((group,),) = duck.execute(
        f"select min(row_group_num_rows * {_GROUP} // greatest(row_group_bytes, 1)) "
        f"from parquet_metadata({literal(str(full))})"
    ).fetchall()
    group = min(max(group or _LARGEST_GROUP, _SMALLEST_GROUP), _LARGEST_GROUP)
    duck.execute("set preserve_insertion_order = true")
    options = PARQUET.replace("row_group_size_bytes '32MB'", f"row_group_size {group}")
    duck.execute(f'copy (select * exclude ("{SAME}") from {source}) to {literal(str(rows))} ({options})')
    compared = ", ".join(f'"{name}"' for name in (SAME, "updated_at", "source_object") if name in names)
    duck.execute(f"copy (select {compared} from {source}) to {literal(str(marks))} (format parquet, compression zstd)")


class Settled:
    """
    The rows of an hour's parts that are left out, for the time of a ``with`` statement.

    Memory holds none of the rows: DuckDB puts on disk what doesn't fit.
    """

    def __init__(self, parts: HourParts, joined: JoinedHour, folder: Path) -> None:
        self._parts = parts
        self._joined = joined
        self._folder = folder
        self._losers: dict[int, Counter[str]] = {}
        self._one_at_a_time = threading.Lock()
        self.models: Counter[str] = Counter()
        """Each model to its rows in the parts that are written."""

    def __enter__(self) -> Settled:
        self._duck = self._parts.connect(self._folder)
        try:
            with duckdb_errors(str(self._parts.hour)):
                self._compare()
        except BaseException:
            self._duck.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._duck.close()

    def _compare(self) -> None:
        run = self._duck.execute
        run("set preserve_insertion_order = false")
        paths = [self._folder / f"marks-{number}.parquet" for number in range(len(self._joined.parts))]
        with ThreadPoolExecutor(_READERS, "ayla-commit") as pool:
            # Not lazy: it raises what a reader raised.
            list(pool.map(self._parts.fetch_marks, self._joined.parts, paths))
        # By name, because a part can lack a column that another one has.
        marks = " union all by name ".join(
            f'select {number} as part, * rename (file_row_number as "row") '
            f"from read_parquet({literal(str(path))}, file_row_number = true)"
            for number, path in enumerate(paths)
        )
        # Within a part, no two rows are the same.
        run(f'create temp table repeated as select "{SAME}" from ({marks}) group by all having count(*) > 1')
        # As in the choice within a part. Parts share no file, so no two rows are alike in this order.
        order = [name for name in ("updated_at", "source_object") if name in self._joined.table.names]
        best = f'partition by "{SAME}" order by {", ".join(f"{name} desc nulls last" for name in order)}'
        run(
            f'create temp table losers as select part, "row", source_object '
            f'from ({marks}) semi join repeated using ("{SAME}") qualify row_number() over ({best}) > 1'
        )
        run("drop table repeated")
        counts = run("select part, source_object, count(*) from losers group by all").fetchall()
        for number, source, count in counts:
            self._losers.setdefault(number, Counter())[source] = count
        for path in paths:
            path.unlink()

    def files(self) -> list[TypedFile]:
        """Return what became of the lines of each file of the hour."""
        files = []
        for number, part in enumerate(self._joined.parts):
            lost = self._losers.get(number, Counter())
            for file in part.files:
                left_out = lost[file.typed.source]
                files.append(
                    replace(
                        file.typed,
                        loaded=file.typed.loaded - left_out,
                        duplicates=file.typed.duplicates + left_out,
                    )
                )
        return files

    def write(self, number: int, table: Table, local: Path) -> int:
        """
        Write the rows of a part that count, and return how many. Thread-safe.

        The part's own file is taken as it is, if all of its rows count and it has all columns.

        :param number: the part's, from 0
        :param table: the hour's, after the privacy policy
        :param local: the Parquet file to write
        """
        part = self._joined.parts[number]
        expected = part.count - self._losers.get(number, Counter()).total()
        self._parts.fetch_rows(part, local)
        with self._one_at_a_time, duckdb_errors(str(self._parts.hour)):
            source = f"read_parquet({literal(str(local))}, file_row_number = true)"
            described = self._duck.execute(f"describe select * exclude (file_row_number) from {source}").fetchall()
            names = [name for name, *_ in described]
            if names == list(table.names) and expected == part.count:
                self._count_models(table, local)
                return expected
            columns = [
                f'"{column.name}"' if column.name in names else f'null::{TYPES[column.type]} as "{column.name}"'
                for column in table.columns
            ]
            rewritten = local.with_suffix(".rewritten")
            losers = f'(select "row" from losers where part = {number:d}) as losers'
            self._duck.execute(
                f"copy (select {', '.join(columns)} from {source} as rows anti join {losers} "
                f'on rows.file_row_number = losers."row") to {literal(str(rewritten))} ({PARQUET})'
            )
            counted = self._duck.execute(
                f"select source_object, count(*) from read_parquet({literal(str(rewritten))}) group by all"
            ).fetchall()
            self._count_models(table, rewritten)
        self._verify(number, dict(counted))
        rewritten.replace(local)
        return expected

    def _count_models(self, table: Table, local: Path) -> None:
        if "oem_model" in table.names:
            self.models += models_of(self._duck, local)

    def _verify(self, number: int, counted: Mapping[str, int]) -> None:
        lost = self._losers.get(number, Counter())
        for file in self._joined.parts[number].files:
            source = file.typed.source
            if counted.get(source, 0) != file.typed.loaded - lost[source]:
                raise AylaWarehouseError(
                    f"{self._parts.hour}: of {source}, {counted.get(source, 0):,} rows are left, instead of "
                    f"{file.typed.loaded - lost[source]:,}. Nothing was loaded. This is a bug in this provider; please "
                    "report it."
                )


def typed_file(file: GoodLines, balance: HourBalance) -> TypedFile:
    """Return what became of the lines of a file."""
    recognised, counts = file.recognised, balance.files[file.source]
    return TypedFile(
        source=file.source,
        generation=file.generation,
        layout=recognised.layout.name if recognised else "",
        columns=recognised.columns if recognised else (),
        header=recognised.header if recognised else False,
        lines=file.all_lines,
        loaded=counts.loaded,
        duplicates=counts.duplicates,
        quarantined=counts.quarantined,
    )


def fetch(destination: Destination, path: str, crc32c: str, local: Path, advice: str = "Clear the task.") -> None:
    """
    Bring a file to this disk.

    :param advice: what to do if it has another checksum
    :raises AylaDestinationError: if it can't be read, or has another checksum
    """
    checksum = Crc32c()
    with open_private(local, "wb") as file:
        for block in destination.blocks(path):
            checksum.update(block)
            file.write(block)
    if checksum.base64 != crc32c:
        raise AylaDestinationError(
            f"{url_of(destination, path)} has crc32c {checksum.base64}, its receipt says {crc32c}: another run may be "
            f"writing it now. {advice}"
        )


def content_of(local: Path) -> Content:
    """Return size and checksum of a file on this disk."""
    checksum = Crc32c()
    with local.open("rb") as file:
        while block := file.read(CHUNK):
            checksum.update(block)
    return Content(local.stat().st_size, checksum.base64)


def put(destination: Destination, path: str, local: Path) -> None:
    """Write a file of this disk, in place of one that a task has left there."""
    replaces = destination.folder(path.rpartition("/")[0]).get(path)
    write_parquet(destination, path, local, content_of(local), replaces)


def write_parquet(destination: Destination, path: str, local: Path, content: Content, replaces: Stored | None) -> None:
    """Write a Parquet file of this disk into a destination."""
    with local.open("rb") as file:
        destination.write(
            path,
            file,
            size=content.size,
            crc32c=content.crc32c,
            replaces=replaces,
            content_type="application/vnd.apache.parquet",
        )


def _list(paths: Sequence[Path]) -> str:
    return f"[{', '.join(literal(str(path)) for path in paths)}]"
