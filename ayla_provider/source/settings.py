"""The settings of a connection to Ayla, checked before any request."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from ayla_provider.domain.arrival import ArrivalRule
from ayla_provider.domain.events import EventType, parse_event_type
from ayla_provider.domain.hour_pattern import HourPattern
from ayla_provider.domain.json_fields import CONTROL
from ayla_provider.errors import AylaConfigError
from ayla_provider.transport.network import Network

REGIONS = {
    "us": "user-field.aylanetworks.com",
    "eu": "user-field-eu.aylanetworks.com",
    "cn": "user-field.ayla.com.cn",
    "us-dev": "user-dev.aylanetworks.com",
    "cn-dev": "user-dev.ayla.com.cn",
}
"""Region to the host of its user service, from Ayla's API documentation. Dedicated tenants have a host of their own."""

REQUIRED_FIELDS = {
    "login": "E-mail",
    "password": "Password",
    "app_id": "App ID",
    "app_secret": "App secret",
    "oem_id": "OEM ID",
    "bucket": "Bucket",
    "acs_url": "Credentials service URL",
}
"""Fields without which nobody signs in, to their names in the connection's form."""

STORAGE_ENDPOINT = "https://storage.googleapis.com"

_SHORTEST_KEY = 20
"""Characters of a value in a query that may be a key. As a mask, a shorter one would remove words from all logs."""

_IGNORABLE = re.compile(r"([^*?/]|\[[*?]\])+/.", re.DOTALL)
"""A pattern names its folder, so that none hides all folders. ``[*]`` and ``[?]`` are these characters of a name."""

_MOST_DAYS = 3_660
"""The longest retention, ten years."""

_MOST_MINUTES = 30 * 24 * 60
"""The longest quiet period or patience."""


def _in_form(name: str) -> str:
    """Return the name of a required field in the form, with its key if that is another word: ``App ID (app_id)``."""
    label = REQUIRED_FIELDS[name]
    return label if label.lower() == name else f"{label} ({name})"


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """Where an export is in its bucket, and how to read it."""

    root: str
    """The prefix of all event folders: ``<oem_id>/``, unless the connection sets ``prefix``; empty for none."""
    event_folders: Mapping[EventType, str | tuple[str, ...]] = field(default_factory=dict)
    """Event type to the spelling of its folder or folders, where the connection sets it."""
    ignored_objects: tuple[str, ...] = ()
    """Patterns of the names, below ``root``, of objects that aren't export data."""
    hour_pattern: HourPattern | None = None
    """How folders write their time, if not only in the known styles."""
    retention: timedelta | None = None
    """How long Ayla keeps files; None if nobody knows."""
    rule: ArrivalRule = field(default_factory=ArrivalRule)
    """When an hour counts as complete."""


@dataclass(frozen=True, slots=True)
class AylaSettings:
    """What is needed to sign in, to get a storage token, and to find the export. Its repr shows no secrets."""

    user_url: str
    acs_url: str = field(repr=False)
    """With its query, which can contain a key."""
    email: str
    password: str = field(repr=False)
    app_id: str
    app_secret: str = field(repr=False)
    oem_id: str
    bucket: str
    export: ExportSettings
    storage_endpoint: str = STORAGE_ENDPOINT
    network: Network = field(default_factory=Network)

    @classmethod
    def from_fields(
        cls,
        *,
        conn_id: str,
        login: str | None,
        password: str | None,
        host: str | None,
        port: int | None,
        extra: Mapping[str, Any],
    ) -> AylaSettings:
        """
        Check the fields of a connection.

        :param conn_id: the connection's id, for errors
        :param extra: the connection's extra, with the keys of its form
        :raises AylaConfigError: with all missing fields, or the first one that is not valid
        """
        extra = {key: value.strip() if isinstance(value, str) else value for key, value in extra.items()}
        extra = {key: value for key, value in extra.items() if value not in (None, "")}
        login = (login or "").strip()
        values = {**extra, "login": login, "password": password}
        missing = [name for name in REQUIRED_FIELDS if not values.get(name)]
        if missing:
            raise AylaConfigError(
                f"connection {conn_id!r}: {', '.join(map(_in_form, missing))} {'is' if len(missing) == 1 else 'are'} "
                "missing. The Ayla dashboard shows Bucket, OEM ID, and Credentials service URL under OEM Profile, Data "
                "Export."
            )
        check = _Checks(conn_id, allow_http=_is_true(extra.get("allow_http")))
        oem_id = check.name("oem_id", str(extra["oem_id"]))
        if host:
            if port is not None and not 1 <= port <= 65535:
                raise check.fail("port", f"is {port}: expected 1 to 65535")
            user_url = check.url("host", _with_scheme(host.strip()), port)
        else:
            user_url = f"https://{check.region(extra.get('region', 'us'))}"
        return cls(
            user_url=user_url,
            acs_url=check.url("acs_url", str(extra["acs_url"]), as_written=True),
            email=login,
            password=str(password),
            app_id=str(extra["app_id"]),
            app_secret=str(extra["app_secret"]),
            oem_id=oem_id,
            bucket=check.name("bucket", str(extra["bucket"])),
            export=check.export(extra, oem_id),
            storage_endpoint=check.url("storage_endpoint", str(extra.get("storage_endpoint", STORAGE_ENDPOINT))),
            network=check.network(extra.get("proxy"), extra.get("ca_file")),
        )

    @property
    def acs_address(self) -> str:
        """The URL of the credentials service for messages: without its query."""
        return self.acs_url.partition("?")[0]

    @property
    def secrets(self) -> tuple[str, ...]:
        """
        Values that must not appear in logs.

        They include the proxy's URL, its password with and without encoding, and keys in the query of ``acs_url``.
        """
        written = urlsplit(self.network.proxy or "").password or ""
        proxy = (self.network.proxy or "", written, unquote(written)) if written else ()
        query = [value for _, value in parse_qsl(urlsplit(self.acs_url).query) if len(value) >= _SHORTEST_KEY]
        return tuple(dict.fromkeys((self.password, self.app_secret, *proxy, *query)))

    @property
    def fingerprint(self) -> str:
        """
        A keyed hash of everything that a sign-in depends on, which identifies it without revealing it.

        The key is the app secret, so that nobody can guess passwords with the hash alone.
        """
        message = "\0".join((self.user_url, self.email, self.password, self.app_id))
        return hmac.new(self.app_secret.encode(), message.encode(), hashlib.sha256).hexdigest()[:32]


