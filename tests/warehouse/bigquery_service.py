"""
A service that Google's client for BigQuery can talk to. It keeps no rows: it notes what it is asked.

Rows are the business of tests/doubles.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

Json = dict[str, Any]


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    body: Json


@dataclass
class Service:
    """
    A project.

    :param things: the datasets and tables that are there, by path
    :param refusals: what the next scripts are refused with: a status, a reason, a message
    """

    requests: list[Request] = field(default_factory=list)
    things: dict[str, Json] = field(default_factory=dict)
    refusals: list[tuple[int, str, str]] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    rows_taken: int = 1
    lost_answers: int = 0
    url: str = ""
    jobs: dict[str, Json] = field(default_factory=dict)
    uploaded: bytes = b""

    def of(self, method: str, ending: str) -> list[Json]:
        """The bodies of requests of a method to a path that ends so."""
        return [one.body for one in self.requests if one.method == method and re.search(f"{ending}$", one.path)]

    def scripts(self) -> list[Json]:
        """The jobs that were scripts."""
        return [job for job in self.of("POST", "/bigquery/v2/projects/acme/jobs") if "begin transaction" in str(job)]

    def answer(self, request: Request, upload: bytes) -> tuple[int, Json]:
        self.requests.append(request)
        *_, collection, name = request.path.split("/")
        if request.path.startswith("/upload/"):
            if request.method == "PUT":
                self.uploaded += upload
                return 200, self.done(self.jobs["upload"])
            self.jobs["upload"] = request.body
            return 200, {}
        if name == "jobs":
            return self.start(request.body)
        if collection == "queries":
            return self.result(name)
        if collection == "jobs":
            return 200, self.done(self.jobs[name])
        if request.method == "POST":
            kind = name.removesuffix("s")
            self.things[f"{request.path}/{request.body[f'{kind}Reference'][f'{kind}Id']}"] = request.body
            return 200, {"location": "US"} | request.body
        if request.path not in self.things:
            return error(404, "notFound", f"Not found: {name}")
        if request.method == "DELETE":
            del self.things[request.path]
            return 200, {}
        self.things[request.path] |= request.body
        return 200, {"etag": "e1", "location": "US"} | self.things[request.path]

    def start(self, job: Json) -> tuple[int, Json]:
        name = job["jobReference"]["jobId"]
        if name in self.jobs:
            return error(409, "duplicate", f"Already Exists: Job {name}")
        self.jobs[name] = job
        if self.lost_answers:
            self.lost_answers -= 1
            return error(503, "backendError", "The answer is lost.")
        return 200, job | {"status": {"state": "RUNNING"}}

    def result(self, name: str) -> tuple[int, Json]:
        job = self.jobs[name]
        if "begin transaction" in str(job) and (self.refusals or "refused" in job):
            job["refused"] = job.get("refused") or self.refusals.pop(0)
            return error(*job["refused"])
        schema = {"fields": [{"name": "folder_hour", "type": "TIMESTAMP"}, {"name": "version", "type": "STRING"}]}
        rows = [{"f": [{"v": value} for value in row]} for row in self.rows]
        reference = {"jobReference": job["jobReference"]}
        return 200, reference | {"jobComplete": True, "schema": schema, "rows": rows, "totalRows": str(len(rows))}

    def done(self, job: Json) -> Json:
        status: Json = {"state": "DONE"}
        if refused := job.get("refused"):
            status["errorResult"] = {"reason": refused[1], "message": refused[2]}
        return job | {"status": status, "statistics": {"load": {"outputRows": str(self.rows_taken)}}}


def error(status: int, reason: str, message: str) -> tuple[int, Json]:
    one = {"reason": reason, "message": message, "domain": "global"}
    return status, {"error": {"code": status, "message": message, "errors": [one]}}


@contextmanager
def serving() -> Iterator[Service]:
    """Run a service."""
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = urlsplit(self.path).path
            is_json = "json" in self.headers.get("Content-Type", "") and bool(sent)
            body = json.loads(sent) if is_json else {}
            status, content = service.answer(Request(self.command, path, body), sent)
            answer = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            if path.startswith("/upload/"):
                self.send_header("Location", f"{service.url}{self.path}")
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815 - as the base class calls them

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
