"""Every step from an Airflow connection to a file of the export, and every assumption about it, looked at in turn."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from ayla_provider.cloud.auth import ROLE, TokenProvider
from ayla_provider.cloud.newest import NewestFiles, SeenObject
from ayla_provider.cloud.storage import ExportStore, translated
from ayla_provider.domain.columns import COLUMN_LAYOUTS
from ayla_provider.domain.events import EVENT_FOLDERS, EVENT_TYPES
from ayla_provider.domain.hours import ONE_HOUR, FolderStyle, describe_hour, hour_of
from ayla_provider.domain.recognition import fit
from ayla_provider.domain.shape import Shape, shape_of
from ayla_provider.errors import AylaAccessDenied, AylaError, AylaSignInRefused

if TYPE_CHECKING:
    from ayla_provider.cloud.settings import AylaSettings
    from ayla_provider.hooks import AylaHook

SAMPLE = 64 * 1024
"""How many bytes of a file are read."""

_ROWS = 50
"""How many of its rows are looked at."""

_LATEST = timedelta(hours=27)
"""Of 266 files that Ayla published, the latest came 26.3 hours after its hour."""

_DASHBOARD = "the Ayla dashboard (OEM Profile, Data Export)"
_COPIES = "Copies aren't affected, since they hold the vendor's bytes; whatever reads the files is."


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


def check(conn_id: str) -> Iterator[Step]:
    """
    Look at each step in turn. Nothing is changed; what is wrong doesn't raise, it is a step that isn't ok.

    :param conn_id: the id of an Airflow connection of type ``ayla``
    """
    this = _Check(conn_id)
    yield from this.reach()
    going_on = bool(this.folders)
    event_types = [*EVENT_TYPES, *sorted(this.folders.keys() - set(EVENT_TYPES))]
    for kind, look_at in (("newest", this.newest), ("file", this.file)):
        for event_type in event_types:
            name = f"{kind} {event_type}"
            yield this.timed(name, partial(look_at, event_type)) if going_on else Step(name, None)


def answer(conn_id: str) -> tuple[bool, str]:
    """
    Return whether event folders can be listed, and in a few sentences what was found, or failed and what to do.

    :param conn_id: the id of an Airflow connection of type ``ayla``, which the answer leaves out: Airflow tests a
        connection under an id made up anew
    """
    this = _Check(conn_id)
    *_, last = [step for step in this.reach() if step.ok is not None]
    if this.folders:
        return True, f"Signed in, got a storage token, listed {this.where}: {last.detail}. {last.advice}".strip()
    # Airflow shows the answer for five seconds: without the address of a request, which the other words say.
    detail = re.sub(r"GET https?://\S+: ", "", last.detail.replace(f"connection {conn_id!r}: ", "")).rstrip(".")
    # A field that is missing or malformed is all that can be wrong with a connection that is being tested.
    advice = "Correct this field of the connection." if last.name == "connection" else last.advice
    return False, f"{last.name[0].upper()}{last.name[1:]}: {detail}. {advice}"


class _Check:
    """The steps, and what each leaves to the next."""

    def __init__(self, conn_id: str) -> None:
        self._conn_id = conn_id
        self._hook: AylaHook
        self._settings: AylaSettings
        self._store: ExportStore
        self._credentials: Any
        self._refused: AylaError | None = None
        """Why there is no storage token."""
        self._secrets: list[str] = []
        self.folders: dict[str, str] = {}
        self._samples: dict[str, SeenObject] = {}

    def chain(self) -> list[tuple[str, Callable[[], Step]]]:
        """Return the steps of which each needs the one before."""
        return [
            ("connection", self.connection),
            ("user service", self.user_service),
            ("role", self.role),
            ("credentials service", self.credentials_service),
            ("bucket", self.bucket),
            ("OEM prefix", self.oem_prefix),
            ("event folders", self.event_folders),
        ]

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
        return f"gs://{self._store.bucket}/{self._store.oem_id}/"

    def timed(self, name: str, look: Callable[[], Step]) -> Step:
        """Return what came of a step, under its name, with its time and without a secret."""
        begun = time.monotonic()
        try:
            step = look()
        except AylaError as error:
            step = _failed(str(error), self._advice(name, error))
        except Exception as error:  # noqa: BLE001 - told to a person; the text could quote what must not be shown
            known = type(error).__name__ == "AirflowNotFoundException"
            step = _failed(str(error) if known else f"unexpected: {type(error).__name__}", self._advice(name, error))
        return Step(
            name, step.ok, self._clean(step.detail), self._clean(step.advice), round(time.monotonic() - begun, 3)
        )

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return " ".join(text.split())

    def _advice(self, name: str, error: Exception) -> str:
        if isinstance(error, AylaSignInRefused):
            from ayla_provider.hooks import SIGN_IN_VARIABLE

            variable = SIGN_IN_VARIABLE.format(fingerprint=self._settings.fingerprint)
            return (
                "Correct the connection: a changed one is tried at once. An unchanged one isn't for 30 minutes, since "
                "five refusals in a row lock the account for everybody. Was it mended at Ayla instead? Delete the "
                f"Airflow Variable {variable}, then check again."
            )
        return {
            "connection": f"Define the connection {self._conn_id!r} in the Airflow UI, in a secrets backend, or as "
            f"AIRFLOW_CONN_{self._conn_id.upper()}, with conn_type ayla and the fields that are named here.",
            "user service": "Check host or region in the connection, and that this machine reaches it (proxy, "
            "firewall); then check again.",
            "credentials service": f"Compare credentials service URL (acs_url) in the connection with {_DASHBOARD}, "
            "and see that this machine reaches it (proxy, firewall); then check again.",
            "bucket": f"Compare bucket and oem_id in the connection with {_DASHBOARD}."
            if isinstance(error, AylaAccessDenied)
            else "Check that this machine reaches Cloud Storage (proxy, firewall); then check again.",
            "event folders": "If two folders mean one event type, say in the connection's event_folders which to "
            "take; otherwise check again.",
        }.get(name, "Check again; if it stays, look into the log on stderr.")

    def connection(self) -> Step:
        from ayla_provider.hooks import AylaHook

        self._hook = AylaHook(self._conn_id)
        self._settings = settings = self._hook.settings
        self._secrets += [settings.password, settings.app_secret]
        return Step("", True, f"{self._conn_id}: all fields are there and well-formed")

    def user_service(self) -> Step:
        settings = self._settings
        self._store = self._hook.fresh_store()
        self._credentials = self._store.credentials
        try:
            self._credentials.refresh(None)
            self._secrets.append(self._credentials.token)
        except AylaError as error:
            self._refused = error
            if self._role is None:
                raise
        return Step("", True, f"{settings.user_url} accepted the sign-in of {settings.email}")

    @property
    def _role(self) -> str | None:
        provider = self._credentials.refresh_handler
        return provider.role if isinstance(provider, TokenProvider) else None

    def role(self) -> Step:
        said = f"the account's role is {self._role}" if self._role else "the answer names no role"
        if self._role == ROLE:
            return Step("", True, said)
        if self._refused is None:
            return Step("", True, f"{said}, not {ROLE}, but it got a token", f"Ayla's documents ask for {ROLE}.")
        return _failed(
            f"{said}, {ROLE} is needed",
            f"Ask an administrator of your OEM to give the account the role {ROLE}, or use another account.",
        )

    def credentials_service(self) -> Step:
        if self._refused:
            raise self._refused
        expires = self._credentials.expiry.replace(tzinfo=UTC)
        left = (expires - datetime.now(UTC)).total_seconds() / 60
        return Step("", True, f"{self._settings.acs_url} gave a token that is good for {left:.0f} minutes")

    def bucket(self) -> Step:
        with translated(f"a listing below {self.where}"):
            blobs = self._store.client.list_blobs(
                self._store.bucket, prefix=f"{self._store.oem_id}/", fields="items(name)", max_results=1
            )
            self._anything = bool(list(blobs))
        return Step("", True, f"{self.where} may be listed")

    def oem_prefix(self) -> Step:
        if self._anything:
            return Step("", True, f"something stands below {self.where}")
        return _failed(
            f"nothing stands below {self.where}",
            f"Compare oem_id and bucket in the connection with {_DASHBOARD}, and see there that the data export is "
            "switched on. The first files come about an hour after it was.",
        )

    def event_folders(self) -> Step:
        self.folders = self._store.event_folders()
        if not self.folders:
            return _failed(
                f"objects, but no folder stand below {self.where}",
                f"Compare oem_id and bucket in the connection with {_DASHBOARD}.",
            )
        known = [folder for event_type, folder in self.folders.items() if event_type in EVENT_FOLDERS]
        unknown = {kind: self.folders[kind] for kind in self.folders.keys() - EVENT_FOLDERS.keys()}
        missing = [folder for event_type, folder in EVENT_FOLDERS.items() if event_type not in self.folders]
        found = f"found {', '.join(map(repr, known)) or 'none of the documented ones'}"
        found += f"; unknown: {', '.join(map(repr, unknown.values()))}" if unknown else ""
        found += f"; missing: {', '.join(missing)}" if missing else ""
        absent = [folder for kind, folder in self._settings.event_folders.items() if kind not in self.folders]
        if absent:
            return _failed(
                f"{found}; declared, but not there: {', '.join(map(repr, absent))}",
                "Check the spelling in the connection's event_folders. A folder isn't there as long as there was no "
                "event of its type.",
            )
        # What is declared in event_folders is no surprise any more.
        undeclared = sorted(unknown.keys() - self._settings.event_folders.keys())
        if undeclared:
            return _failed(
                found,
                "An unknown folder can be copied as an event type of its own: declare it in the connection's "
                f"event_folders, as {json.dumps({kind: unknown[kind] for kind in undeclared})}. If it is another "
                "spelling of a missing one, name that event type instead.",
            )
        note = "A folder is missing as long as there was no event of its type, so this can be right." if missing else ""
        return Step("", True, found, note)

    def newest(self, event_type: str) -> Step:
        if event_type not in self.folders:
            return Step("", None, "no folder")
        listings = NewestFiles(self._store, self.folders[event_type])
        objects = listings.newest()
        effort = f"{listings.requests} request{'s' if listings.requests > 1 else ''}"
        if not objects:
            return _failed(
                f"no file in a folder named by a time stands below {listings.prefix} ({effort})",
                "Expected folders as '2024-05-09 02:00:00' or '2024-05-09-02:00:00'. If the connection's "
                f"event_folders names {self.folders[event_type]!r}, check how it is spelt.",
            )
        filled = [one for one in objects if one.size]
        if filled:
            self._samples[event_type] = max(filled, key=lambda one: (one.time, one.name))
        hour = hour_of(max(one.time for one in objects))
        files = [one for one in objects if hour_of(one.time) == hour]
        age = self._store.now() - hour - ONE_HOUR
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

    def file(self, event_type: str) -> Step:
        sample = self._samples.get(event_type)
        if sample is None:
            return Step(
                "", None, "no file with content in the newest folders" if event_type in self.folders else "no folder"
            )
        what = f"the first bytes of gs://{self._store.bucket}/{sample.name}"
        with translated(what):
            blob = self._store.client.bucket(self._store.bucket).blob(sample.name, generation=sample.generation)
            data = blob.download_as_bytes(start=0, end=min(SAMPLE, sample.size) - 1, raw_download=True)
        if data.startswith(b"\x1f\x8b"):
            return _failed("packed with gzip, where plain CSV was expected", _COPIES)
        return _judge(event_type, shape_of(data, whole=sample.size <= len(data), rows=_ROWS))


def _failed(detail: str, advice: str) -> Step:
    return Step("", False, detail, advice)


def _age(age: timedelta) -> str:
    if age < timedelta(0):
        return "not over yet by this machine's clock"
    hours = age / ONE_HOUR
    return f"ended {hours:.1f} hours ago" if hours < 48 else f"ended {age.days} days ago"


def _judge(event_type: str, shape: Shape) -> Step:
    """Compare a shape with the known layouts of an event type."""
    known = [layout for layout in COLUMN_LAYOUTS if layout.event_type == event_type]
    said = [
        f"{len(shape.rows)} rows of {shape.columns} columns",
        "a header row" if shape.header else "no header row",
        f"{shape.line_ends} line ends",
        "quotes" if shape.quotes else "no quotes",
        f"dates as {' and as '.join(shape.dates)}" if shape.dates else "no date of a known style",
    ]
    said += [f"{shape.odd_rows} rows of another length"] if shape.odd_rows else []
    said += [] if shape.utf8 else ["not all of it UTF-8"]
    advice = []
    if shape.header:
        advice.append("Expected no header row: skip it.")
    if shape.line_ends not in ("CRLF", "no"):
        advice.append("Expected CRLF line ends: read these as well.")
    if shape.quotes:
        advice.append("Expected no quotes: read the files with a CSV reader that knows them.")
    verdict, fits = fit(known, shape)
    if known and shape.rows and not fits:
        advice.append(
            f"Known layouts: {', '.join(f'{one.name} ({len(one.columns)} columns)' for one in known)}. Look at the "
            "file and tell the maintainers of this provider what its columns are."
        )
    detail = "; ".join([verdict, *said])
    if advice:
        return _failed(detail, " ".join([*advice, _COPIES]))
    return Step("", fits, detail)
