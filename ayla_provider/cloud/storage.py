"""The export as it stands in the vendor's bucket, within what a downscoped token may do."""

from __future__ import annotations

import contextlib
import logging
import os
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from google.api_core import exceptions as google_errors
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage
from requests import RequestException

from ayla_provider.cloud.session import authorized_session
from ayla_provider.cloud.settings import STORAGE_ENDPOINT, Network
from ayla_provider.domain.events import EVENT_FOLDERS, event_type_of
from ayla_provider.domain.hours import ONE_HOUR, FolderStyle, describe_hour, format_folder
from ayla_provider.domain.layout import ExportFile, hour_text, parse_source, source_prefix, source_window
from ayla_provider.domain.status import SHORTEST_RETENTION, HourStatus, SignsOfLife, needs_life, settle
from ayla_provider.errors import PASSES, AylaAccessDenied, AylaConfigError, AylaUnavailable

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

log = logging.getLogger(__name__)

TIMEOUT = (10, 60)
"""Seconds to connect, and to wait for an answer."""

_MOST_PAGES = 10_000
"""Of a thousand objects each: more than any interval has."""

_FIELDS = "items(name,size,crc32c,generation,timeCreated),nextPageToken"


def storage_client(credentials: Credentials, endpoint: str, network: Network | None = None) -> storage.Client:
    """
    Return a google-cloud-storage client with these credentials.

    :param endpoint: Cloud Storage's URL; stated always, so that ``STORAGE_EMULATOR_HOST``, which may be meant for
        another bucket, doesn't catch the vendor's
    :param network: see :func:`~ayla_provider.cloud.session.authorized_session`
    """
    # The library asks for each bucket's metadata in the background, which a downscoped token is refused.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    return storage.Client(
        project="-",
        credentials=credentials,
        client_options={"api_endpoint": endpoint},
        _http=authorized_session(credentials, network),
    )


