"""Every step from an Airflow connection to a file of the export, and every assumption about it, looked at in turn."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from ayla_provider.domain.events import EVENT_TYPES
from ayla_provider.source.check_export import ExportCheck, Step
from ayla_provider.source.check_sign_in import SignInCheck

__all__ = ["Step", "answer", "check"]


def check(conn_id: str) -> Iterator[Step]:
    """
    Look at each step in turn. Nothing is changed; what is wrong doesn't raise, it is a step that isn't ok.

    :param conn_id: the id of an Airflow connection of type ``ayla``
    """
    this = _steps(conn_id)
    yield from this.reach()
    going_on = bool(this.folders)
    event_types = [*EVENT_TYPES, *sorted(this.folders.keys() - set(EVENT_TYPES))]
    for kind, look_at in (("newest", this.newest), ("file", this.file)):
        for event_type in event_types:
            name = f"{kind} {event_type}"
            yield this.timed(name, partial(look_at, event_type)) if going_on else Step(name, None)


def answer(conn_id: str) -> tuple[bool, str]:
    """
    Return whether event folders can be listed, and in a few sentences what was found, or failed and what to do.

    :param conn_id: the id of an Airflow connection of type ``ayla``, which the answer leaves out: Airflow tests a
        connection under an id made up anew
    """
    this = _steps(conn_id)
    *_, last = [step for step in this.reach() if step.ok is not None]
    if this.folders:
        return True, f"Signed in, got a storage token, listed {this.where}: {last.detail}. {last.advice}".strip()
    # Airflow shows the answer for five seconds: without the address of a request, which the other words say.
    detail = re.sub(r"GET https?://\S+: ", "", last.detail.replace(f"connection {conn_id!r}: ", "")).rstrip(".")
    # A field that is missing or malformed is all that can be wrong with a connection that is being tested.
    advice = "Correct this field of the connection." if last.name == "connection" else last.advice
    return False, f"{last.name[0].upper()}{last.name[1:]}: {detail}. {advice}"


def _steps(conn_id: str) -> ExportCheck:
    # Not before: a program that answers in JSON alone has to see to it first that Airflow says nothing.
    from ayla_provider.hooks import AylaHook

    hook = AylaHook(conn_id)
    try:
        return ExportCheck(hook) if hook.in_s3 else SignInCheck(hook)
    except Exception:  # noqa: BLE001 - the first step says what is wrong with the connection
        return SignInCheck(hook)
