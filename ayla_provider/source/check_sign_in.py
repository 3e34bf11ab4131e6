"""Checks to pass before a Cloud Storage export can be listed: the account, its role, and the credentials service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from ayla_provider.errors import AylaError, AylaSignInRefused
from ayla_provider.source.auth import ROLE, TokenProvider
from ayla_provider.source.check_export import advise_bucket, advise_connection, list_bucket, reach_event_folders
from ayla_provider.source.check_steps import (
    CheckedConnection,
    ListedExport,
    compare_with_dashboard,
)
from ayla_provider.source.export import Export
from ayla_provider.source.settings import AylaSettings
from ayla_provider.transport.steps import Finding, StepRunner, advise_trying_again

if TYPE_CHECKING:
    from ayla_provider.source.gcs import GcsSource

CONN_TYPE = "ayla"
"""The type in Airflow of a connection to Cloud Storage."""

SIGN_IN_STEPS = (
    "connection",
    "user service",
    "role",
    "credentials service",
    "bucket",
    "OEM prefix",
    "event folders",
)
"""The steps to the event folders of an export in Cloud Storage."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """
    What came of a sign-in that the user service accepted.

    :param credentials: google-auth's
    :param role: the account's, None if Ayla didn't name it
    :param refusal: why there is no storage token; None if there is one
    """

    export: Export
    credentials: Any
    role: str | None
    refusal: AylaError | None


def reach_cloud_storage(connection: CheckedConnection, runner: StepRunner) -> ListedExport | None:
    """
    Run the steps to the event folders of an export in Cloud Storage.

    :return: None if a step failed
    """
    fields = "bucket, oem_id, and prefix"
    settings = runner.run("connection", partial(read_settings, connection), partial(advise_connection, connection))
    if settings is None:
        return None
    runner.secrets += settings.secrets

    signed_in = runner.run(
        "user service",
        partial(sign_in, connection, settings, runner),
        _unless_refused(connection, _advise_user_service),
    )
    if signed_in is None or runner.run("role", partial(check_role, signed_in), advise_trying_again) is None:
        return None
    export = runner.run(
        "credentials service",
        partial(check_token, signed_in, settings),
        _unless_refused(connection, _advise_credentials_service),
    )
    if export is None:
        return None
    advise = _unless_refused(connection, partial(advise_bucket, fields))
    has_objects = runner.run("bucket", partial(list_bucket, export), advise)
    if has_objects is None:
        return None
    if not runner.run("OEM prefix", partial(check_prefix, export, has_objects), advise_trying_again):
        return None
    return reach_event_folders(export, runner, fields)


def read_settings(connection: CheckedConnection) -> Finding[AylaSettings]:
    """Check that all fields are there and well-formed."""
    settings = connection.settings
    note = ""
    if connection.conn_type != CONN_TYPE:
        note = (
            f"The connection's type is {connection.conn_type!r}. With the type {CONN_TYPE!r}, Airflow shows its form, "
            "hides its secrets, and can test it."
        )
    return Finding(True, f"{connection.conn_id}: all fields are there and well-formed", note, settings)


def _unless_refused(connection: CheckedConnection, advise: Callable[[Exception], str]) -> Callable[[Exception], str]:
    """
    Return what says what to do about an error, a refused sign-in included.

    :param advise: says it of any other error
    """

    def advise_on(error: Exception) -> str:
        if not isinstance(error, AylaSignInRefused):
            return advise(error)
        fixed = f"If the cause was fixed at Ayla instead, delete {connection.sign_in_record()}, then check again."
        # An earlier refusal already says when and why the next sign-in is.
        if "refusals in a row" in str(error):
            return f"Correct the connection. {fixed}"
        return (
            "Correct the connection: a changed one is tried at once. An unchanged one isn't tried for 30 minutes, "
            f"because five refusals in a row lock the account for everyone. {fixed}"
        )

    return advise_on


def _advise_user_service(error: Exception) -> str:
    return (
        "Check host or region in the connection, and that this machine reaches it (proxy, firewall). Then check again."
    )


def sign_in(connection: CheckedConnection, settings: AylaSettings, runner: StepRunner) -> Finding[SignIn]:
    """
    Check that the user service accepts the sign-in.

    :raises AylaError: if it doesn't
    """
    export = connection.fresh_export()
    credentials: Any = cast("GcsSource", export.source).credentials
    refusal: AylaError | None = None
    try:
        credentials.refresh(None)
    except AylaError as error:
        refusal = error
    else:
        runner.secrets.append(credentials.token)
    provider = credentials.provider
    role = provider.role if isinstance(provider, TokenProvider) else None
    # Without a role the user service itself refused. With one it was the credentials service, a later step.
    if refusal and role is None:
        raise refusal
    detail = f"{settings.user_url} accepted the sign-in of {settings.email}"
    return Finding(True, detail, value=SignIn(export, credentials, role, refusal))


def check_role(signed_in: SignIn) -> Finding[SignIn]:
    """Check that the account has the role that the credentials service asks for."""
    found = f"the account's role is {signed_in.role}" if signed_in.role else "the answer names no role"
    if signed_in.role == ROLE:
        return Finding(True, found, value=signed_in)
    if signed_in.refusal is None:
        note = f"Ayla's documents ask for {ROLE}."
        return Finding(True, f"{found}, not {ROLE}, but it got a token", note, signed_in)
    return Finding(
        False,
        f"{found}, {ROLE} is needed",
        f"Ask an administrator of your OEM to give the account the role {ROLE}, or use another account.",
    )


def _advise_credentials_service(error: Exception) -> str:
    return (
        f"{compare_with_dashboard('credentials service URL (acs_url)')}, and check that this machine reaches it "
        "(proxy, firewall). Then check again."
    )


def check_token(signed_in: SignIn, settings: AylaSettings) -> Finding[Export]:
    """
    Check that the credentials service gives a token.

    :raises AylaError: if it doesn't
    """
    if signed_in.refusal:
        raise signed_in.refusal
    expires = signed_in.credentials.expiry.replace(tzinfo=UTC)
    minutes = (expires - datetime.now(UTC)).total_seconds() / 60
    detail = f"{settings.acs_address} gave a token that is valid for {minutes:.0f} minutes"
    return Finding(True, detail, value=signed_in.export)


def check_prefix(export: Export, has_objects: bool) -> Finding[bool]:
    """Check that the OEM's prefix holds objects."""
    if has_objects:
        return Finding(True, f"{export.url} holds objects", value=True)
    return Finding(
        False,
        f"nothing exists below {export.url}",
        f"{compare_with_dashboard('oem_id, bucket, and prefix')}, and check there that the data export is switched on. "
        "The first files come about an hour after that.",
    )