def export_settings(conn_id: str, extra: Mapping[str, Any], root: str = "") -> ExportSettings:
    """
    Return where an export is and how to read it, from a connection of any type.

    :param conn_id: the connection's id, for the errors
    :param extra: the connection's extra
    :param root: the folder of all event folders, if the extra doesn't set ``prefix``; empty for the top of the bucket
    :raises AylaConfigError: naming the first setting that is malformed
    """
    return _Checks(conn_id, allow_http=False).export(extra, root)


@dataclass(frozen=True, slots=True)
class _Checks:
    conn_id: str
    allow_http: bool

    def fail(self, name: str, problem: str) -> AylaConfigError:
        return AylaConfigError(f"connection {self.conn_id!r}: {name} {problem}")

    def export(self, extra: Mapping[str, Any], root: str) -> ExportSettings:
        given = {key: value for key, value in extra.items() if value not in (None, "")}
        root = self.root(given.get("prefix", root))
        return ExportSettings(
            root=root,
            event_folders=self.event_folders(given.get("event_folders", {})),
            ignored_objects=self.ignored_objects(extra.get("ignored_objects"), root),
            hour_pattern=self.hour_pattern(extra.get("hour_pattern")),
            retention=self.retention(extra.get("retention")),
            rule=self.rule(extra),
        )

    def region(self, value: object) -> str:
        try:
            return REGIONS[str(value)]
        except KeyError:
            raise self.fail("region", f"is {value!r}: expected one of {', '.join(REGIONS)}, or set the host") from None

    def name(self, name: str, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
            raise self.fail(name, f"is {value!r}: expected letters, digits, '.', '_' or '-', and no slash")
        return value

    def root(self, value: object) -> str:
        """Return a folder of the bucket with its final slash; ``/`` is the top of the bucket, an empty text."""
        folder = str(value).strip().strip("/")
        if CONTROL.search(folder) or "//" in folder:
            raise self.fail(
                "prefix",
                f"is {value!r}: expected the folder in the bucket that contains the event folders, such as "
                "1a2b3c4d/export, or / for the top of the bucket",
            )
        return f"{folder}/" if folder else ""

    def url(self, name: str, value: str, port: int | None = None, *, as_written: bool = False) -> str:
        """Return a valid URL. ``as_written`` keeps a slash at the end and a query: the address can have them."""
        parts, own_port = _split(value.strip())
        # The message doesn't show the value, which may contain a password.
        if "@" in parts.netloc:
            raise self.fail(name, "contains a user or password: put them into the fields of that name")
        host = parts.hostname or ""
        if parts.scheme not in ("http", "https") or not _is_host(host) or own_port == 0:
            raise self.fail(name, "is not a valid URL: expected https://host/path")
        if parts.fragment or (parts.query and not as_written):
            raise self.fail(name, "has a query or fragment: remove it")
        if _is_link_local(host):
            raise self.fail(name, f"leads to {host}: no Ayla service has such a link-local address")
        if parts.scheme == "http" and not self.allow_http and not _is_loopback(host):
            raise self.fail(
                name,
                f"uses plain http to {host}, which would send secrets unencrypted: use https, or set allow_http "
                "to true if this is your own test server",
            )
        if port and not own_port:
            parts = parts._replace(netloc=f"{parts.netloc}:{port}")
        return parts.geturl() if as_written else parts.geturl().rstrip("/")

    def rule(self, extra: Mapping[str, Any]) -> ArrivalRule:
        minutes = {name: self.minutes(name, extra.get(name)) for name in ("quiet_period", "patience")}
        return ArrivalRule().override(minutes["quiet_period"], minutes["patience"])

    def minutes(self, name: str, value: object) -> timedelta | None:
        if value is None or value == "":
            return None
        try:
            minutes = float(str(value))
        except ValueError:
            minutes = -1
        if not 0 <= minutes <= _MOST_MINUTES:
            raise self.fail(name, f"is {value!r}: expected minutes, from 0 to {_MOST_MINUTES:,}")
        return timedelta(minutes=minutes)

    def retention(self, value: object) -> timedelta | None:
        if value is None or value == "":
            return None
        try:
            days = float(str(value))
        except ValueError:
            days = -1
        if not 1 <= days <= _MOST_DAYS:
            raise self.fail("retention", f"is {value!r}: expected days, from 1 to {_MOST_DAYS:,}")
        return timedelta(days=days)

    def network(self, proxy: object, ca_file: object) -> Network:
        return Network(
            proxy=None if proxy is None else self.proxy(str(proxy)),
            ca_file=None if ca_file is None else self.ca_file(str(ca_file)),
        )

    def proxy(self, value: str) -> str:
        # The message doesn't show the value, which may contain a password.
        parts, port = _split(value if "://" in value else f"http://{value}")
        whole = parts.path in ("", "/") and not parts.query and not parts.fragment
        if parts.scheme not in ("http", "https") or not _is_host(parts.hostname or "") or port == 0 or not whole:
            raise self.fail(
                "proxy",
                "is not a valid URL of a proxy: expected http://host:port or http://user:password@host:port, with "
                "special characters in user and password percent-encoded",
            )
        return f"{parts.scheme}://{parts.netloc}"

    def ca_file(self, value: str) -> str:
        if not Path(value).is_absolute():
            raise self.fail("ca_file", f"is {value!r}: expected the absolute path of a PEM file")
        try:
            Path(value).open("rb").close()
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=value)
        except ssl.SSLError:
            raise self.fail("ca_file", f"is {value!r}, which contains no certificate in PEM format") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise self.fail(
                "ca_file",
                f"is {value!r}, which can't be read ({reason}): the file must exist and be readable on each machine "
                "that runs tasks, triggers or the connection's test",
            ) from None
        return value

    def ignored_objects(self, value: object, root: str) -> tuple[str, ...]:
        if value is None or value == "":
            return ()
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                value = None
        patterns = value if isinstance(value, list) else [None]
        # Messages show whole names, so that people copy these.
        patterns = [pattern.removeprefix(root) if isinstance(pattern, str) else pattern for pattern in patterns]
        if not all(isinstance(pattern, str) and _IGNORABLE.match(pattern) for pattern in patterns):
            raise self.fail(
                "ignored_objects",
                'is not a JSON list of names or patterns below <oem_id>/, such as ["Datapoint/README*", "backup/*"]; '
                "each begins with the name of a folder",
            )
        return tuple(patterns)

    def hour_pattern(self, value: object) -> HourPattern | None:
        if value is None or value == "":
            return None
        try:
            return HourPattern(str(value))
        except AylaConfigError as error:
            raise AylaConfigError(f"connection {self.conn_id!r}: {error}") from None

    def event_folders(self, value: object) -> dict[EventType, str | tuple[str, ...]]:
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                value = None
        if not isinstance(value, Mapping):
            raise self.fail("event_folders", 'is not a JSON object such as {"datapoint_ack": "DatapointAck"}')
        folders: dict[EventType, str | tuple[str, ...]] = {}
        for event_type, folder in value.items():
            names = folder if isinstance(folder, list) else [folder]
            if not names or not all(isinstance(name, str) and name and "/" not in name for name in names):
                raise self.fail("event_folders", f"gives {event_type!r} a folder that is not a name without slashes")
            try:
                known = parse_event_type(str(event_type))
            except AylaConfigError as error:
                raise self.fail("event_folders", f"has a key that is not an event type: {error}") from None
            if known in folders:
                raise self.fail("event_folders", f"names event type {known} twice")
            folders[known] = tuple(dict.fromkeys(folder)) if isinstance(folder, list) else folder
        return folders


def _split(url: str) -> tuple[SplitResult, int | None]:
    """Return a URL's parts and port; empty parts for a malformed URL."""
    # urlsplit would drop a line end without a word.
    if CONTROL.search(url):
        return urlsplit(""), None
    try:
        parts = urlsplit(url)
        return parts, parts.port
    except ValueError:
        return urlsplit(""), None


def _with_scheme(host: str) -> str:
    """Return a host as a URL. Airflow takes the brackets off an IPv6 address, because they are the URL's."""
    if "://" in host:
        return host
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return f"https://{host}"
    return f"https://[{host}]"


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return (
            re.fullmatch(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?", host) is not None
        )
    return True


def _is_link_local(host: str) -> bool:
    """Whether a host is an address such as the one where a cloud's machines get credentials, in any notation."""
    try:
        # A resolver also understands numbers such as 2852039166 and 0xa9fea9fe.
        numbers = ipaddress.ip_address(socket.inet_aton(host))
    except OSError:
        numbers = None
    try:
        address = numbers or ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_link_local


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_true(value: object) -> bool:
    return value is True or str(value).strip().lower() in ("true", "1", "yes", "on")
