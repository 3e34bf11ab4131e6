"""The operator that extracts what people ask for: the right of access."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, BaseOperator

from ayla_provider._airflow.erasure_keys import ERASURE_CONN_ID, erasure_keys
from ayla_provider._airflow.errors import airflow_errors, undefined_connection
from ayla_provider.destinations import open_destination
from ayla_provider.domain.paths import EXTRACTS, typed_rows_url
from ayla_provider.rows.duck import MEMORY

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ayla_provider.archive.destination import Destination, Stored
    from ayla_provider.domain.csv.columns import ColumnLayout
    from ayla_provider.domain.erasure import ErasureRequest

_CONTENT_TYPES = {".csv": "text/csv", ".json": "application/json", ".html": "text/html"}


class AylaExportAccessOperator(BaseOperator):
    """
    Extracts all events of devices and users, decoded: as CSV, JSON, and one HTML file to read.

    A request is a JSON object in a folder of a bucket: ``dsn``, ``user_uuid``, or both, and if wanted ``from`` and
    ``until``. It isn't an argument, because Airflow's database keeps arguments. The operator removes the object when
    its extract is written into ``_extracts/<time of the request>/`` of ``answers``. The log names the time alone.

    Its XCom names nobody: ``{"requests", "extracts": [the folders], "events", "unreadable_lines", "hours_looked_at",
    "hours_not_readable"}``.

    :param requests: the URL of the folder of the requests, and of nothing else (templated)
    :param answers: the URL that gets the extracts. Give only those people access who answer requests (templated)
    :param archive: the URL that the copy, or the drain of a stream, has as its destination (templated)
    :param requests_conn_id: a connection for ``requests``; by default as ``archive_conn_id`` (templated)
    :param answers_conn_id: a connection for ``answers``; by default as ``archive_conn_id`` (templated)
    :param archive_conn_id: as the copy has it in ``destination_conn_id`` (templated)
    :param parquet: where the typed rows are, as in the loads (templated)
    :param privacy_conn_id: as in the loads. With the key, fewer hours are read from the archive
    :param erasure_conn_id: a connection whose password has the keys of the erasure ledger. It is looked up only if an
        erasure touches an hour that is read from the archive (templated)
    :param layouts: layouts of your own, as in the loads
    :param memory: DuckDB's limit, as DuckDB writes sizes
    """

    template_fields: Sequence[str] = (
        "requests",
        "answers",
        "archive",
        "requests_conn_id",
        "answers_conn_id",
        "archive_conn_id",
        "parquet",
        "erasure_conn_id",
    )
    ui_color = "#e4e0f4"

    def __init__(
        self,
        *,
        requests: str,
        answers: str,
        archive: str,
        requests_conn_id: str | None = None,
        answers_conn_id: str | None = None,
        archive_conn_id: str | None = None,
        parquet: str = "",
        privacy_conn_id: str | None = None,
        erasure_conn_id: str = ERASURE_CONN_ID,
        layouts: Sequence[Mapping[str, Any]] = (),
        memory: str = MEMORY,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.requests = requests
        self.answers = answers
        self.archive = archive
        self.requests_conn_id = requests_conn_id
        self.answers_conn_id = answers_conn_id
        self.archive_conn_id = archive_conn_id
        self.parquet = parquet
        self.privacy_conn_id = privacy_conn_id
        self.erasure_conn_id = erasure_conn_id
        self.layouts = layouts
        self.memory = memory

    def execute(self, context: Context) -> dict[str, Any]:
        """Extract what each request asks for."""
        result: dict[str, Any] = {"requests": 0, "extracts": []}
        result |= dict.fromkeys(("events", "unreadable_lines", "hours_looked_at", "hours_not_readable"), 0)
        with airflow_errors():
            requests = open_destination(self.requests, self.requests_conn_id or self.archive_conn_id)
            # All are read first: a request that isn't valid stops the task before it does anything.
            waiting = sorted(self._waiting(requests), key=lambda each: each[1].made_at)
            for stored, request in waiting:
                self._extract(request, result)
                requests.remove(stored)
        return result

    def _waiting(self, requests: Destination) -> Iterator[tuple[Stored, ErasureRequest]]:
        from ayla_provider.archive.destination import url_of
        from ayla_provider.archive.erasure_requests import refuse_no_folder, request_objects
        from ayla_provider.domain.erasure import parse_request

        refuse_no_folder(requests)
        for stored, content, modified in request_objects(requests):
            yield stored, parse_request(content, url_of(requests, stored.path), modified)

    def _extract(self, request: ErasureRequest, result: dict[str, Any]) -> None:
        from ayla_provider.archive.scratch import scratch_folder
        from ayla_provider.rows.access import Access
        from ayla_provider.rows.extract import write_extract
        from ayla_provider.rows.hour_parts import content_of

        archive = open_destination(self.archive, self.archive_conn_id)
        rows = open_destination(typed_rows_url(self.archive, self.parquet), self.archive_conn_id)
        output = open_destination(self.answers, self.answers_conn_id or self.archive_conn_id)
        folder = f"{EXTRACTS}/{request.made_at.astimezone(UTC):%Y%m%dT%H%M%S%fZ}"
        options: dict[str, Any] = {
            "policy_key": self._policy_key(),
            "layouts": self._layouts(),
            "memory": self.memory,
            "erasure_keys": partial(erasure_keys, self.erasure_conn_id),
        }
        with scratch_folder() as scratch, Access(archive, rows, request, **options) as access:
            found = access.find()
            for local in write_extract(access, found, Path(scratch) / "extract", made_at=datetime.now(UTC)):
                path, content = f"{folder}/{local.name}", content_of(local)
                with local.open("rb") as file:
                    output.write(
                        path,
                        file,
                        size=content.size,
                        crc32c=content.crc32c,
                        # What a try that was killed left there.
                        replaces=output.folder(folder).get(path),
                        content_type=_CONTENT_TYPES[local.suffix],
                    )
        result["requests"] += 1
        result["extracts"].append(folder)
        result["events"] += found.rows
        result["unreadable_lines"] += len(found.lines)
        result["hours_looked_at"] += found.hours_looked_at
        result["hours_not_readable"] += len(found.not_readable)
        self.log.info(
            "The request of %s: %d events and %d unreadable lines of %d hours are in %s/%s.",
            request.made_at.isoformat(),
            found.rows,
            len(found.lines),
            found.hours_looked_at,
            output.url,
            folder,
        )
        if found.not_readable:
            self.log.warning("Hours that nobody can read any more: %d.", len(found.not_readable))

    def _policy_key(self) -> str:
        if not self.privacy_conn_id:
            return ""
        with undefined_connection():
            return BaseHook.get_connection(self.privacy_conn_id).password or ""

    def _layouts(self) -> tuple[ColumnLayout, ...]:
        from ayla_provider.domain.csv.columns import COLUMN_LAYOUTS
        from ayla_provider.domain.csv.declaration import declared

        return (*declared(list(self.layouts)), *COLUMN_LAYOUTS)
