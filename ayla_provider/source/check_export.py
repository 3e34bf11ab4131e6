"""What is looked at of an export, wherever it lies: its bucket, its folders, its newest files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS
from ayla_provider.domain.csv.recognition import described, recognise
from ayla_provider.domain.csv.sample import HEAD, LONGEST_ROW, Shape, head_of, shape_of
from ayla_provider.domain.events import EVENT_FOLDERS, EventType
from ayla_provider.domain.hour import ONE_HOUR, FolderStyle, describe_hour, hour_of
from ayla_provider.domain.paths import ExportFile
from ayla_provider.errors import AylaAccessDenied, AylaConfigError, AylaError, AylaLayoutError
from ayla_provider.source.export import Export
from ayla_provider.source.newest_files import NewestFiles
from ayla_provider.source.reader import first_bytes

if TYPE_CHECKING:
    from ayla_provider.hooks import AylaHook

_LATEST = timedelta(hours=27)
"""Of 266 files that Ayla published, the latest came 26.3 hours after its hour."""

DASHBOARD = "the Ayla dashboard (OEM Profile, Data Export)"
_DECLARE = "To load such files, declare their layout in the task's argument layouts."


@dataclass(frozen=True, slots=True)
class Step:
    """
    What came of one step.

    :param ok: None if it wasn't reached, or there was nothing to look at
    :param advice: what to do; with a step that is ok, a note
    """

    name: str
    ok: bool | None
    detail: str = ""
    advice: str = ""
    seconds: float = 0.0


class ExportCheck:
    """
    The steps, and what each leaves to the next; here those of an export in Amazon S3, where nobody signs in.

    :param hook: leads to the connection that is looked at
    """

    named = "bucket_name"
    """The fields of the connection that say where the export lies."""

    def __init__(self, hook: AylaHook) -> None:
        self._hook = hook
        self._export: Export
        self._secrets: list[str] = []
        self.folders: dict[EventType, str] = {}
        self._samples: dict[EventType, ExportFile] = {}

    def chain(self) -> list[tuple[str, Callable[[], Step]]]:
        """Return the steps of which each needs the one before."""
        return [("connection", self.connection), ("bucket", self.bucket), ("event folders", self.event_folders)]

    def reach(self) -> Iterator[Step]:
        """Go through the chain, up to the first link that doesn't hold."""
        going_on = True
        for name, look in self.chain():
            step = self.timed(name, look) if going_on else Step(name, None)
            # An unexpected folder among the expected ones doesn't hinder what follows.
            going_on = going_on and (step.ok is True or bool(self.folders))
            yield step

    @property
    def where(self) -> str:
        """The folder of the export in Ayla's bucket."""
        return self._export.url

    def timed(self, name: str, look: Callable[[], Step]) -> Step:
        """Return what came of a step, under its name, with its time and without a secret."""
        begun = time.monotonic()
        try:
            step = look()
        except AylaError as error:
            step = failed(str(error), self.advice(name, error))
        except Exception as error:  # noqa: BLE001 - told to a person; the text could quote what must not be shown
            known = type(error).__name__ == "AirflowNotFoundException"
            step = failed(str(error) if known else f"unexpected: {type(error).__name__}", self.advice(name, error))
        return Step(
            name, step.ok, self._clean(step.detail), self._clean(step.advice), round(time.monotonic() - begun, 3)
        )

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return " ".join(text.split())

    def advice(self, name: str, error: Exception) -> str:
        """Return what to do about an error in a step."""
        return {
            "connection": f"Define the connection {self._hook.ayla_conn_id!r} in the Airflow UI, in a secrets backend, "
            f"or as AIRFLOW_CONN_{self._hook.ayla_conn_id.upper()}, with conn_type ayla and the fields that are named "
            "here.",
            "bucket": f"Compare {self.named} in the connection with {DASHBOARD}."
            if isinstance(error, AylaAccessDenied | AylaConfigError)
            else "Check that this machine reaches Cloud Storage (proxy, firewall); then check again.",
            "event folders": "If two folders mean one event type, say in the connection's event_folders which to "
            "take; otherwise check again.",
        }.get(name, "Check again; if it stays, look into the log on stderr.")

    def connection(self) -> Step:
        """Whether all fields are there."""
        self._export = self._hook.fresh_export()
        self._secrets += self._hook.secrets
        return Step("", True, f"{self._hook.ayla_conn_id}: all fields are there")

    def bucket(self) -> Step:
        """Whether objects can be listed."""
        listed = self._export.source.objects(self._export.root, f"a listing below {self.where}", max_results=1)
        self._anything = next(listed, None) is not None
        return Step("", True, f"{self.where} may be listed")

    def event_folders(self) -> Step:
        """Whether the event folders are the expected ones."""
        self.folders = self._export.event_folders()
        if not self.folders:
            return failed(
                f"objects, but no folder stand below {self.where}",
                f"Compare {self.named} in the connection with {DASHBOARD}.",
            )
        known = [folder for event_type, folder in self.folders.items() if event_type in EVENT_FOLDERS]
        unknown = {kind: self.folders[kind] for kind in self.folders.keys() - EVENT_FOLDERS.keys()}
        missing = [folder for event_type, folder in EVENT_FOLDERS.items() if event_type not in self.folders]
        found = f"found {', '.join(map(repr, known)) or 'none of the documented ones'}"
        found += f"; unknown: {', '.join(map(repr, unknown.values()))}" if unknown else ""
        found += f"; missing: {', '.join(missing)}" if missing else ""
        declared = self._export.declared_folders
        absent = [folder for kind, folder in declared.items() if kind not in self.folders]
        if absent:
            return failed(
                f"{found}; declared, but not there: {', '.join(map(repr, absent))}",
                "Check the spelling in the connection's event_folders. A folder isn't there as long as there was no "
                "event of its type.",
            )
        # What is declared in event_folders is no surprise any more.
        undeclared = sorted(unknown.keys() - declared.keys())
        if undeclared:
            return failed(
                found,
                "An unknown folder can be copied as an event type of its own: declare it in the connection's "
                f"event_folders, as {json.dumps({kind: unknown[kind] for kind in undeclared})}. If it is another "
                "spelling of a missing one, name that event type instead.",
            )
        note = "A folder is missing as long as there was no event of its type, so this can be right." if missing else ""
        return Step("", True, found, note)

    def newest(self, event_type: EventType) -> Step:
        """Which hour is the newest, and how old it is."""
        if event_type not in self.folders:
            return Step("", None, "no folder")
        listings = NewestFiles(self._export, event_type, self.folders[event_type])
        objects = listings.newest()
        effort = f"{listings.requests} request{'s' if listings.requests > 1 else ''}"
        if not objects:
            return failed(
                f"no file in a folder named by a time stands below {listings.prefix} ({effort})",
                "Expected folders as '2024-05-09 02:00:00' or '2024-05-09-02:00:00'. If the connection's "
                f"event_folders names {self.folders[event_type]!r}, check how it is spelt.",
            )
        filled = [one for one in objects if one.size]
        if filled:
            self._samples[event_type] = max(filled, key=lambda one: (one.folder_time, one.name))
        hour = hour_of(max(one.folder_time for one in objects))
        files = [one for one in objects if one.hour.start == hour]
        age = self._export.now() - hour - ONE_HOUR
        style = ", folders written with a hyphen" if any(one.style is FolderStyle.HYPHEN for one in files) else ""
        return Step(
            "",
            True,
            f"{describe_hour(hour)}, {_age(age)}: {len(files)} file{'s' if len(files) > 1 else ''}, "
            f"{sum(one.size for one in files)} bytes{style} ({effort})",
            "Published exports came up to 26 hours late. If there were events of this type since, ask Ayla whether the "
            "export stands still."
            if age > _LATEST
            else "",
        )

    def file(self, event_type: EventType) -> Step:
        """Whether a file of the newest folders has a known layout."""
        sample = self._samples.get(event_type)
        if sample is None:
            return Step(
                "", None, "no file with content in the newest folders" if event_type in self.folders else "no folder"
            )
        data = first_bytes(self._export.source, sample, HEAD)
        if data.startswith(b"\x1f\x8b"):
            return failed(
                "packed with gzip, but plain CSV was expected",
                "Ask Ayla support why. Copies aren't affected: they hold the vendor's bytes.",
            )
        if b"\n" not in data and sample.size > len(data):
            data = first_bytes(self._export.source, sample, LONGEST_ROW)
        head = head_of(data)
        return _recognition(event_type, sample.name, shape_of(head, whole=len(head) == sample.size))


