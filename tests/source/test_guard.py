"""The record of sign-ins that all processes share. Run as a program, this file is some Airflow tasks that sign in."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import multiprocessing
import os
import re
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine

from ayla_provider.errors import AylaError, AylaSignInRefused, AylaUnavailable
from ayla_provider.local_cloud import LocalCloud
from ayla_provider.source import guard
from ayla_provider.source.auth import TokenProvider
from ayla_provider.source.guard import SignInGuard
from ayla_provider.source.settings import AylaSettings
from tests.support.client import connection_of, provider_of, requests_of, settings_of

PROCESSES = 16


class FileMemory:
    """What an Airflow Variable is to tasks: a text that all of them read and replace."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> str | None:
        return self.path.read_text() if self.path.exists() else None

    def write(self, text: str) -> None:
        own = self.path.with_name(f"{self.path.name}.{os.getpid()}-{threading.get_ident()}")
        own.write_text(text)
        own.replace(self.path)


@pytest.fixture
def memory(tmp_path: Path) -> FileMemory:
    return FileMemory(tmp_path / "record.json")


def run_tasks(cloud: LocalCloud, memory: FileMemory, *, machine_lock: bool, **changes: str) -> Counter[str]:
    """Sign in from many processes at the same moment, and count what becomes of them."""
    todo = {"connection": connection_of(cloud, **changes), "memory": str(memory.path), "machine_lock": machine_lock}
    ran = subprocess.run(
        [sys.executable, __file__, json.dumps(todo)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(memory.path.parent)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return Counter(ran.stdout.split())


@pytest.mark.parametrize("machine_lock", [True, False], ids=["one machine", "many machines"])
def test_many_processes_with_a_wrong_password_are_refused_twice_at_most(
    cloud: LocalCloud, memory: FileMemory, machine_lock: bool
) -> None:
    outcomes = run_tasks(cloud, memory, machine_lock=machine_lock, password="wrong")
    assert outcomes == {"AylaSignInRefused": PROCESSES}
    assert 1 <= cloud.refusals <= 2
    assert run_tasks(cloud, memory, machine_lock=machine_lock, password="wrong") == outcomes
    assert cloud.refusals <= 2


@pytest.mark.ci
@pytest.mark.parametrize("machine_lock", [True, False], ids=["one machine", "many machines"])
def test_many_processes_all_get_a_token_where_each_sign_in_ends_the_others(
    cloud: LocalCloud, memory: FileMemory, machine_lock: bool
) -> None:
    cloud.options.one_session = True
    assert run_tasks(cloud, memory, machine_lock=machine_lock) == {"token": PROCESSES}
    assert cloud.refusals == 0


def test_on_one_machine_no_process_ends_the_session_of_another(cloud: LocalCloud, memory: FileMemory) -> None:
    cloud.options.one_session = True
    run_tasks(cloud, memory, machine_lock=True)
    assert cloud.sign_ins == PROCESSES
    assert {one.status for one in requests_of(cloud, "acs")} == {200}


def refuse(cloud: LocalCloud, memory: guard.Memory) -> str:
    """Be refused with a wrong password, and return what is said."""
    with pytest.raises(AylaSignInRefused) as refused:
        provider_of(settings_of(cloud, password="wrong"), memory)(None, None)
    return str(refused.value)


def change(memory: FileMemory, **fields: Any) -> None:
    """Change the record by hand."""
    memory.write(json.dumps(json.loads(memory.read() or "{}") | fields))


def ago(**delta: float) -> str:
    return (datetime.now(UTC) - timedelta(**delta)).isoformat()


def test_a_remembered_refusal_fails_without_a_request_and_says_why_and_until_when(
    cloud: LocalCloud, memory: FileMemory
) -> None:
    refuse(cloud, memory)
    record = json.loads(memory.read() or "")
    before = len(requests_of(cloud, "sign_in", "acs", "refresh"))
    message = refuse(cloud, memory)
    assert len(requests_of(cloud, "sign_in", "acs", "refresh")) == before == 1
    until = datetime.fromisoformat(record["at"]) + timedelta(minutes=30)
    for part in ("Invalid email or password", record["at"][:19], f"{until:%H:%M:%S}", "lock"):
        assert part in message


@pytest.mark.parametrize("field", ["password", "app_secret", "app_id"])
def test_changed_credentials_are_tried_at_once(cloud: LocalCloud, memory: FileMemory, field: str) -> None:
    with pytest.raises(AylaSignInRefused):
        provider_of(settings_of(cloud, **{field: "wrong"}), memory)(None, None)
    assert provider_of(settings_of(cloud), memory)(None, None)[0]
    assert (cloud.refusals, cloud.sign_ins) == (1, 1)


def test_the_password_of_another_connection_is_not_held_against_this_one(cloud: LocalCloud, memory: FileMemory) -> None:
    provider_of(settings_of(cloud), memory)(None, None)
    refuse(cloud, memory)
    refuse(cloud, memory)
    assert cloud.refusals == 1


def test_a_record_that_a_person_deletes_is_forgotten_by_processes_that_go_on(
    cloud: LocalCloud, memory: FileMemory
) -> None:
    provider = provider_of(settings_of(cloud, password="wrong"), memory)
    for _ in range(2):
        with pytest.raises(AylaSignInRefused):
            provider(None, None)
    assert cloud.refusals == 1
    memory.path.unlink()
    with pytest.raises(AylaSignInRefused):
        provider(None, None)
    assert cloud.refusals == 2


@pytest.mark.parametrize(("minutes", "refusals"), [(29, 1), (31, 2)])
def test_a_refusal_is_forgotten_after_half_an_hour(
    cloud: LocalCloud, memory: FileMemory, minutes: int, refusals: int
) -> None:
    refuse(cloud, memory)
    change(memory, at=ago(minutes=minutes))
    refuse(cloud, memory)
    assert cloud.refusals == refusals


def test_an_account_that_was_locked_signs_in_once_the_refusal_is_forgotten(
    cloud: LocalCloud, memory: FileMemory
) -> None:
    cloud.account.locked_until = datetime.now(UTC) + timedelta(minutes=30)
    for _ in range(2):
        with pytest.raises(AylaSignInRefused, match="locked"):
            provider_of(settings_of(cloud), memory)(None, None)
    cloud.clock.advance(timedelta(minutes=31))
    change(memory, at=ago(minutes=31))
    assert provider_of(settings_of(cloud), memory)(None, None)[0]
    assert cloud.refusals == 1


def test_a_trial_that_was_abandoned_is_taken_over(cloud: LocalCloud, memory: FileMemory) -> None:
    settings = settings_of(cloud)
    SignInGuard("ayla_test", settings.fingerprint, memory)._write("trying", by="a process that was killed")
    change(memory, at=ago(seconds=91))
    started = time.monotonic()
    assert provider_of(settings, memory)(None, None)[0]
    assert time.monotonic() - started < 5


def test_a_trial_of_somebody_else_is_waited_for(cloud: LocalCloud, memory: FileMemory) -> None:
    settings = settings_of(cloud)
    other = SignInGuard("ayla_test", settings.fingerprint, memory)
    other._write("trying", by="somebody else")
    timer = threading.Timer(0.5, other._write, ["refused"], {"reason": "It was refused there."})
    timer.start()
    with pytest.raises(AylaSignInRefused, match="It was refused there"):
        provider_of(settings, memory)(None, None)
    timer.join()
    assert requests_of(cloud, "sign_in") == []


def test_trials_of_others_without_an_outcome_are_not_waited_for_without_end(
    cloud: LocalCloud, memory: FileMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_TRIAL", timedelta(seconds=0.5))
    settings = settings_of(cloud)
    SignInGuard("ayla_test", settings.fingerprint, memory)._write("trying", by="others")
    change(memory, at=(datetime.now(UTC) + timedelta(seconds=50)).isoformat())
    with pytest.raises(AylaUnavailable, match="'ayla_test'"):
        provider_of(settings, memory)(None, None)
    assert requests_of(cloud, "sign_in") == []


def test_who_announced_a_trial_after_somebody_else_lets_the_other_try(
    cloud: LocalCloud, memory: FileMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_SETTLE", 0.5)
    settings = settings_of(cloud)
    other = SignInGuard("ayla_test", settings.fingerprint, memory)
    overwrites = threading.Timer(0.2, other._write, ["trying"], {"by": "somebody else"})
    ends = threading.Timer(0.9, other._write, ["refused"], {"reason": "It was refused there."})
    overwrites.start()
    ends.start()
    with pytest.raises(AylaSignInRefused, match="It was refused there"):
        provider_of(settings, memory)(None, None)
    overwrites.join()
    ends.join()
    assert requests_of(cloud, "sign_in") == []


@pytest.mark.parametrize(
    "fault", [{"kind": 503, "step": "sign_in", "times": None}, {"kind": 403, "step": "acs"}, {"kind": "cut"}]
)
def test_a_sign_in_without_an_outcome_is_not_a_refusal(
    cloud: LocalCloud, memory: FileMemory, fault: dict[str, Any]
) -> None:
    cloud.faults.add(**fault)
    with pytest.raises(AylaError):
        provider_of(settings_of(cloud), memory)(None, None)
    cloud.faults.clear()
    started = time.monotonic()
    assert provider_of(settings_of(cloud), memory)(None, None)[0]
    assert time.monotonic() - started < 5


class Broken:
    """A memory that fails on request."""

    def __init__(self, *broken: str) -> None:
        self._broken = broken
        self._text: str | None = None

    def read(self) -> str | None:
        if "read" in self._broken:
            raise ConnectionError("a text with a password")
        return self._text

    def write(self, text: str) -> None:
        if "write" in self._broken:
            raise PermissionError("a text with a password")
        self._text = text


BROKEN = [("read",), ("write",), ("read", "write")]


@pytest.mark.parametrize("broken", BROKEN)
def test_without_a_working_memory_a_sign_in_is_still_possible(
    cloud: LocalCloud, caplog: pytest.LogCaptureFixture, broken: tuple[str, ...]
) -> None:
    caplog.set_level(logging.DEBUG, logger="ayla_provider")
    assert provider_of(settings_of(cloud), Broken(*broken))(None, None)[0]
    assert "The record of sign-ins can't be" in caplog.text
    assert "a password" not in caplog.text


@pytest.mark.parametrize("broken", BROKEN)
def test_without_a_working_memory_a_process_remembers_its_own_refusal(
    cloud: LocalCloud, broken: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    provider = provider_of(settings_of(cloud, password="wrong"), Broken(*broken))
    for _ in range(3):
        with pytest.raises(AylaSignInRefused):
            provider(None, None)
    assert cloud.refusals == 1


@pytest.mark.parametrize("memory", [None, Broken("write"), Broken("read", "write")])
def test_without_a_working_memory_the_processes_of_a_machine_remember_a_refusal(
    cloud: LocalCloud, memory: Broken | None
) -> None:
    for _ in range(3):
        with pytest.raises(AylaSignInRefused):
            provider_of(settings_of(cloud, password="wrong"), memory)(None, None)
    assert cloud.refusals == 1
    assert provider_of(settings_of(cloud), memory)(None, None)[0], "other credentials are tried"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"a": 1}', "x" * 5000])
def test_an_invalid_record_is_overwritten(cloud: LocalCloud, memory: FileMemory, text: str) -> None:
    memory.write(text)
    refuse(cloud, memory)
    refuse(cloud, memory)
    assert cloud.refusals == 1


def test_the_record_holds_no_secret(cloud: LocalCloud, memory: FileMemory) -> None:
    settings = settings_of(cloud)
    secrets = [settings.password, settings.app_secret]
    texts = []
    keep = memory.write
    memory.write = lambda text: (texts.append(text), keep(text))[1]  # type: ignore[method-assign]
    echo = json.dumps({"error": f"{settings.password} and {settings.app_secret} are wrong"})
    cloud.faults.add(401, step="sign_in", body=echo)
    with pytest.raises(AylaSignInRefused):
        provider_of(settings, memory, secrets.append)(None, None)
    change(memory, at=ago(minutes=31))
    provider_of(settings, memory, secrets.append)(None, None)
    assert [json.loads(text)["outcome"] for text in texts] == ["trying", "refused", "refused", "trying", "accepted"]
    assert len(secrets) == 5
    assert [secret for secret in secrets if secret in "".join(texts)] == []


def test_without_a_folder_for_its_lock_a_sign_in_is_still_possible(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    assert provider_of(settings_of(cloud))(None, None)[0]


def test_without_any_folder_that_can_be_written_a_sign_in_is_still_possible(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container whose root is read-only."""
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("tempfile._candidate_tempdir_list", list)
    assert provider_of(settings_of(cloud))(None, None)[0]


def _task(todo: dict[str, Any], start: Any, outcomes: Any) -> None:
    settings = AylaSettings.from_fields(**todo["connection"])
    record = SignInGuard("ayla_test", settings.fingerprint, FileMemory(Path(todo["memory"])))
    provider = TokenProvider(settings, record)
    start.wait()
    try:
        provider(None, None)
    except AylaError as error:
        outcomes.put(type(error).__name__)
    else:
        outcomes.put("token")


def _main(todo: dict[str, Any]) -> None:
    guard._SETTLE = 3.0
    if not todo["machine_lock"]:
        guard._machine_lock = lambda name, before_waiting: contextlib.nullcontext()  # type: ignore[assignment]
    context = multiprocessing.get_context("fork")
    start, outcomes = context.Barrier(PROCESSES), context.Queue()
    tasks = [context.Process(target=_task, args=(todo, start, outcomes)) for _ in range(PROCESSES)]
    for task in tasks:
        task.start()
    print(*(outcomes.get(timeout=290) for _ in tasks))
    for task in tasks:
        task.join()


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))


@pytest.mark.parametrize("planted", ["open", "link"])
def test_a_folder_that_others_can_write_is_not_used(tmp_path: Path, planted: str) -> None:
    folder = Path(tempfile.gettempdir()) / f"ayla_provider-{os.getuid()}"
    if planted == "open":
        folder.mkdir()
        folder.chmod(0o777)
    else:
        folder.symlink_to(tmp_path)
    memory = guard.MachineMemory("f" * 32)
    for use in (memory.read, lambda: memory.write("{}")):
        with pytest.raises(PermissionError):
            use()
    assert guard.SignInGuard("ayla_test", "f" * 32).sign_in(lambda: "signed in") == "signed in"
    assert list(folder.iterdir()) == []


def test_a_record_is_replaced_as_a_whole_and_follows_no_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious.py"
    precious.write_text("precious")
    memory = guard.MachineMemory("f" * 32)
    memory.write("first")
    (guard._own_folder() / f"{'f' * 32}.json").unlink()
    (guard._own_folder() / f"{'f' * 32}.json").symlink_to(precious)
    memory.write("second")
    assert (memory.read(), precious.read_text()) == ("second", "precious")


def test_a_refusal_of_the_future_is_not_believed() -> None:
    memory = guard.MachineMemory("f" * 32)
    record = {"connection": "c", "fingerprint": "f" * 32, "outcome": "refused", "at": "2999-01-01T00:00:00+00:00"}
    memory.write(json.dumps(record))
    guard.SignInGuard("ayla_test", "f" * 32).check()


FINGERPRINT = "f" * 32
NOW = datetime(2026, 11, 28, 14, 30, 5, tzinfo=UTC)


def guard_with(memory: guard.Memory | None = None) -> SignInGuard:
    return SignInGuard("ayla_test", FINGERPRINT, memory)


class Listed:
    """A memory that keeps each text that was written."""

    def __init__(self, **record: Any) -> None:
        self.texts = [json.dumps(recorded(**record))] if record else []

    def read(self) -> str | None:
        return self.texts[-1] if self.texts else None

    def write(self, text: str) -> None:
        self.texts.append(text)

    @property
    def records(self) -> list[dict[str, str]]:
        return [json.loads(text) for text in self.texts]


def recorded(outcome: str, at: datetime = NOW, **other: str) -> dict[str, str]:
    """A record as other processes find it."""
    record = {"connection": "ayla_test", "fingerprint": FINGERPRINT, "outcome": outcome, "at": at.isoformat()}
    return record | {"reason": "", "by": ""} | other


def refused() -> str:
    raise AylaSignInRefused("Ayla refused.")


def broken_off() -> str:
    raise ConnectionError("The connection was cut.")


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for another process here."""

    def sleep(seconds: float) -> None:
        assert seconds == guard._SETTLE, "waits for others"

    monkeypatch.setattr("ayla_provider.source.guard.time.sleep", sleep)


@pytest.mark.parametrize(
    ("attempt", "outcome", "reason"),
    [(lambda: "signed in", "accepted", ""), (refused, "refused", "Ayla refused."), (broken_off, "unknown", "")],
)
def test_others_read_who_tried_when_and_what_became_of_it(attempt: Any, outcome: str, reason: str) -> None:
    memory = Listed()
    with time_machine.travel(NOW, tick=False), contextlib.suppress(AylaError, ConnectionError):
        assert guard_with(memory).sign_in(attempt) == "signed in"
    trying, result = memory.records
    assert trying == recorded("trying", by=trying["by"])
    assert re.fullmatch("[0-9a-f]{16}", trying["by"])
    assert result == recorded(outcome, reason=reason)
    assert guard.MachineMemory(FINGERPRINT).read() is None, "the wider memory is enough"


@pytest.mark.parametrize(
    ("outcome", "age", "tries"),
    [
        ("accepted", timedelta(minutes=10) - timedelta(microseconds=1), False),
        ("accepted", timedelta(minutes=10), True),
        ("trying", timedelta(seconds=90), True),
        ("refused", timedelta(minutes=30), True),
        ("unknown", timedelta(0), True),
        ("refused", timedelta(minutes=-1), True),
    ],
)
@pytest.mark.usefixtures("hurried")
def test_a_record_counts_for_its_time(outcome: str, age: timedelta, tries: bool) -> None:
    memory = Listed(outcome=outcome, at=NOW - age)
    with time_machine.travel(NOW, tick=False):
        assert guard_with(memory).sign_in(lambda: "signed in") == "signed in"
    written = [record["outcome"] for record in memory.records[1:]]
    assert written == (["trying", "accepted"] if tries else [])


@pytest.mark.parametrize("age", [timedelta(seconds=-59), timedelta(minutes=30) - timedelta(microseconds=1)])
def test_a_refusal_says_when_it_was_and_when_the_next_sign_in_is(age: timedelta) -> None:
    at = NOW - age
    memory = Listed(outcome="refused", at=at, reason="Ayla refused.")
    with time_machine.travel(NOW, tick=False), pytest.raises(AylaSignInRefused) as caught:
        guard_with(memory).check()
    assert str(caught.value) == (
        f"Ayla refused. That was at {at:%Y-%m-%dT%H:%M:%S} UTC. Nothing signs in again before "
        f"{at + timedelta(minutes=30):%H:%M:%S} UTC unless the connection's credentials change, because five refusals "
        "in a row lock the account for everyone."
    )


def test_the_newest_record_of_any_memory_counts() -> None:
    guard.MachineMemory(FINGERPRINT).write(json.dumps(recorded("refused", NOW - timedelta(minutes=2))))
    memory = Listed(outcome="unknown", at=NOW - timedelta(minutes=1))
    with time_machine.travel(NOW, tick=False):
        guard_with(memory).check()
        memory.write(json.dumps(recorded("unknown", NOW - timedelta(minutes=3))))
        with pytest.raises(AylaSignInRefused):
            guard_with(memory).check()


def test_a_trial_whose_record_was_removed_meanwhile_goes_on() -> None:
    class Forgetful(Listed):
        def write(self, text: str) -> None:
            if json.loads(text)["outcome"] != "trying":
                super().write(text)

    memory = Forgetful()
    assert guard_with(memory).sign_in(lambda: "signed in") == "signed in"
    assert [record["outcome"] for record in memory.records] == ["accepted"]


def test_who_waits_too_long_for_others_learns_for_how_long_and_where_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_TRIAL", timedelta(seconds=0.5))
    memory = Listed(outcome="trying", at=datetime.now(UTC) + timedelta(seconds=50))
    with pytest.raises(AylaUnavailable) as caught:
        guard_with(memory).sign_in(lambda: "signed in")
    assert str(caught.value) == (
        "connection 'ayla_test': other tasks have been trying to sign in with the same credentials for 1 s without an "
        "outcome. Ayla's user service answers slowly or not at all: see the other tasks' logs."
    )


def test_a_memory_that_fails_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="ayla_provider")
    guard_with(Broken("read", "write")).sign_in(lambda: "signed in")
    assert sorted(set(caplog.messages)) == [
        "The record of sign-ins can't be read (ConnectionError).",
        "The record of sign-ins can't be written (PermissionError).",
    ]


def test_nobody_else_can_read_the_record_and_no_draft_is_left() -> None:
    memory = guard.MachineMemory(FINGERPRINT)
    memory.write("a record")
    with pytest.raises(UnicodeEncodeError):
        memory.write("\ud800")
    (file,) = guard._own_folder().iterdir()
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("a record", 0o600)
    assert stat.S_IMODE(guard._own_folder().stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o777])
def test_a_folder_that_others_can_use_is_refused_by_its_name(mode: int) -> None:
    folder = guard._own_folder()
    folder.chmod(mode)
    with pytest.raises(PermissionError) as caught:
        guard._own_folder()
    assert (caught.value.errno, caught.value.filename) == (errno.EPERM, str(folder))
    assert caught.value.strerror == "not a folder that only this user can use"


def test_without_a_wider_memory_the_machine_has_the_outcome_and_a_lock_for_these_credentials() -> None:
    guard_with().sign_in(lambda: "signed in")
    assert json.loads(guard.MachineMemory(FINGERPRINT).read() or "")["outcome"] == "accepted"
    assert {file.name for file in guard._own_folder().iterdir()} == {f"{FINGERPRINT}.json", f"{FINGERPRINT}.lock"}


def test_a_refusal_that_no_memory_can_store_is_remembered() -> None:
    """As on a full disk, where an empty record can still be read."""
    guarded = guard_with()
    guarded._memories = [Broken("write")]
    with pytest.raises(AylaSignInRefused, match="Ayla refused"):
        guarded.sign_in(refused)
    with pytest.raises(AylaSignInRefused, match="Ayla refused"):
        guarded.check()
