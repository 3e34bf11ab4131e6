"""An Ayla cloud on this machine, run in a thread."""

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
from ayla_provider.local_cloud.fleet import Fleet, Made
from ayla_provider.local_cloud.identity import ACS_PATH, Account, Identity, Options
from ayla_provider.local_cloud.objects import Bucket, StoredObject
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
    # asyncio answers without delay only on sockets that name their protocol, which socket.create_server leaves out:
    # each answer would take 40 ms.
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(address)
    listening.listen(1024)
    return listening


def _reachable(host: str) -> str:
    """Return how clients on this machine write the address that the server listens on."""
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 (compared, not bound)
        return "[::1]" if host == "::" else "127.0.0.1"
    return f"[{host}]" if ":" in host else host


async def _run(server: uvicorn.Server, listening: socket.socket) -> None:
    await server.serve(sockets=[listening])
    # Over TLS a connection stays open until its client agrees to the end.
    for connection in list(server.server_state.connections):
        if connection.transport:
            connection.transport.abort()
    await asyncio.sleep(0)


class LocalCloud:
    """
    Ayla's user service, its credentials service, and a Cloud Storage with Ayla's bucket and the customer's.

    Used as a context manager it listens from its start to its end. Everything that it holds may be read and changed
    from any thread meanwhile.

    :param host: the address to listen on
    :param port: 0 chooses a free one
    :param seed: equal seeds make equal exports
    :param hours: fill the bucket with this many hours up to the present one, and with further ones as time passes
    :param start: instead of ``hours``: the first hour to fill, aware
    :param end: the end of the last hour to fill; without it, further ones are filled as time passes
    :param now: the time of the export, see :class:`Clock`; None means real time
    :param ticking: whether the time that was set goes on
    :param max_lag: the longest time from the end of an hour until its files are there; None means as late as real ones
    :param rows: about how many rows an hour of datapoints has
    :param oem_id: the folder in Ayla's bucket that is the customer's
    :param account: the one account that can sign in
    :param options: how the cloud behaves
    :param data: a folder in which the customer's bucket, objects put by hand, the customer's key and what the export
        is made from survive a restart; when it holds something, its ``seed``, ``oem_id``, ``rows``, ``max_lag``,
        first and last hour go before those given here
    :param tls: the files of a certificate, with its chain, and of its key, in PEM form: it then speaks https
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
        made = Made(seed=seed, oem_id=oem_id, rows=rows, start=start, end=end, max_lag=max_lag)
        if self._data:
            made = Made.from_json(self._data.parameters(made.as_json()))
        self.oem_id = made.oem_id
        self.options = options or Options()
        self.options.one_session = self.options.one_session or one_session
        self.account = account or Account()
        self.faults = Faults()
        self.requests: list[RequestRecord] = []
        self.vendor = Bucket(VENDOR_BUCKET, self._fill_and_tell, self._data)
        self.customer = Bucket(CUSTOMER_BUCKET, self.clock.wall, self._data)
        self.fleet = Fleet(seed=made.seed, oem_id=made.oem_id, rows=made.rows, max_lag=made.max_lag)
        self._identity = Identity(self.clock, self.account, self.options)
        self._next_hour, self._end = made.start, made.end
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
        """Put back what was kept, and return the names of files of the made-up export that were deleted."""
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
        config.load()  # here, where it can say what is wrong with a certificate
        self._server = uvicorn.Server(config)
        run = partial(asyncio.run, _run(self._server, self._socket))
        self._thread = threading.Thread(target=run, name="local-cloud", daemon=True)
        self._thread.start()

    def _end_serving(self) -> None:
        if self._thread:
            self._server.should_exit = True
            self._thread.join(timeout=10)
        self._socket.close()

    @contextmanager
    def not_listening(self) -> Iterator[None]:
        """Refuse all connections for a while; those that are open end."""
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
        """Fill the bucket, and answer requests from now on."""
        try:
            self._fill_and_tell()
            self._serve()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop listening, and forget what isn't in the ``data`` folder."""
        self._end_serving()
        self._uploads.close()
        if self._data:
            self._data.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def sign_ins(self) -> int:
        """How many sign-ins succeeded."""
        return self._identity.sign_ins

    @property
    def refusals(self) -> int:
        """How many sign-ins were refused."""
        return self._identity.refusals

    @property
    def secrets(self) -> list[str]:
        """Every secret and every token given out so far: what must stand in no log."""
        key = "".join(self.service_account_key()["private_key"].splitlines()[1:2])
        known = [self.account.password, self.account.app_secret, key]
        return [*known, *self._identity.issued, *self._customer.issued]

    def ayla_connection(self) -> dict[str, Any]:
        """Return an Airflow connection of the type ``ayla``, as in ``AIRFLOW_CONN_AYLA_DEFAULT``."""
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
        """Return an Airflow connection of the type ``google_cloud_platform`` for the customer's bucket."""
        return self._customer.connection()

    def service_account_key(self) -> dict[str, str]:
        """Return the key that :meth:`google_connection` holds, for ``service_account.Credentials``."""
        return self._customer.key()

    def put_object(
        self, event_folder: str, folder_name: str, file: str, data: bytes | Content, created: datetime | None = None
    ) -> StoredObject:
        """
        Put an object into the customer's folder of Ayla's bucket; one that is there becomes an older generation.

        :param event_folder: for example ``Datapoint Ack``
        :param folder_name: for example ``2024-05-09 02:00:00``
        :param data: bytes, or a :class:`SeededContent` of any size
        :param created: from when on it is there; default now
        """
        content = BytesContent(data) if isinstance(data, bytes) else data
        return self.vendor.put(f"{self.oem_id}/{event_folder}/{folder_name}/{file}", content, created)

    def delete_object(self, event_folder: str, folder_name: str, file: str) -> None:
        """Remove an object from the customer's folder of Ayla's bucket, with all its generations."""
        self.vendor.delete(f"{self.oem_id}/{event_folder}/{folder_name}/{file}")

    def revoke(self, *kinds: str) -> None:
        """
        Kill tokens before their time.

        :param kinds: ``access`` (Ayla's access tokens), ``session`` (these and the refresh tokens), ``storage`` (ACS
            tokens), ``customer`` (tokens for the customer's bucket)
        :raises ValueError: for another kind
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
        """Return what is true of every hour that the bucket was filled with, whether or not its files are there yet."""
        self._fill_and_tell()
        with self._filling:
            return list(self._answers)

    def _fill_and_tell(self) -> datetime:
        """Return the time of the export, after filling in the hours that it has come to."""
        now = self.clock.now()
        with self._filling:
            # No file is there before its hour is over, so what lies ahead can wait.
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
