"""``python -m ayla_provider.local_cloud``."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ayla_provider.domain.hour import hour_of
from ayla_provider.local_cloud.cloud import LocalCloud
from ayla_provider.local_cloud.identity import Options


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: expected a time such as 2024-05-09T02:15:00") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _hour(text: str) -> datetime:
    time = _time(text)
    if time != hour_of(time):
        raise argparse.ArgumentTypeError(f"{text}: expected a full hour such as 2024-05-09T02:00")
    return time


def _port(text: str) -> int:
    # Some systems take the remainder of a larger number.
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text}: expected a port, 0 to 65535")
    return int(text)


def _duration(text: str) -> timedelta:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text}: expected a number of seconds")
    return timedelta(seconds=int(text))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ayla_provider.local_cloud",
        description="An Ayla cloud on this machine: sign-in, storage tokens, and a Cloud Storage with Ayla's export "
        "bucket and a bucket of yours. When it is ready, it prints one line of JSON: its url, the connections for "
        "Airflow (ayla_connection, google_connection) and the name of your bucket (customer_bucket). "
        "It runs until you interrupt it. Times without a time zone are in UTC.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=0, help="port to listen on (default: a free one)")
    parser.add_argument(
        "--seed", type=int, default=1, help="the same seed always creates the same export (default: %(default)s)"
    )
    parser.add_argument(
        "--hours", type=int, default=24, help="create this many hours up to the current one (default: %(default)s)"
    )
    parser.add_argument("--start", type=_hour, metavar="ISO", help="the first hour to create, instead of --hours")
    parser.add_argument("--end", type=_hour, metavar="ISO", help="the end of the last hour to create (default: none)")
    parser.add_argument(
        "--now", type=_time, metavar="ISO", help="the export's time, which stays the same (default: the real time)"
    )
    parser.add_argument("--ticking", action="store_true", help="with --now: the time continues from there")
    parser.add_argument(
        "--max-lag", type=_duration, metavar="SECONDS", help="no file comes later than this after its hour"
    )
    parser.add_argument(
        "--rows", type=int, default=120, help="approximate number of datapoints per hour (default: %(default)s)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="keep your bucket, your own objects and the export's parameters in this folder, to survive a restart; the "
        "kept parameters replace --seed, --hours, --start, --end, --max-lag and --rows",
    )
    parser.add_argument("--tls", type=Path, nargs=2, metavar=("CERT", "KEY"), help="use https with these PEM files")
    parser.add_argument("--one-session", action="store_true", help="a sign-in ends all earlier sessions")
    parser.add_argument(
        "--access-token-life", type=_duration, metavar="SECONDS", help="lifetime of Ayla's access tokens"
    )
    parser.add_argument(
        "--storage-token-life", type=_duration, metavar="SECONDS", help="lifetime of the storage tokens"
    )
    parser.add_argument("--answer-key", type=Path, metavar="FILE", help="write the facts about each hour, as JSON")
    parser.add_argument(
        "--ready-file", type=Path, metavar="FILE", help="also write the printed line to this file; it contains secrets"
    )
    return parser


def _cloud(arguments: argparse.Namespace) -> LocalCloud:
    options = Options(one_session=arguments.one_session)
    for name in ("access_token_life", "storage_token_life"):
        if getattr(arguments, name):
            setattr(options, name, getattr(arguments, name))
    return LocalCloud(
        host=arguments.host,
        port=arguments.port,
        seed=arguments.seed,
        hours=arguments.hours,
        start=arguments.start,
        end=arguments.end,
        now=arguments.now,
        ticking=arguments.ticking,
        max_lag=arguments.max_lag,
        rows=arguments.rows,
        options=options,
        data=arguments.data,
        tls=tuple(arguments.tls) if arguments.tls else None,
    )


def _about(cloud: LocalCloud) -> dict[str, Any]:
    return {
        "url": cloud.url,
        "ayla_connection": cloud.ayla_connection(),
        "google_connection": cloud.google_connection(),
        "customer_bucket": cloud.customer.name,
    }


def _write(path: Path, text: str, mode: int) -> None:
    """Write a file atomically, because another process may be waiting for it."""
    draft = path.with_name(path.name + ".part")
    draft.touch(mode=mode)
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def main(arguments: list[str] | None = None) -> int:
    """
    Run the local cloud until SIGTERM or SIGINT.

    :param arguments: the arguments of the command line; None means those of this process
    :return: the exit code; wrong usage, and a port or file that can't be used, exit with 2
    """
    parser = _parser()
    parsed = parser.parse_args(arguments)
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    if parsed.host not in ("127.0.0.1", "::1", "localhost"):
        print(
            f"Anyone who reaches {parsed.host} can control this local cloud. Its password is public. Put no real data "
            "into it.",
            file=sys.stderr,
        )
    with contextlib.ExitStack() as stack:
        try:
            cloud = stack.enter_context(_cloud(parsed))
        except OSError as error:
            # Such as a port that is in use, a file that isn't there, or a certificate that can't be read.
            parser.error(f"can't start at {parsed.host}:{parsed.port}: {error}")
        if parsed.answer_key:
            key = [answer.as_json() for answer in cloud.answer_key()]
            _write(parsed.answer_key, json.dumps(key, indent=1) + "\n", 0o644)
        line = json.dumps(_about(cloud))
        if parsed.ready_file:
            _write(parsed.ready_file, line + "\n", 0o600)
        print(line, flush=True)
        over.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
