"""Tells the page *Ayla export* what a task knows of many hours: it publishes digests as asset events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ayla_provider.assets import digest_alias, digest_asset
from ayla_provider.destinations import console_link
from ayla_provider.domain.paths import MANIFESTS
from ayla_provider.errors import AylaError

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context

    from ayla_provider.domain.digest import Digest

_HOUR_FOLDER = "event_type=EVENT_TYPE/date=DATE/hour=HOUR"
"""The partition of an hour, with names in place of its values, which the page replaces."""


def is_first_of_day(context: Context, now: datetime) -> bool:
    """
    Return whether no earlier run of the DAG succeeded today, so that this one publishes its daily digests.

    :param now: aware, UTC
    """
    values: Any = context
    previous = values.get("prev_start_date_success")
    # Airflow gives a proxy of the time or of None, which only its truth tells apart.
    return not previous or previous.date() < now.date()


def publish(
    context: Context,
    operator: BaseOperator,
    archive: str,
    now: datetime,
    *,
    newest: Sequence[Digest] = (),
    daily: Sequence[Digest] = (),
    by_month: bool = True,
) -> None:
    """
    Emit an asset event for each document of some digests.

    :param operator: the task
    :param archive: the archive's URL
    :param now: aware
    :param newest: what each run publishes: few hours
    :param daily: what one run a day publishes, or one that knows more than others: up to a year
    :param by_month: whether the daily digests have an event for each month, because they have figures
    """
    values: Any = context
    events = values.get("outlet_events")
    if events is None:
        # Somebody called execute() without Airflow.
        return
    for digests, is_daily in ((newest, False), (daily, True)):
        asset = digest_asset(archive, is_daily=is_daily)
        documents = [each for digest in digests for each in digest.documents(now, by_month=is_daily and by_month)]
        for document in documents:
            # Airflow drops the events of an alias that isn't among the outlets.
            if digest_alias() not in operator.outlets:
                operator.outlets.append(digest_alias())
            events[digest_alias()].add(asset, extra=document)


def console_links(archive: str) -> dict[str, str]:
    """
    Return the addresses of an hour's copies and of its manifest in the store's console, as far as it has one.

    They have ``EVENT_TYPE``, ``DATE``, and ``HOUR`` in place of the hour's own values.
    """
    try:
        links = {
            "files": console_link(archive, _HOUR_FOLDER, is_object=False),
            "manifest": console_link(archive, f"{MANIFESTS}/{_HOUR_FOLDER}.json", is_object=True),
        }
    except AylaError:
        return {}
    return {name: link for name, link in links.items() if link}
