from __future__ import annotations

import json
import re
import signal
import ssl
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import requests
import trustme

from ayla_provider.local_cloud import LocalCloud
from ayla_provider.local_cloud.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_runs_until_a_signal_stops_it(tmp_path: Path, number: signal.Signals) -> None:
    key, ready = tmp_path / "key.json", tmp_path / "ready.json"
    command = [sys.executable, "-m", "ayla_provider.local_cloud"]
    options = ["--start", "2024-05-09T00:00", "--end", "2024-05-09T02:00", "--now", "2024-05-10", "--seed", "3"]
    files = ["--answer-key", str(key), "--ready-file", str(ready)]
    with subprocess.Popen([*command, *options, *files], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        line = process.stdout.readline()
        about = json.loads(line)
        assert ready.read_text() == line
        assert stat.S_IMODE(ready.stat().st_mode) == 0o600
        hours = json.loads(key.read_text())
        assert [hour["event_type"] for hour in hours].count("datapoint") == 2
        assert requests.get(f"{about['url']}/_local/answer-key", timeout=60).json() == hours
        assert about["url"].startswith("http://127.0.0.1:")
        assert about["ayla_connection"]["conn_type"] == "ayla"
        assert json.loads(about["google_connection"]["extra"]["keyfile_dict"])["type"] == "service_account"
        process.send_signal(number)
        assert process.wait(timeout=120) == 0


def test_it_imports_nothing_of_airflow() -> None:
    code = "import sys, ayla_provider.local_cloud.__main__; sys.exit('airflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_connections_are_made_as_airflow_reads_them(cloud: LocalCloud) -> None:
    connection = cloud.ayla_connection()
    assert connection["host"] == cloud.url
    assert set(connection["extra"]) == {
        "region",
        "app_id",
        "app_secret",
        "oem_id",
        "bucket",
        "acs_url",
        "storage_endpoint",
    }
    assert json.loads(json.dumps(cloud.google_connection()))["conn_type"] == "google_cloud_platform"


@pytest.mark.parametrize("wrong", ["taken port", "port of no computer", "no certificate", "empty certificate"])
def test_what_cant_be_used_ends_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str) -> None:
    (tmp_path / "empty.pem").touch()
    with LocalCloud() as cloud:
        arguments = {
            "taken port": ["--port", cloud.url.rpartition(":")[2]],
            "port of no computer": ["--port", "99999"],
            "no certificate": ["--tls", str(tmp_path / "none.pem"), str(tmp_path / "none.pem")],
            "empty certificate": ["--tls", str(tmp_path / "empty.pem"), str(tmp_path / "empty.pem")],
        }[wrong]
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
    assert re.search(r"error: (can't start at 127\.0\.0\.1:\d+|argument --port: 99999): .*\w", capsys.readouterr().err)


def test_nothing_listens_after_the_end() -> None:
    with LocalCloud() as cloud:
        url = cloud.url
        assert requests.get(f"{url}/_local/stats", timeout=60).status_code == 200
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/_local/stats", timeout=60)


def test_it_speaks_tls_with_the_certificate_that_it_is_given(tmp_path: Path) -> None:
    ca, certificate, key = trustme.CA(), tmp_path / "certificate.pem", tmp_path / "key.pem"
    made = ca.issue_cert("127.0.0.1")
    made.private_key_pem.write_to_path(key)
    made.cert_chain_pems[0].write_to_path(certificate)
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    command = [sys.executable, "-m", "ayla_provider.local_cloud", "--tls", str(certificate), str(key)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        about = json.loads(process.stdout.readline())
        url = about["url"]
        assert url.startswith("https://127.0.0.1:")
        assert about["ayla_connection"]["extra"]["acs_url"].startswith(url)
        assert requests.get(f"{url}/_local/stats", verify=str(tmp_path / "ca.pem"), timeout=60).status_code == 200
        process.terminate()
        assert process.wait(timeout=120) == 0


def test_a_certificate_without_its_key_is_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    with pytest.raises(ssl.SSLError), LocalCloud(tls=(tmp_path / "empty.pem", tmp_path / "empty.pem")):
        pass


@pytest.mark.parametrize(("host", "warned"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_a_cloud_that_other_machines_reach_prints_a_warning(host: str, warned: bool) -> None:
    command = [sys.executable, "-m", "ayla_provider.local_cloud", "--host", host, "--hours", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline()
        process.terminate()
        _, errors = process.communicate(timeout=120)
    assert ("can control this local cloud" in errors) == warned
