"""An Ayla cloud on this machine, which runs in a thread."""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.local_cloud.access import Access
from ayla_provider.local_cloud.admin import Admin
from ayla_provider.local_cloud.answers import HourAnswer, answer_of
from ayla_provider.local_cloud.app import make_app
from ayla_provider.local_cloud.clock import Clock
from ayla_provider.local_cloud.contents import BytesContent, Content
from ayla_provider.local_cloud.customer import CustomerIdentity
from ayla_provider.local_cloud.data import Data
from ayla_provider.local_cloud.faults import Faults
from ayla_provider.local_cloud.fleet import ExportParameters, Fleet
from ayla_provider.local_cloud.identity import ACS_PATH, Account, Identity, Options
from ayla_provider.local_cloud.objects import Bucket, StoredObject
from ayla_provider.local_cloud.oddities import put_oddity
from ayla_provider.local_cloud.storage_api import StorageApi
from ayla_provider.local_cloud.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime, timedelta
    from types import TracebackType

    from starlette.types import ASGIApp

    from ayla_provider.local_cloud.traffic import RequestRecord

VENDOR_BUCKET = "ayla-data-export"
CUSTOMER_BUCKET = "customer-archive"


def _listen(host: str, port: int) -> socket.socket:
    # socket.create_server doesn't set the socket's protocol. asyncio then leaves Nagle's algorithm on, which delays
    # each answer by 40 ms.
    addresses = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
    )
    family, kind, protocol, _, address = addresses[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1024)
    except OSError:
        listening.close()
        raise
    return listening


def _reachable(host: str) -> str:
    """Return the address with which clients on this machine reach the server."""
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 (compared, not bound)
        return "[::1]" if host == "::" else "127.0.0.1"
    return f"[{host}]" if ":" in host else host


async def _run(server: uvicorn.Server, listening: socket.socket) -> None:
    await server.serve(sockets=[listening])
    # A TLS connection stays open until the client closes it, too.
    for connection in list(server.server_state.connections):
        if connection.transport:
            connection.transport.abort()
    await asyncio.sleep(0)