def failed(detail: str, advice: str) -> Step:
    """Return a step that failed."""
    return Step("", False, detail, advice)


def _age(age: timedelta) -> str:
    if age < timedelta(0):
        return "not over yet by this machine's clock"
    hours = age / ONE_HOUR
    return f"ended {hours:.1f} hours ago" if hours < 48 else f"ended {age.days} days ago"


def _recognition(event_type: str, file: str, shape: Shape) -> Step:
    """Return what the loader would make of a file of this form, as long as no layout is declared."""
    if not shape.rows:
        return Step("", None, "no rows")
    if not any(layout.event_type == event_type for layout in COLUMN_LAYOUTS):
        return Step("", None, f"no built-in layout to compare it with: {described(shape)}", _DECLARE)
    try:
        recognised = recognise(event_type, shape, file=file)
    except AylaLayoutError as error:
        return failed(error.finding, error.advice)
    notes = []
    if recognised.new_columns:
        notes.append(f"New columns, which are loaded as text: {', '.join(recognised.new_columns)}.")
    if shape.quotes:
        notes.append("Some cells begin with a quote. A load takes it as a part of the value.")
    if not shape.utf8:
        notes.append("A load leaves out the lines that aren't UTF-8.")
    return Step("", True, f"fits {recognised.layout.name}: {described(shape)}", " ".join(notes))
