"""``/_local/``: the local cloud's controls, for tests in another process. No real service has them."""

from __future__ import annotations

import base64
import ipaddress
import json
from collections import Counter
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ayla_provider.local_cloud.contents import BytesContent, SeededContent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request

    from ayla_provider.local_cloud.cloud import LocalCloud


class Admin:
    """
    The routes of a local cloud's administration. Bodies and answers are JSON. A malformed request gets 400.

    ``GET stats``, ``GET requests`` (``DELETE`` removes them), ``GET answer-key``, ``GET`` or ``POST clock``, ``GET`` or
    ``POST`` or ``DELETE faults``, ``GET`` or ``POST options``, ``POST`` or ``DELETE objects``, ``POST oddities``,
    ``POST revoke``.
    """

    def __init__(self, cloud: LocalCloud) -> None:
        self._cloud = cloud

    def routes(self) -> list[Route]:
        """Return the routes."""
        table: Mapping[tuple[str, str], Callable[[dict[str, Any]], Any]] = {
            ("GET", "stats"): self._stats,
            ("GET", "requests"): lambda _: [_plain(asdict(record)) for record in list(self._cloud.requests)],
            ("DELETE", "requests"): lambda _: self._cloud.requests.clear(),
            ("GET", "answer-key"): lambda _: [answer.as_json() for answer in self._cloud.answer_key()],
            ("GET", "clock"): self._clock,
            ("POST", "clock"): self._set_clock,
            ("GET", "faults"): lambda _: [asdict(fault) for fault in self._cloud.faults.all()],
            ("POST", "faults"): lambda body: asdict(self._cloud.faults.add(**body)),
            ("DELETE", "faults"): lambda _: self._cloud.faults.clear(),
            ("GET", "options"): self._options,
            ("POST", "options"): self._set_options,
            ("POST", "objects"): self._put_object,
            ("DELETE", "objects"): lambda body: self._cloud.delete_object(**body),
            ("POST", "oddities"): self._put_oddity,
            ("POST", "revoke"): self._revoke,
        }
        return [
            Route(f"/_local/{path}", self._endpoint(act), methods=[method]) for (method, path), act in table.items()
        ]

    def _endpoint(self, act: Callable[[dict[str, Any]], Any]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            if self._is_from_a_web_page(request):
                return JSONResponse({"error": "a web page may not control the local cloud"}, 403)
            try:
                text = await request.body()
                return JSONResponse(act(json.loads(text) if text else {}))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 400)

        return endpoint

    def _is_from_a_web_page(self, request: Request) -> bool:
        """
        Whether a page that someone visits with a browser on this machine may have sent a request.

        A browser names the page's site in ``Origin``; or in ``Host``, if the site's name was made to lead here.
        """
        host = request.url.hostname or ""
        is_own = host in ("localhost", urlsplit(self._cloud.url).hostname) or _is_address(host)
        return "origin" in request.headers or not is_own

    def _stats(self, _: dict[str, Any]) -> dict[str, Any]:
        cloud = self._cloud
        steps = Counter(record.step for record in list(cloud.requests))
        locked = cloud.account.locked_until
        return {
            "sign_ins": cloud.sign_ins,
            "refusals": cloud.refusals,
            "failures": cloud.account.failures,
            "locked_until": locked.isoformat() if locked else None,
            "requests": dict(steps),
            "now": cloud.clock.now().isoformat(),
        }

    def _clock(self, _: dict[str, Any]) -> dict[str, str]:
        return {"now": self._cloud.clock.now().isoformat(), "wall": self._cloud.clock.wall().isoformat()}

    def _set_clock(self, body: dict[str, Any]) -> dict[str, str]:
        clock = self._cloud.clock
        if "set" in body:
            clock.set(datetime.fromisoformat(body["set"]), ticking=bool(body.get("ticking")))
        elif "advance" in body:
            clock.advance(timedelta(seconds=body["advance"]))
        elif "real" in body:
            clock.real(timedelta(seconds=body["real"]))
        else:
            raise ValueError('expected "set" (a time), "advance" (seconds) or "real" (an offset in seconds)')
        return self._clock({})

    def _options(self, _: dict[str, Any]) -> dict[str, Any]:
        values = asdict(self._cloud.options) | asdict(self._cloud.account)
        return _plain({key: value for key, value in values.items() if key not in ("password", "app_secret")})

    def _set_options(self, body: dict[str, Any]) -> dict[str, Any]:
        for key, value in body.items():
            for target in (self._cloud.options, self._cloud.account):
                if key in {option.name for option in fields(target)}:
                    is_life = isinstance(getattr(target, key), timedelta)
                    setattr(target, key, timedelta(seconds=value) if is_life else value)
                    break
            else:
                raise ValueError(f"no such option: {key}")
        return self._options({})

    def _put_object(self, body: dict[str, Any]) -> dict[str, Any]:
        if "data_base64" in body:
            content: BytesContent | SeededContent = BytesContent(base64.b64decode(body["data_base64"]))
        else:
            content = SeededContent(body.get("seed", 1), int(body["size"]))
        created = datetime.fromisoformat(body["created"]) if body.get("created") else None
        return self._cloud.put_object(
            body["event_folder"], body["folder_name"], body["file"], content, created=created
        ).resource(self._cloud.url)

    def _put_oddity(self, body: dict[str, Any]) -> list[str]:
        return self._cloud.put_oddity(**body | {"hour": datetime.fromisoformat(body["hour"])})

    def _revoke(self, body: dict[str, Any]) -> None:
        self._cloud.revoke(*body["kinds"])


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return values in JSON's types: times in ISO 8601, durations in seconds."""

    def plain(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.isoformat()
        return value.total_seconds() if isinstance(value, timedelta) else value

    return {key: plain(value) for key, value in values.items()}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