class ExportStore:
    """
    One OEM's export in the vendor's bucket. Every listing is bounded by a prefix below ``<oem_id>/``.

    :param credentials: the vendor's, such as :meth:`ayla_provider.cloud.auth.TokenProvider.credentials`
    :param endpoint: Cloud Storage's URL
    :param event_folders: event type to the spelling of its folder, where it was set by hand
    :param network: proxy and CAs, where they aren't as the environment says
    :param now: the clock, aware
    """

    def __init__(
        self,
        credentials: Credentials,
        bucket: str,
        oem_id: str,
        *,
        endpoint: str = STORAGE_ENDPOINT,
        event_folders: Mapping[str, str] | None = None,
        network: Network | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.credentials = credentials
        self.endpoint = endpoint
        self.network = network
        self.client = storage_client(credentials, endpoint, network)
        self.bucket = bucket
        self.oem_id = oem_id
        self._overrides = dict(event_folders or {})
        self._learnt: dict[str, str] = {}
        self.now = now

    def event_folders(self) -> dict[str, str]:
        """
        Return event type to folder spelling, as the bucket shows them now: one listing.

        A folder of none of the documented event types is included, with a warning, under an identifier of its own.

        :raises AylaConfigError: if two folders mean one event type and ``event_folders`` doesn't say which to take
        """
        prefix = f"{self.oem_id}/"
        what = f"the list of event folders below gs://{self.bucket}/{prefix}"
        with translated(what):
            listing = self.client.list_blobs(
                self.bucket,
                prefix=prefix,
                delimiter="/",
                fields="prefixes,nextPageToken",
                page_size=1000,
                timeout=TIMEOUT,
            )
            folders = sorted({name for page in _pages(listing, what) for name in page.prefixes})
        declared = {folder: event_type for event_type, folder in self._overrides.items()}
        found: dict[str, str] = {}
        for folder in (name[len(prefix) : -1] for name in folders):
            event_type = declared.get(folder) or self._event_type_of(f"{prefix}{folder}/", folder)
            if event_type is None or (folder not in declared and event_type in self._overrides):
                continue
            if event_type in found:
                raise AylaConfigError(
                    f"two folders below {prefix} mean event type {event_type}: {found[event_type]!r} and {folder!r}. "
                    "Say in the connection's event_folders which to take, as {\""
                    f'{event_type}": "{folder}"}}.'
                )
            found[event_type] = folder
        for event_type in self._overrides.keys() - found.keys():
            log.warning("%r, declared in event_folders, isn't there (yet).", f"{prefix}{self._overrides[event_type]}/")
        self._learnt = found
        return dict(found)

    @staticmethod
    def _event_type_of(where: str, folder: str) -> str | None:
        try:
            event_type = event_type_of(folder)
        except AylaConfigError:
            log.warning("The folder %r can't be an event type and is left out.", where)
            return None
        if event_type not in EVENT_FOLDERS:
            log.warning(
                "The folder %r is of an event type that Ayla's documents don't list; it can be copied as %r.",
                where,
                event_type,
            )
        return event_type

    def folder_of(self, event_type: str) -> str:
        """Return how the folder of an event type is spelt: as set, else as found, else as Ayla's exports spell it."""
        event_type = event_type_of(event_type)
        if event_type in self._overrides:
            return self._overrides[event_type]
        if event_type not in self._learnt:
            self.event_folders()
        return self._learnt.get(event_type) or EVENT_FOLDERS.get(event_type) or event_type

    def list_files(self, event_type: str, start: datetime, end: datetime) -> list[ExportFile]:
        """
        Return the files of an event type in the hours from ``start`` to ``end``: one listing, bounded on both sides.

        :param start: aware, on the hour
        :param end: aware, on the hour, exclusive
        """
        event_type = event_type_of(event_type)
        prefix = source_prefix(self.oem_id, self.folder_of(event_type))
        start_offset, end_offset = source_window(prefix, start, end)
        what = f"{event_type}, {describe_hour(start)} to {describe_hour(end)}: the list of gs://{self.bucket}/{prefix}"
        found = self._list(event_type, prefix, what, start_offset=start_offset, end_offset=end_offset)
        strays = [name for name in found.others if not name.endswith("/")]
        if strays:
            log.warning(
                "%d objects below %s stand in no folder named by a time and are left out, the first is %r.",
                len(strays),
                prefix,
                strays[0],
            )
        return [file for file in found.files if start <= file.hour < end]

    def status(
        self, event_type: str, hours: Sequence[datetime], *, quiet_period: timedelta, patience: timedelta
    ) -> list[HourStatus]:
        """
        Return the status of each of some consecutive hours.

        One bounded listing; only where an hour hangs between empty and overdue a look for a sign of life, one result
        per event type, until one is found; and only where it may have expired a look for the oldest object.
        """
        now = self.now()
        files = self.list_files(event_type, hours[0], hours[-1] + ONE_HOUR)
        life = SignsOfLife.of(files)
        filled = {file.hour for file in files}
        bare = [hour for hour in hours if hour not in filled and needs_life(hour, (), now=now, patience=patience)]
        in_doubt = [hour for hour in bare if not life.after(hour, patience)]
        if in_doubt:
            life = SignsOfLife.of([*files, *self._sign_of_life(in_doubt, event_type)])
        if bare and now - bare[0] > SHORTEST_RETENTION:
            life = replace(life, oldest_hour=self._oldest_hour)
        return settle(event_type, hours, files, now=now, quiet_period=quiet_period, patience=patience, life=life)

    def _sign_of_life(self, hours: Sequence[datetime], event_type: str) -> list[ExportFile]:
        """Return an object later than the newest of these hours after which there is one; an empty list if none is."""
        if found := self.later_than(hours[-1], event_type):
            return found
        # The exporter is stalled: by halves to the hour where it was alive last.
        stalled = bisect_left(hours, True, hi=len(hours) - 1, key=lambda hour: not self.later_than(hour, event_type))
        return self.later_than(hours[stalled - 1], event_type) if stalled else []

    def later_than(self, hour: datetime, event_type: str) -> list[ExportFile]:
        """
        Return an object in a later hour than this, of this or of any event type; an empty list if there is none.

        :param event_type: asked first, since it is the likeliest to show
        """
        after = hour + ONE_HOUR
        first = event_type_of(event_type)
        if first not in self._learnt:
            self.event_folders()
        for candidate in sorted(self._learnt, key=lambda known: known != first):
            prefix = source_prefix(self.oem_id, self._learnt[candidate])
            # Of the two styles the one with a space, which sorts first, is the one that exports are known to have.
            for offset in (hour_text(after, FolderStyle.SPACE), hour_text(after, FolderStyle.HYPHEN)):
                what = f"{candidate}: the look for a sign of life after {describe_hour(hour)}"
                found = self._first_file(candidate, prefix, what, prefix + offset)
                if found is None:
                    break
                if found.hour > hour:
                    return [found]
        return []

    @cached_property
    def _oldest_hour(self) -> datetime | None:
        """The oldest hour of which the source has a file, of any event type."""
        oldest = []
        for event_type, folder in (self._learnt or self.event_folders()).items():
            prefix = source_prefix(self.oem_id, folder)
            oldest.append(self._first_file(event_type, prefix, f"{event_type}: the look for the oldest object", prefix))
        return min((file.hour for file in oldest if file), default=None)

    def _first_file(self, event_type: str, prefix: str, what: str, offset: str) -> ExportFile | None:
        # The first object is a file, but for placeholders of folders, which some tools make.
        for results in (1, 100):
            found = self._list(event_type, prefix, what, start_offset=offset, max_results=results)
            if found.files or not found.others:
                return next(iter(found.files), None)
        return None

    def _list(
        self, event_type: str, prefix: str, what: str, *, max_results: int | None = None, **bounds: str
    ) -> _Listing:
        listing = _Listing()
        with translated(what):
            listed = self.client.list_blobs(
                self.bucket, prefix=prefix, fields=_FIELDS, max_results=max_results, timeout=TIMEOUT, **bounds
            )
            last = ""
            for blob in (blob for page in _pages(listed, what) for blob in page):
                if blob.name <= last:
                    raise AylaUnavailable(f"{what}: {blob.name!r} is listed after {last!r}, out of order. {PASSES}")
                last = blob.name
                parsed = parse_source(blob.name, prefix)
                if parsed:
                    listing.files.append(_file(event_type, parsed, blob, what))
                else:
                    listing.others.append(blob.name)
        return listing


@dataclass(slots=True)
class _Listing:
    files: list[ExportFile] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    """Names of objects that are no file in a dated folder."""


def _pages(listing: Any, what: str) -> Iterator[Any]:
    """Yield the pages of a listing; one that has no end is none."""
    for number, page in enumerate(listing.pages):
        if number >= _MOST_PAGES:
            raise AylaUnavailable(f"{what}: there is no end to it after {_MOST_PAGES} pages. {PASSES}")
        yield page


def describe_file(file: ExportFile) -> str:
    """Return event type, folder and object of a file, for messages."""
    return f"{file.event_type}, folder {format_folder(file.folder_time, file.style)}, object {file.name!r}"


def _file(event_type: str, parsed: tuple[datetime, FolderStyle, str], blob: storage.Blob, what: str) -> ExportFile:
    facts = (blob.size, blob.crc32c, blob.generation, blob.time_created)
    if any(fact is None for fact in facts) or blob.size < 0 or blob.generation < 0 or not isinstance(blob.crc32c, str):
        raise AylaUnavailable(
            f"{what}: the entry of {blob.name!r} lacks size, crc32c, generation or timeCreated, or has an impossible "
            f"one. {PASSES}"
        )
    folder_time, style, file = parsed
    return ExportFile(event_type, folder_time, style, file, blob.name, *facts)


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """
    Turn the errors of google-cloud-storage into errors that say what to do.

    :param what: what was tried, for the message
    :raises AylaAccessDenied: for 403 and a bucket that isn't there
    :raises AylaUnavailable: for everything else
    """
    try:
        yield
    except google_errors.Forbidden as error:
        raise AylaAccessDenied(
            f"{what}: Cloud Storage refuses it (403: {_reason(error)}). Ayla's token reads below <oem_id>/ in Ayla's "
            "bucket alone: check oem_id and bucket in the connection against the dashboard (OEM Profile, Data Export)."
        ) from None
    except google_errors.NotFound as error:
        raise AylaAccessDenied(
            f"{what}: there is no such bucket or object (404: {_reason(error)}). Check bucket in the connection."
        ) from None
    except (google_errors.GoogleAPIError, GoogleAuthError, RequestException) as error:
        # Where it was asked again until the time was over, the error of that holds the last one.
        code = getattr(getattr(error, "cause", None) or error, "code", None)
        told = f"Cloud Storage answered {int(code)}" if code else "no answer from Cloud Storage"
        raise AylaUnavailable(f"{what}: {told} ({_reason(error)}), also when asked again. {PASSES}") from None
    # What the library makes of a malformed answer.
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise AylaUnavailable(f"{what}: no usable answer from Cloud Storage ({_reason(error)}). {PASSES}") from None


def _reason(error: BaseException) -> str:
    cause = getattr(error, "cause", None) or error
    text = getattr(cause, "message", None) or str(cause)
    return f"{type(cause).__name__}: {text}"[:300]
