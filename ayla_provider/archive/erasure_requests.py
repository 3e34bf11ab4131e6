"""The requests for erasure that wait in a folder or a bucket. Each is a JSON object, which goes when it is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from ayla_provider.archive.destination import Destination, Stored, url_of
from ayla_provider.domain.erasure import ErasureKeys, ErasureRequest, Leftover, merged, parse_request
from ayla_provider.domain.units import counted, first_few
from ayla_provider.errors import AylaConfigError

_MOST = 1000
"""How many requests are taken at once."""

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class WaitingRequest:
    """A request, and where it is."""

    id: str
    """The id of its entry in the ledger."""
    request: ErasureRequest
    stored: Stored


def refuse_no_folder(requests: Destination) -> None:
    """
    Refuse a folder on this machine that doesn't exist. In a bucket, a folder without objects doesn't exist either.

    :raises AylaConfigError: if it doesn't exist
    """
    local = requests.local("")
    if local is not None and not local.is_dir():
        raise AylaConfigError(
            f"{requests.url}: this folder of the requests doesn't exist. Nothing was done. Correct its URL, or make it."
        )


def waiting_requests(
    requests: Destination, keys: ErasureKeys, only: Sequence[str] | None = None
) -> list[WaitingRequest]:
    """
    Return the requests in a folder, the oldest first.

    :param only: the ids of those that are wanted; None for all
    :raises AylaConfigError: if the folder doesn't exist, or an object isn't a valid request; it names the object, and
        quotes nothing of it
    :raises AylaDestinationError: if the folder can't be read
    """
    refuse_no_folder(requests)
    found: dict[str, WaitingRequest] = {}
    problems = []
    for stored, content, modified in _objects(requests):
        try:
            request = parse_request(content, url_of(requests, stored.path), modified)
        except AylaConfigError as error:
            problems.append(str(error))
            continue
        found.setdefault(stored.path, WaitingRequest(request.id(keys), request, stored))
    if problems:
        raise AylaConfigError(
            f"Nothing was erased, because of {counted(len(problems), 'request', 'requests')}. "
            f"{first_few(problems, _SHOWN)}. Correct or remove {'it' if len(problems) == 1 else 'them'}, and clear the "
            "task."
        )
    waiting = sorted(found.values(), key=lambda each: (each.request.made_at, each.stored.path))
    return [each for each in waiting if only is None or each.id in only]


def remove_requests(requests: Destination, waiting: Sequence[WaitingRequest]) -> list[Leftover]:
    """
    Remove requests that are done, with their earlier versions: they name people.

    :returns: what the store keeps of them
    :raises AylaDestinationError: if the store refuses it or the connection breaks
    """
    left: list[Leftover] = []
    for each in waiting:
        requests.remove_for_good(each.stored)
        left += requests.remove_earlier_versions(each.stored.path)
    return merged(left)


def _objects(requests: Destination) -> Iterator[tuple[Stored, bytes, datetime]]:
    for count, listed in enumerate(requests.tree("")):
        if count >= _MOST:
            raise AylaConfigError(
                f"{requests.url} has more than {_MOST} objects. Is it the folder of the requests, and of nothing else?"
            )
        if listed.unfinished or not listed.stored.path.endswith(".json"):
            continue
        record = requests.read(listed.stored.path)
        if record:
            yield record[1], record[0], listed.modified
