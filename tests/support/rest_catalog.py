"""
A double of an Iceberg REST catalog, whose answers to commits can get lost.

It follows the protocol with the library's own requests, requirements and updates. Tables are on disk or in S3, wherever
the properties of the catalog lead.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit

from pyiceberg.catalog.rest import CreateTableRequest
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.io import load_file_io
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC
from pyiceberg.serializers import FromInputFile, ToOutputFile
from pyiceberg.table import CommitTableRequest
from pyiceberg.table.metadata import TableMetadata, new_table_metadata
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER
from pyiceberg.table.update import update_table_metadata

from tests.support.serving import serving

REPEATED = 409
"""The answer if something between client and catalog sends a request twice, and the second is refused."""
CUT = 0
"""No answer: the connection ends."""

Answer = tuple[int, Any]


@dataclass
class RestCatalog:
    """
    The catalog's side.

    :param warehouse: the URL below which tables get their places
    :param properties: how the catalog reaches the storage, in pyiceberg's terms
    """

    warehouse: str
    properties: dict[str, str] = field(default_factory=dict)
    url: str = ""
    commits: list[CommitTableRequest] = field(default_factory=list)
    """Those that were accepted."""
    refused: int = 0
    before_commit: Callable[[], None] = lambda: None
    """Is called once before a commit is looked at, for what happens in between."""

    def __post_init__(self) -> None:
        self.namespaces: dict[str, dict[str, str]] = {}
        self.tables: dict[tuple[str, str], str] = {}
        self._lock = threading.RLock()
        self._lost: list[int] = []
        self._down: list[int] = []
        self._io = load_file_io(self.properties, self.warehouse)

    def lose(self, status: int, *, times: int = 1) -> None:
        """
        Let the answers to the next commits get lost, after they have happened.

        :param status: what the client gets instead: 409 (the request was repeated), 500, 503, or 0 for a cut connection
        """
        self._lost += [status] * times

    def refuse(self, status: int, *, times: int = 1) -> None:
        """Let the next commits fail before anything has happened."""
        self._down += [status] * times

    @property
    def connection(self) -> dict[str, Any]:
        """An Airflow connection to this catalog."""
        return {"conn_type": "iceberg", "host": self.url, "extra": dict(self.properties)}

    def metadata_location(self, namespace: str, name: str) -> str:
        """Return where a table's current metadata is."""
        return self.tables[namespace, name]

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Return status and content of the answer to a request."""
        match [unquote(part) for part in path.removeprefix("/v1/").split("/")]:
            case ["config"]:
                return 200, {"defaults": {}, "overrides": {}}
            case ["namespaces"] if method == "GET":
                return 200, {"namespaces": [name.split("\x1f") for name in self.namespaces]}
            case ["namespaces"]:
                return self._make_namespace(json.loads(body))
            case ["namespaces", namespace] if namespace not in self.namespaces:
                return _missing("NoSuchNamespaceException", namespace)
            case ["namespaces", namespace]:
                return 200, {"namespace": namespace.split("\x1f"), "properties": self.namespaces[namespace]}
            case ["namespaces", namespace, "tables"] if namespace not in self.namespaces:
                return _missing("NoSuchNamespaceException", namespace)
            case ["namespaces", namespace, "tables"] if method == "GET":
                names = [name for of, name in self.tables if of == namespace]
                return 200, {"identifiers": [{"namespace": namespace.split("\x1f"), "name": name} for name in names]}
            case ["namespaces", namespace, "tables"]:
                return self._create(namespace, body)
            case ["namespaces", namespace, "tables", name]:
                return self._of_table(method, (namespace, name), body)
        return 404, {"error": {"message": f"{method} {path}", "type": "NotFound", "code": 404}}

    def _make_namespace(self, asked: Mapping[str, Any]) -> Answer:
        name = "\x1f".join(asked["namespace"])
        with self._lock:
            if name in self.namespaces:
                return _refused("AlreadyExistsException", name)
            self.namespaces[name] = dict(asked.get("properties") or {})
        return 200, {"namespace": asked["namespace"], "properties": self.namespaces[name]}

    def _of_table(self, method: str, key: tuple[str, str], body: bytes) -> Answer:
        with self._lock:
            if method == "POST":
                return self._commit(key, body)
            if key not in self.tables:
                return _missing("NoSuchTableException", ".".join(key))
            if method == "DELETE":
                del self.tables[key]
                return 204, None
            return self._table(key)

    def _table(self, key: tuple[str, str]) -> Answer:
        location = self.tables[key]
        metadata = FromInputFile.table_metadata(self._io.new_input(location))
        return 200, {"metadata-location": location, "metadata": json.loads(metadata.model_dump_json()), "config": {}}

    def _create(self, namespace: str, body: bytes) -> Answer:
        # The library leaves out what is None, and then refuses to read it.
        left_out = {"location": None, "partition-spec": None, "write-order": None}
        asked = CreateTableRequest.model_validate(left_out | json.loads(body))
        key = (namespace, asked.name)
        with self._lock:
            if key in self.tables:
                return _refused("AlreadyExistsException", ".".join(key))
            metadata = new_table_metadata(
                location=asked.location or f"{self.warehouse}/{namespace}/{asked.name}",
                schema=asked.table_schema,
                partition_spec=asked.partition_spec or UNPARTITIONED_PARTITION_SPEC,
                sort_order=asked.write_order or UNSORTED_SORT_ORDER,
                properties=asked.properties,
            )
            self._write(key, metadata, 0)
            return self._table(key)

    def _commit(self, key: tuple[str, str], body: bytes) -> Answer:
        meanwhile, self.before_commit = self.before_commit, lambda: None
        meanwhile()
        asked = CommitTableRequest.model_validate_json(body)
        if self._down:
            return _failed(self._down.pop(0))
        answer = self._apply(key, asked)
        if answer[0] != 200 or not self._lost:
            return answer
        status = self._lost.pop(0)
        return self._apply(key, asked) if status == REPEATED else _failed(status)

    def _apply(self, key: tuple[str, str], asked: CommitTableRequest) -> Answer:
        location = self.tables.get(key)
        if location is None:
            return _missing("NoSuchTableException", ".".join(key))
        metadata = FromInputFile.table_metadata(self._io.new_input(location))
        try:
            for requirement in asked.requirements:
                requirement.validate(metadata)
        except CommitFailedException as error:
            self.refused += 1
            return _refused("CommitFailedException", str(error))
        changed = update_table_metadata(metadata, asked.updates, metadata_location=location)
        number = int(location.rpartition("/")[2].partition("-")[0])
        self._write(key, changed, number + 1)
        self.commits.append(asked)
        return self._table(key)

    def _write(self, key: tuple[str, str], metadata: TableMetadata, number: int) -> None:
        location = f"{metadata.location}/metadata/{number:05}-{uuid.uuid4()}.metadata.json"
        ToOutputFile.table_metadata(metadata, self._io.new_output(location))
        self.tables[key] = location


def _missing(kind: str, name: str) -> Answer:
    return 404, {"error": {"message": name, "type": kind, "code": 404}}


def _refused(kind: str, message: str) -> Answer:
    return 409, {"error": {"message": message, "type": kind, "code": 409}}


def _failed(status: int) -> Answer:
    return status, {"error": {"message": "made up", "type": "InternalServerError", "code": status}}


@contextmanager
def rest_catalog(warehouse: str, properties: Mapping[str, str] | None = None) -> Iterator[RestCatalog]:
    """Serve a catalog until the end of the block."""
    catalog = RestCatalog(warehouse, dict(properties or {}))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, content = catalog.answer(self.command, urlsplit(self.path).path, body)
            if status == CUT:
                self.close_connection = True
                return
            data = b"" if content is None else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_HEAD = do_POST = do_DELETE = _answer  # noqa: N815 - names that the library calls

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as url:
        catalog.url = url
        yield catalog
