"""What is looked at before an export in Cloud Storage can be: the account, its role, and the credentials service."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from ayla_provider.errors import AylaError, AylaSignInRefused
from ayla_provider.source.auth import ROLE, TokenProvider
from ayla_provider.source.check_export import DASHBOARD, ExportCheck, Step, failed

if TYPE_CHECKING:
    from ayla_provider.hooks import AylaHook
    from ayla_provider.source.gcs import GcsSource
    from ayla_provider.source.settings import AylaSettings


class SignInCheck(ExportCheck):
    """The steps to an export in Cloud Storage."""

    named = "bucket and oem_id"

    def __init__(self, hook: AylaHook) -> None:
        super().__init__(hook)
        self._settings: AylaSettings
        self._credentials: Any
        self._refused: AylaError | None = None
        """Why there is no storage token."""

    def chain(self) -> list[tuple[str, Callable[[], Step]]]:
        """Return the steps of which each needs the one before."""
        return [
            ("connection", self.connection),
            ("user service", self.user_service),
            ("role", self.role),
            ("credentials service", self.credentials_service),
            ("bucket", self.bucket),
            ("OEM prefix", self.oem_prefix),
            ("event folders", self.event_folders),
        ]

    def advice(self, name: str, error: Exception) -> str:
        """Return what to do about an error in a step."""
        if isinstance(error, AylaSignInRefused):
            from ayla_provider._airflow.sign_in_variable import SIGN_IN_VARIABLE

            variable = SIGN_IN_VARIABLE.format(fingerprint=self._settings.fingerprint)
            return (
                "Correct the connection: a changed one is tried at once. An unchanged one isn't for 30 minutes, since "
                "five refusals in a row lock the account for everybody. Was it mended at Ayla instead? Delete the "
                f"Airflow Variable {variable}, then check again."
            )
        more = {
            "user service": "Check host or region in the connection, and that this machine reaches it (proxy, "
            "firewall); then check again.",
            "credentials service": f"Compare credentials service URL (acs_url) in the connection with {DASHBOARD}, "
            "and see that this machine reaches it (proxy, firewall); then check again.",
        }
        return more.get(name) or super().advice(name, error)

    def connection(self) -> Step:
        """Whether all fields are there and well-formed."""
        self._settings = settings = self._hook.settings
        self._secrets += [settings.password, settings.app_secret]
        return Step("", True, f"{self._hook.ayla_conn_id}: all fields are there and well-formed")

    def user_service(self) -> Step:
        """Whether the user service accepts the sign-in."""
        settings = self._settings
        self._export = self._hook.fresh_export()
        self._credentials = cast("GcsSource", self._export.source).credentials
        try:
            self._credentials.refresh(None)
            self._secrets.append(self._credentials.token)
        except AylaError as error:
            self._refused = error
            if self._role is None:
                raise
        return Step("", True, f"{settings.user_url} accepted the sign-in of {settings.email}")

    @property
    def _role(self) -> str | None:
        provider = self._credentials.refresh_handler
        return provider.role if isinstance(provider, TokenProvider) else None

    def role(self) -> Step:
        """Whether the account has the role that the credentials service asks for."""
        said = f"the account's role is {self._role}" if self._role else "the answer names no role"
        if self._role == ROLE:
            return Step("", True, said)
        if self._refused is None:
            return Step("", True, f"{said}, not {ROLE}, but it got a token", f"Ayla's documents ask for {ROLE}.")
        return failed(
            f"{said}, {ROLE} is needed",
            f"Ask an administrator of your OEM to give the account the role {ROLE}, or use another account.",
        )

    def credentials_service(self) -> Step:
        """Whether the credentials service gives a token."""
        if self._refused:
            raise self._refused
        expires = self._credentials.expiry.replace(tzinfo=UTC)
        left = (expires - datetime.now(UTC)).total_seconds() / 60
        return Step("", True, f"{self._settings.acs_url} gave a token that is good for {left:.0f} minutes")

    def oem_prefix(self) -> Step:
        """Whether anything exists below the OEM's prefix."""
        if self._anything:
            return Step("", True, f"something stands below {self.where}")
        return failed(
            f"nothing stands below {self.where}",
            f"Compare oem_id and bucket in the connection with {DASHBOARD}, and see there that the data export is "
            "switched on. The first files come about an hour after it was.",
        )
