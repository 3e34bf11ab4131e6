"""
Keeps an account from being locked.

Ayla's user service locks an account for everyone for 30 minutes after five refused sign-ins in a row. Every Airflow
task is a process of its own, and dozens start in the same second. So before a sign-in, all of them look into a small
shared record, which says whether these credentials were refused, were accepted, or are being tried.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import random
import secrets
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol, TypeVar

from ayla_provider.errors import AylaSignInRefused, AylaUnavailable

log = logging.getLogger(__name__)

LOCKOUT = timedelta(minutes=30)
"""How long Ayla locks an account, and how long a refusal is remembered."""

_TRUST = timedelta(minutes=10)
"""How long after a successful sign-in others may sign in with the same credentials at the same time."""

_TRIAL = timedelta(seconds=90)
"""How long to wait for a sign-in that another process announced, before it counts as abandoned."""

_CLOCKS = timedelta(minutes=1)
"""How much the clocks of two machines may differ."""

_SETTLE = 2.0
"""Seconds to wait after announcing a trial, for announcements of others: longer than a write takes to be visible."""

T = TypeVar("T")


class Memory(Protocol):
    """One small text that all processes and machines share, such as an Airflow Variable."""

    def read(self) -> str | None:
        """Return the text, None if nothing was written yet."""

    def write(self, text: str) -> None:
        """Replace the text."""


class MachineMemory:
    """A file that this user's processes on this machine share, for when there is no wider memory."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def _file(self) -> Path:
        return _own_folder() / f"{self._name}.json"

    def read(self) -> str | None:
        """Return the text, None if nothing was written yet."""
        return self._file.read_text() if self._file.exists() else None

    def write(self, text: str) -> None:
        """Replace the text."""
        file = self._file
        draft = file.with_suffix(f".{secrets.token_hex(8)}")
        try:
            draft.touch(mode=0o600, exist_ok=False)
            draft.write_text(text)
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Record:
    """What is known about a sign-in. ``fingerprint`` identifies the credentials without containing them."""

    connection: str
    fingerprint: str
    outcome: str
    at: str
    reason: str = ""
    by: str = ""

    @property
    def age(self) -> timedelta:
        return datetime.now(UTC) - datetime.fromisoformat(self.at)


