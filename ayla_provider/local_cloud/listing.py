"""One page of a listing, by the rules of the JSON API's ``objects.list``."""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ayla_provider.local_cloud.api_errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ayla_provider.local_cloud.objects import Bucket, StoredObject

MAX_RESULTS = 1000
"""Google's maximum for a page, even if the client requests more."""


@dataclass(frozen=True)
class ListQuery:
    """The parameters of a listing; names as in the API."""

    prefix: str = ""
    delimiter: str = ""
    start_offset: str = ""
    end_offset: str = ""
    max_results: int = MAX_RESULTS
    page_token: str = ""
    include_trailing_delimiter: bool = False
    versions: bool = False
    """Whether generations that were replaced or deleted are listed, too."""
    soft_deleted: bool = False
    """Whether only objects that were deleted are listed."""

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str], keeps: str = "") -> ListQuery:
        """
        Read the query of a request.

        :param keeps: see :attr:`~ayla_provider.local_cloud.objects.Bucket.keeps`
        :raises ApiError: 400 for a malformed ``maxResults``; 501 for features that the local cloud doesn't have
        """
        for name in ("versions", "softDeleted"):
            if _is_on(parameters, name) and not keeps:
                raise ApiError(501, f"The local cloud's bucket keeps no {name}.")
        if parameters.get("matchGlob"):
            raise ApiError(501, "The local cloud has no matchGlob.")
        wanted = parameters.get("maxResults", "")
        if wanted and not (wanted.isascii() and wanted.isdigit()):
            raise ApiError(400, f"Invalid unsigned integer value: '{wanted}'.")
        return cls(
            prefix=parameters.get("prefix", ""),
            delimiter=parameters.get("delimiter", ""),
            start_offset=parameters.get("startOffset", ""),
            end_offset=parameters.get("endOffset", ""),
            max_results=min(int(wanted or 0) or MAX_RESULTS, MAX_RESULTS),
            page_token=parameters.get("pageToken", ""),
            include_trailing_delimiter=parameters.get("includeTrailingDelimiter") == "true",
            versions=_is_on(parameters, "versions"),
            soft_deleted=_is_on(parameters, "softDeleted"),
        )


def _is_on(parameters: Mapping[str, str], name: str) -> bool:
    return parameters.get(name, "false").lower() != "false"


@dataclass
class Page:
    """Sorted objects, sorted prefixes, and the token of the next page if there is one."""

    items: list[StoredObject] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    next_page_token: str | None = None


def _token(kind: str, last: str) -> str:
    return base64.urlsafe_b64encode(f"{kind}{last}".encode()).decode()


FIRST_PAGE = _token("o", "")
"""The token of a page that begins where the listing does."""


def _after_prefix(names: list[str], prefix: str, at: int) -> int:
    """Return the index after all names that start with a prefix. Names cut to the same length stay sorted."""
    return bisect_right(names, prefix, lo=at, key=lambda name: name[: len(prefix)])


def _resume(names: list[str], token: str) -> int:
    """Return the index after the last entry of the previous page, which is an object or a whole prefix."""
    try:
        text = base64.urlsafe_b64decode(token.encode()).decode()
    except (binascii.Error, UnicodeError):
        text = ""
    if text[:1] == "p":
        return _after_prefix(names, text[1:], 0)
    if text[:1] == "o":
        return bisect_right(names, text[1:])
    raise ApiError(400, "Invalid page token.")


def list_page(bucket: Bucket, query: ListQuery) -> Page:
    """
    Return one page. Its cost depends on the page and not on the bucket, if few objects have a future time.

    A page of replaced or deleted objects has all of them: the local cloud doesn't divide it.

    Offsets apply to objects before they are rolled up into prefixes. Items and prefixes both count for the page size.

    :raises ApiError: 400 for a page token that isn't from a page
    """
    if query.soft_deleted or query.versions:
        return _page_of_former(bucket, query)
    now = bucket.now()
    with bucket.lock:
        names = bucket.names
        at = bisect_left(names, max(query.prefix, query.start_offset))
        if query.page_token:
            at = max(at, _resume(names, query.page_token))
        page, last = Page(), ""
        while at < len(names):
            name = names[at]
            if not name.startswith(query.prefix) or (query.end_offset and name >= query.end_offset):
                break
            stored = bucket.live(name, now)
            if stored is None:
                at += 1
                continue
            rolled_up = _rolled_up(name, query)
            is_item = rolled_up is None or (query.include_trailing_delimiter and rolled_up == name)
            count = len(page.items) + len(page.prefixes)
            if count and count + is_item + (rolled_up is not None) > query.max_results:
                page.next_page_token = last
                break
            if is_item:
                page.items.append(stored)
            if rolled_up is None:
                at, last = at + 1, _token("o", name)
            else:
                page.prefixes.append(rolled_up)
                at, last = _after_prefix(names, rolled_up, at), _token("p", rolled_up)
        return page


def _page_of_former(bucket: Bucket, query: ListQuery) -> Page:
    kind = "softDeleted" if query.soft_deleted else "versions"
    items = bucket.former(query.prefix) if bucket.keeps == kind else []
    if query.versions:
        items += list_page(bucket, replace(query, versions=False)).items
    return Page(sorted(items, key=lambda stored: (stored.name, stored.generation)))


def _rolled_up(name: str, query: ListQuery) -> str | None:
    """Return the prefix that a name is rolled up into; None if the name is listed itself."""
    cut = name.find(query.delimiter, len(query.prefix)) if query.delimiter else -1
    return name[: cut + len(query.delimiter)] if cut >= 0 else None