class LocalCloud:
    """
    Ayla's user service, its credentials service, and a Cloud Storage with Ayla's bucket and the customer's.

    As a context manager, it listens as long as the context lasts. Meanwhile, any thread can read and change its state.

    :param host: the address to listen on
    :param port: the port to listen on; 0 chooses a free one
    :param seed: the same seed always creates the same export
    :param hours: create this many hours up to the current one, and further hours as time passes
    :param start: instead of ``hours``: the first hour to create, aware
    :param end: the end of the last hour to create; None means that hours are created as time passes
    :param now: the time of the export, see :class:`Clock`; None means the real time
    :param ticking: whether the time continues from ``now``
    :param max_lag: the longest time from the end of an hour until its files exist; None means as late as real files
    :param rows: the approximate number of rows in an hour of datapoints
    :param oem_id: the customer's folder in Ayla's bucket
    :param account: the one account that can sign in
    :param options: how the cloud behaves
    :param data: a folder that keeps the customer's bucket, objects from :meth:`put_object`, the customer's key and the
        export's parameters over a restart; if it has parameters, its ``seed``, ``oem_id``, ``rows``, ``max_lag``, first
        and last hour replace the arguments
    :param tls: the PEM files of a certificate with its chain and of its key; with them, the server uses https
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 1,
        hours: int | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        now: datetime | None = None,
        ticking: bool = False,
        max_lag: timedelta | None = None,
        rows: int = 120,
        oem_id: str = "1a2b3c4d",
        account: Account | None = None,
        options: Options | None = None,
        one_session: bool = False,
        data: Path | None = None,
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        self.clock = Clock(now, ticking=ticking)
        if not start and hours:
            start = hour_of(self.clock.now()) - hours * ONE_HOUR
        self._data = Data(data) if data else None
        parameters = ExportParameters(seed=seed, oem_id=oem_id, rows=rows, start=start, end=end, max_lag=max_lag)
        if self._data:
            parameters = ExportParameters.from_json(self._data.parameters(parameters.as_json()))
        self.oem_id = parameters.oem_id
        self.options = options or Options()
        self.options.one_session = self.options.one_session or one_session
        self.account = account or Account()
        self.faults = Faults()
        self.requests: list[RequestRecord] = []
        self.vendor = Bucket(VENDOR_BUCKET, self._fill_until_now, self._data)
        self.customer = Bucket(CUSTOMER_BUCKET, self.clock.wall, self._data)
        self.fleet = Fleet(
            seed=parameters.seed, oem_id=parameters.oem_id, rows=parameters.rows, max_lag=parameters.max_lag
        )
        self._identity = Identity(self.clock, self.account, self.options)
        self._next_hour, self._end = parameters.start, parameters.end
        self._answers: list[HourAnswer] = []
        self._filling = threading.RLock()
        self._thread: threading.Thread | None = None
        self._tls = tls
        self._socket = _listen(host, port)
        self.url = f"http{'s' if tls else ''}://{_reachable(host)}:{self._socket.getsockname()[1]}"
        self._customer = CustomerIdentity(self.clock, self.options, self.url, self._data.key if self._data else None)
        self._folder = Path(tempfile.mkdtemp(prefix="local-cloud-"))
        self._app = self._make_app()
        self._deleted = self._restore()

    def _restore(self) -> set[str]:
        """Restore the kept objects, and return the names of deleted files of the made-up export."""
        if not self._data:
            return set()
        buckets = {bucket.name: bucket for bucket in (self.vendor, self.customer)}
        for stored in self._data.objects():
            buckets[stored.bucket].restore(stored)
        return self._data.deleted(self.vendor.name)

    def _make_app(self) -> ASGIApp:
        buckets = {bucket.name: bucket for bucket in (self.vendor, self.customer)}
        access = Access(
            self._identity,
            self._customer,
            vendor_bucket=self.vendor.name,
            prefix=f"{self.oem_id}/",
            buckets=buckets,
        )
        self._uploads = Uploads(buckets, self._data.contents if self._data else self._folder)
        return make_app(
            identity=self._identity,
            customer=self._customer,
            storage=StorageApi(buckets, access, self._uploads),
            admin=Admin(self),
            clock=self.clock,
            faults=self.faults,
            log=self.requests,
        )

    def _serve(self) -> None:
        certificate, key = self._tls or (None, None)
        config = uvicorn.Config(
            self._app,
            log_config=None,
            log_level="critical",
            lifespan="off",
            timeout_graceful_shutdown=1,
            loop="asyncio",
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        config.load()  # raises here, not in the thread, if a certificate is invalid
        self._server = uvicorn.Server(config)
        run = partial(asyncio.run, _run(self._server, self._socket))
        self._thread = threading.Thread(target=run, name="local-cloud", daemon=True)
        self._thread.start()

    def _end_serving(self) -> None:
        if self._thread:
            self._server.should_exit = True
            # The server closes the socket's reader itself, and fails if the socket is closed before. On a busy machine
            # this takes long.
            self._thread.join(timeout=60)
        self._socket.close()

    @contextmanager
    def not_listening(self) -> Iterator[None]:
        """Refuse all connections, and close the open ones, as long as the context lasts."""
        address = self._socket.getsockname()
        self._end_serving()
        try:
            yield
        finally:
            self._socket = _listen(*address[:2])
            self._serve()

    def __enter__(self) -> LocalCloud:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Create the first hours, and start to answer requests."""
        try:
            self._fill_until_now()
            self._serve()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop listening, and remove everything that isn't in the ``data`` folder."""
        self._end_serving()
        self._uploads.close()
        if self._data:
            self._data.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def sign_ins(self) -> int:
        """The number of sign-ins that succeeded."""
        return self._identity.sign_ins

    @property
    def refusals(self) -> int:
        """The number of sign-ins that were refused."""
        return self._identity.refusals

    @property
    def secrets(self) -> list[str]:
        """Every secret and every token issued so far. None of them may appear in a log."""
        key = "".join(self.service_account_key()["private_key"].splitlines()[1:2])
        known = [self.account.password, self.account.app_secret, key]
        return [*known, *self._identity.issued, *self._customer.issued]

    def ayla_connection(self) -> dict[str, Any]:
        """Return an Airflow connection of type ``ayla``, in the format of ``AIRFLOW_CONN_AYLA_DEFAULT``."""
        return {
            "conn_type": "ayla",
            "host": self.url,
            "login": self.account.email,
            "password": self.account.password,
            "extra": {
                "region": "us",
                "app_id": self.account.app_id,
                "app_secret": self.account.app_secret,
                "oem_id": self.oem_id,
                "bucket": self.vendor.name,
                "acs_url": self.url + ACS_PATH,
                "storage_endpoint": self.url,
            },
        }

    def google_connection(self) -> dict[str, Any]:
        """Return an Airflow connection of type ``google_cloud_platform`` for the customer's bucket."""
        return self._customer.connection()

    def service_account_key(self) -> dict[str, str]:
        """Return the key in :meth:`google_connection`, for ``service_account.Credentials``."""
        return self._customer.key()

    def put_object(
        self, event_folder: str, folder_name: str, file: str, data: bytes | Content, created: datetime | None = None
    ) -> StoredObject:
        """
        Put an object in the customer's folder of Ayla's bucket. An existing object becomes an older generation.

        :param event_folder: for example ``Datapoint Ack``
        :param folder_name: for example ``2024-05-09 02:00:00``
        :param data: bytes, or a :class:`SeededContent` of any size
        :param created: the time from which it exists; None means now
        """
        content = BytesContent(data) if isinstance(data, bytes) else data
        return self.vendor.put(f"{self.oem_id}/{event_folder}/{folder_name}/{file}", content, created)

    def delete_object(self, event_folder: str, folder_name: str, file: str) -> None:
        """Remove an object from the customer's folder of Ayla's bucket, with all its generations."""
        self.vendor.delete(f"{self.oem_id}/{event_folder}/{folder_name}/{file}")

    def put_oddity(self, kind: str, event_folder: str, hour: datetime, amount: int | None = None) -> list[str]:
        """See :func:`ayla_provider.local_cloud.oddities.put_oddity`."""
        return put_oddity(self, kind, event_folder, hour, amount)

    def revoke(self, *kinds: str) -> None:
        """
        End tokens before they expire.

        :param kinds: ``access`` (Ayla's access tokens), ``session`` (these and the refresh tokens), ``storage`` (ACS
            tokens), ``customer`` (tokens for the customer's bucket)
        :raises ValueError: for any other kind
        """
        acts = {
            "access": self._identity.revoke_access_tokens,
            "session": self._identity.revoke_sessions,
            "storage": self._identity.revoke_storage_tokens,
            "customer": self._customer.revoke_tokens,
        }
        for kind in kinds:
            if kind not in acts:
                raise ValueError(f"{kind!r}: expected one of {', '.join(acts)}")
            acts[kind]()

    def answer_key(self) -> list[HourAnswer]:
        """Return the facts about every hour created so far, including hours whose files don't exist yet."""
        self._fill_until_now()
        with self._filling:
            return list(self._answers)

    def _fill_until_now(self) -> datetime:
        """Create the hours that have passed, and return the export's time."""
        now = self.clock.now()
        with self._filling:
            # No file exists before its hour is over, so later hours aren't needed yet.
            while self._next_hour and self._next_hour < (self._end or hour_of(now)):
                hour, self._next_hour = self._next_hour, self._next_hour + ONE_HOUR
                for event_type in EVENT_TYPES:
                    self._fill(event_type, hour)
        return now

    def _fill(self, event_type: str, hour: datetime) -> None:
        files = self.fleet.files(event_type, hour)
        for file in files:
            if file.answer.object_name in self._deleted:
                continue
            for generation, data in zip(file.answer.generations, file.contents, strict=True):
                self.vendor.put(file.answer.object_name, BytesContent(data), generation.visible_at, keep=False)
        self._answers.append(answer_of(event_type, hour, files))
