"""The operator that alerts before hours expire that the archive lacks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from ayla_provider._airflow.arguments import duration, names, optional_hour
from ayla_provider._airflow.errors import airflow_errors
from ayla_provider.destinations import open_destination
from ayla_provider.domain.events import EVENT_TYPES, parse_event_type
from ayla_provider.errors import AylaExpiringError
from ayla_provider.hooks import AylaHook

if TYPE_CHECKING:
    from airflow.sdk import Context


class AylaExportCountdownOperator(BaseOperator):
    """
    Fails, without retries, while hours expire at Ayla soon and aren't safe in the archive yet.

    How long Ayla keeps files is the setting ``retention`` of the connection. Without it, the operator knows it for the
    event types whose oldest hours the weekly comparison saw disappear. Of others it knows nothing, and says so.

    Its XCom is ``{"within_days", "retention_days": {event type: days}, "hours", "first"}``, or None if nothing is
    known.

    :param destination: the archive's URL, as the copying tasks have it (templated)
    :param event_types: in any spelling; by default the five documented ones
    :param within: how soon, whole days
    :param not_before: the first hour that the archive should have, ISO 8601 with an offset; by default there is no
        such bound (templated)
    :param destination_conn_id: as in :class:`AylaExportToBucketOperator` (templated)
    :param ayla_conn_id: the id of an Airflow connection of type ``ayla`` (templated)
    """

    template_fields: Sequence[str] = ("destination", "not_before", "destination_conn_id", "ayla_conn_id")
    ui_color = "#f6ecd9"

    def __init__(
        self,
        *,
        destination: str,
        event_types: Sequence[str] = EVENT_TYPES,
        within: timedelta = timedelta(days=14),
        not_before: str | datetime = "",
        destination_conn_id: str | None = None,
        ayla_conn_id: str = AylaHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.destination = destination
        self.event_types = names(event_types, "event_types")
        self.within = duration(within, "within", at_least=timedelta(days=1))
        self.not_before = not_before
        self.destination_conn_id = destination_conn_id
        self.ayla_conn_id = ayla_conn_id

    @cached_property
    def hook(self) -> AylaHook:
        """The hook that reads the source."""
        return AylaHook(self.ayla_conn_id)

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Compare the hours that expire soon."""
        from ayla_provider.archive.countdown import count_down
        from ayla_provider.archive.records import Records

        with airflow_errors():
            not_before = optional_hour(self.not_before, "not_before")
            event_types = [parse_event_type(name) for name in self.event_types]
            records = Records(open_destination(self.destination, self.destination_conn_id))
            countdown = count_down(self.hook.export, records, event_types, self.within, not_before)
            if countdown.hours:
                raise AylaExpiringError(countdown.message)
        unknown = [event_type for event_type in event_types if event_type not in countdown.retention]
        if unknown:
            self.log.warning(
                "Nobody knows how long Ayla keeps files of %s. Set retention in the connection.", ", ".join(unknown)
            )
        self.log.info("No hour that expires within %d days lacks anything.", self.within.days)
        return countdown.document()
