"""The requests for erasure that wait in a folder or a bucket. Each is a JSON object, which goes when it is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ayla_provider.archive.destination import Destination, Stored, url_of
from ayla_provider.domain.erasure import FEWEST, ErasureKeys, ErasureRequest, Leftover, merged, parse_request
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
    for stored, content, modified in request_objects(requests):
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


def request_objects(requests: Destination) -> list[tuple[Stored, bytes, datetime]]:
    """
    Return the objects of a folder of requests: each with its content, and when it was written.

    :raises AylaConfigError: if the folder has too many objects, or one whose name doesn't end in ``.json``
    :raises AylaDestinationError: if the folder can't be read
    """
    found = []
    others = []
    for count, listed in enumerate(requests.tree("")):
        if count >= _MOST:
            raise AylaConfigError(
                f"{requests.url} has more than {_MOST} objects. Is it the folder of the requests, and of nothing else?"
            )
        path = listed.stored.path
        # Consoles of clouds show an object as a folder if its name ends in a slash.
        is_folder = not path or path.endswith("/")
        if listed.unfinished or is_folder:
            continue
        if not path.endswith(".json"):
            others.append(path)
            continue
        record = requests.read(path)
        if record:
            found.append((record[1], record[0], listed.modified))
    if others:
        raise AylaConfigError(_of_others(requests, others))
    return found


def _of_others(requests: Destination, paths: Sequence[str]) -> str:
    """Return what is wrong with objects that can't be requests. It shows no name that can be an identifier."""
    shown = [path for path in paths if _can_be_shown(path)]
    hidden = len(paths) - len(shown)
    names = [first_few(sorted(shown), _SHOWN)] if shown else []
    if hidden:
        names.append(f"{hidden:,} whose {'name is' if hidden == 1 else 'names are'} not shown, to hide identifiers")
    return (
        f"Nothing was done. {requests.url} has {counted(len(paths), 'object', 'objects')} whose name doesn't end in "
        f".json, in lower case: {'; '.join(names)}. If it is a request, rename it, such as to ticket-123.json. If it "
        "isn't, remove it. Then clear the task."
    )


def _can_be_shown(path: str) -> bool:
    """Return whether the name of an object is too short for an identifier, apart from an ending such as ``.txt``."""
    stem, dot, ending = path.rpartition(".")
    if not dot:
        return len(path) < FEWEST
    return len(stem) < FEWEST and len(ending) < FEWEST and ending.isalpha()