class SignInGuard:
    """
    Lets one process try new credentials while the others wait for the outcome.

    On one machine, a file lock sets the order. Across machines there is only the shared record, which has no atomic
    update. So a process announces its trial, waits until all other announcements must be visible, and signs in only if
    the record still holds its own announcement (Fischer's mutual exclusion).

    :param conn_id: the connection's id, for messages
    :param fingerprint: see :attr:`ayla_provider.source.settings.AylaSettings.fingerprint`
    """

    def __init__(self, conn_id: str, fingerprint: str, memory: Memory | None = None) -> None:
        self.conn_id = conn_id
        self.fingerprint = fingerprint
        self._memories: list[Memory] = [MachineMemory(fingerprint)]
        """The widest comes first; if it can't store the record, the next one does."""
        if memory:
            self._memories.insert(0, memory)
        self._own: _Record | None = None
        """The last record of this process, in case all memories fail."""
        self._is_stored = False
        """Whether a memory stores it. If someone deletes it there, this process must forget it too."""

    def sign_in(self, attempt: Callable[[], T]) -> T:
        """
        Sign in and return what the attempt returns, unless these credentials are known to be refused.

        :param attempt: signs in once and uses the session, because a sign-in of another process on this machine could
            end it; raises AylaSignInRefused if Ayla refuses
        :raises AylaSignInRefused: if Ayla refuses now, or refused anyone who shares the memory
        :raises AylaUnavailable: if others tried for too long
        """
        # Who need not wait reads the record once: in a task, it is a request to Airflow.
        with _machine_lock(self.fingerprint, self.check):
            trial = self._announce()
            try:
                result = attempt()
            except AylaSignInRefused as error:
                self._write("refused", reason=str(error))
                raise
            except BaseException:
                if trial:
                    self._write("unknown")
                raise
            if trial:
                self._write("accepted")
            return result

    def check(self) -> None:
        """
        Raise if these credentials were refused within the last half hour.

        :raises AylaSignInRefused: with the time, the reason, and how long the refusal is remembered
        """
        self._refuse(self._read())

    def _announce(self) -> bool:
        """Return whether this sign-in is a trial, once it is certain that it is the only one."""
        deadline = time.monotonic() + 2 * _TRIAL.total_seconds()
        while time.monotonic() < deadline:
            record = self._read()
            self._refuse(record)
            if record and record.outcome == "accepted" and record.age < _TRUST:
                return False
            if record and record.outcome == "trying" and record.age < _TRIAL:
                time.sleep(random.uniform(0.3, 0.9))  # noqa: S311 - spreads processes, protects nothing
                continue
            own_id = secrets.token_hex(8)
            if not self._write("trying", by=own_id):
                return True
            time.sleep(_SETTLE)
            record = self._read()
            if record is None or record.by == own_id:
                return True
        raise AylaUnavailable(
            f"connection {self.conn_id!r}: other tasks have been trying to sign in with the same credentials for "
            f"{2 * _TRIAL.total_seconds():.0f} s without an outcome. Ayla's user service answers slowly or not at all: "
            "see the other tasks' logs."
        )

    def _refuse(self, record: _Record | None) -> None:
        if record and record.outcome == "refused" and record.age < LOCKOUT:
            until = datetime.fromisoformat(record.at) + LOCKOUT
            raise AylaSignInRefused(
                f"{record.reason} That was at {record.at[:19]} UTC. Nothing signs in again before {until:%H:%M:%S} UTC "
                "unless the connection's credentials change, because five refusals in a row lock the account for "
                "everyone."
            )

    def _read(self) -> _Record | None:
        """Return the newest record of these credentials in any memory."""
        known = []
        believe_own = not self._is_stored
        for memory in self._memories:
            try:
                text = memory.read()
                record = _Record(**json.loads(text)) if text else None
                # Ignore a record of other credentials or of the future; one without a valid time raises here.
                if record and record.fingerprint == self.fingerprint and record.age > -_CLOCKS:
                    known.append(record)
            except Exception as error:  # noqa: BLE001 - a sign-in must stay possible, whatever a memory raises
                log.warning("The record of sign-ins can't be read (%s).", type(error).__name__)
                believe_own = True
        if self._own and believe_own:
            known.append(self._own)
        return min(known, key=lambda record: record.age, default=None)

    def _write(self, outcome: str, *, reason: str = "", by: str = "") -> bool:
        """Store a record, and return whether other machines can see it."""
        record = _Record(self.conn_id, self.fingerprint, outcome, datetime.now(UTC).isoformat(), reason, by)
        self._own, self._is_stored = record, False
        for memory in self._memories:
            try:
                memory.write(json.dumps(asdict(record)))
            except Exception as error:  # noqa: BLE001 - as above
                log.warning("The record of sign-ins can't be written (%s).", type(error).__name__)
            else:
                self._is_stored = True
                return memory is not self._memories[-1]
        return False


def _own_folder() -> Path:
    """
    Return the folder that only this user can read and write.

    :raises OSError: if something else has its name: other users could plant refusals there
    """
    folder = Path(tempfile.gettempdir()) / f"ayla_provider-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise PermissionError(errno.EPERM, "not a folder that only this user can use", str(folder))
    return folder


@contextlib.contextmanager
def _machine_lock(name: str, before_waiting: Callable[[], None]) -> Iterator[None]:
    """
    Hold a lock that this user's processes on this machine share; the system releases it when a process dies.

    :param before_waiting: called if another process holds the lock; it may raise
    """
    try:
        import fcntl
    except ImportError:  # on Windows, where Airflow doesn't run either
        yield
        return
    try:
        handle = os.open(_own_folder() / f"{name}.lock", os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        log.warning("No lock file (%s: %s). Signing in without it.", error.strerror, error.filename)
        yield
        return
    try:
        deadline = time.monotonic() + 3 * _TRIAL.total_seconds()
        is_waiting = False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not is_waiting:
                    before_waiting()
                    is_waiting = True
                if time.monotonic() > deadline:
                    raise AylaUnavailable(
                        "another task on this machine has been signing in for too long. Ayla's user service answers "
                        "slowly or not at all: see the other tasks' logs."
                    ) from None
                time.sleep(random.uniform(0.05, 0.2))  # noqa: S311 - as above
        yield
    finally:
        os.close(handle)
