"""The DAG with a Deadline Alert under a real Airflow: one e-mail for each run that isn't over in time."""

from __future__ import annotations

import socketserver
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_string
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from ayla_provider.domain.hour import ONE_HOUR, hour_of
from ayla_provider.local_cloud import LocalCloud
from harness.forked import ForkedStandalone
from tests.integration.export_dag import DAGS
from tests.integration.sample import limited
from tests.support.fleet import put_hour

pytestmark = [pytest.mark.integration, pytest.mark.ci]

DAG = "ayla_export_deadline"
ALLOWED = timedelta(seconds=40)
"""How long a run may take in this test."""
LANDED = hour_of(datetime.now(UTC)) - 3 * ONE_HOUR
"""The only hour that Ayla's exporter has written. The hours after it are late."""


class MailServer(socketserver.ThreadingTCPServer):
    """A mail server on a free port, which keeps what it gets."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        self.mails: list[Message] = []


class Conversation(socketserver.StreamRequestHandler):
    """The commands of SMTP that a client uses to send a mail."""

    server: MailServer

    def handle(self) -> None:
        self.say("220 ready")
        while line := self.rfile.readline():
            command = line.strip().upper()
            if command == b"DATA":
                self.say("354 send it")
                self.server.mails.append(message_from_string("".join(self.body())))
            self.say("221 bye" if command == b"QUIT" else "250 ok")

    def body(self) -> Iterator[str]:
        """Yield the lines of a mail. A line with a dot ends it."""
        while (line := self.rfile.readline().decode()) != ".\r\n":
            yield line.removeprefix(".") if line.startswith("..") else line

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@pytest.fixture
def server() -> Iterator[MailServer]:
    with MailServer() as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def airflow(tmp_path: Path, server: MailServer) -> Iterator[ForkedStandalone]:
    code = limited((DAGS / f"{DAG}.py").read_text(), ["connection"])
    changes = {
        "timedelta(hours=2)": f"timedelta(seconds={ALLOWED.seconds})",
        "timedelta(minutes=5)": "timedelta(seconds=5)",
    }
    for old, new in changes.items():
        assert code.count(old) == 1, old
        code = code.replace(old, new)
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "sample.py").write_text(code)
    mail = {
        "conn_type": "smtp",
        "host": "127.0.0.1",
        "port": server.server_address[1],
        "extra": {"disable_ssl": True, "disable_tls": True},
    }
    with LocalCloud() as cloud:
        put_hour(cloud, "Connection", LANDED)
        made = ForkedStandalone(
            tmp_path / "airflow",
            tmp_path / "dags",
            connections={"ayla_default": cloud.ayla_connection(), "smtp_default": mail},
            environment={
                "AIRFLOW_VAR_AYLA_EXPORT_DESTINATION": f"file://{tmp_path}/archive",
                "AYLA_EXPORT_START": LANDED.isoformat(),
            },
        )
        with made:
            made.api("POST", "pools", json={"name": "ayla_export", "slots": 4})
            made.wait_for_dag(DAG)
            yield made


def is_late(run: dict[str, Any]) -> bool:
    """Return whether a run isn't over, or was over too late."""
    allowed = datetime.fromisoformat(run["queued_at"]) + ALLOWED
    return run["end_date"] is None or datetime.fromisoformat(run["end_date"]) > allowed


def test_each_run_that_is_not_over_in_time_is_one_mail(airflow: ForkedStandalone, server: MailServer) -> None:
    airflow.unpause(DAG)

    def each_late_run_is_one_mail() -> bool | None:
        # At least the two hours after the first one are late. Another hour may begin during the test.
        late = [run["data_interval_start"] for run in airflow.dag_runs(DAG) if is_late(run)]
        subjects = Counter(mail["Subject"] for mail in server.mails)
        return (len(late) >= 2 and subjects == Counter(f"Late: the hour {start}" for start in late)) or None

    airflow.wait_until("each late run to be one mail", each_late_run_is_one_mail, timeout=600)
    # Airflow looks for missed deadlines again and again, and sends no second mail.
    until = datetime.now(UTC) + ALLOWED
    airflow.wait_until("some time", lambda: datetime.now(UTC) > until or None, timeout=600)
    airflow.wait_until("each late run to be one mail", each_late_run_is_one_mail, timeout=120)
    # The hour that landed has a mail only if this machine was slow.
    (landed,) = (run for run in airflow.dag_runs(DAG) if datetime.fromisoformat(run["data_interval_start"]) == LANDED)
    assert landed["state"] == "success"
    (some, *_) = server.mails
    assert (some["To"], some["From"]) == ("you@example.com", "airflow@example.com")
    (text,) = (part.get_payload(decode=True) for part in some.walk() if part.get_content_type() == "text/html")
    assert f"{DAG}, scheduled__".encode() in bytes(text)
