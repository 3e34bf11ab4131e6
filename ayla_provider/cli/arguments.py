"""The arguments that several commands have, and what their texts mean."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""Where a command adds its parser."""

TIMES = "Times are UTC: 2026-11-01, 2026-11-01T07:00, or a duration before now such as 48h or 7d."


def add_archive(command: argparse.ArgumentParser) -> None:
    """Add the arguments that name an archive."""
    command.add_argument(
        "--destination",
        metavar="URL",
        help="the URL of the archive, as in the copying tasks (default: the Airflow Variable ayla_export_destination)",
    )
    command.add_argument(
        "--destination-conn", metavar="ID", help="the Airflow connection of the archive (default: as in the tasks)"
    )


def add_hours(command: argparse.ArgumentParser, *, event_types: str, first: str | None) -> None:
    """
    Add the arguments that name hours.

    :param event_types: the default, for people
    :param first: the first hour by default; None for everything
    """
    command.add_argument(
        "--event-type",
        action="append",
        metavar="NAME",
        help=f"an event type; repeatable (default: {event_types})",
    )
    command.add_argument(
        "--since",
        type=since,
        default=first,
        metavar="TIME",
        help=f"the first hour (default: {first or 'everything'}). A duration doesn't go back beyond AYLA_EXPORT_START",
    )
    command.add_argument(
        "--until", type=moment, default="0h", metavar="TIME", help="the end of the last hour (default: now)"
    )


def add_parquet(command: argparse.ArgumentParser) -> None:
    """Add the argument that names the folder of the typed rows."""
    command.add_argument(
        "--parquet", metavar="URL", help="where the typed rows are, as in the loads (default: the archive's parquet/)"
    )


def add_duckdb(command: argparse.ArgumentParser, what: str) -> None:
    """
    Add the arguments that name the tables of a DuckDB file.

    :param what: the command does with it
    """
    command.add_argument("--duckdb", metavar="PATH", help=what)
    command.add_argument("--schema", default="main", metavar="NAME", help="of its tables (default: %(default)s)")
    command.add_argument(
        "--table-prefix", default="ayla_", metavar="TEXT", help="of its tables, as in the loads (default: %(default)s)"
    )


def add_warehouse(command: argparse.ArgumentParser, what: str) -> None:
    """
    Add the argument that names a warehouse of any kind.

    :param what: the command does with it
    """
    command.add_argument(
        "--warehouse",
        nargs="+",
        metavar=("KIND", "NAME=VALUE"),
        help=f"{what}: bigquery, delta, iceberg, postgres, or snowflake, and the arguments that name it in its loads, "
        "such as: iceberg namespace=ayla iceberg_conn_id=iceberg_default",
    )


def first_hour(given: tuple[datetime, bool], wanted: datetime | None) -> datetime:
    """
    Return the first hour that a command looks at.

    :param given: as :func:`since` returns it
    :param wanted: the first hour that the sample DAGs copy; None if it isn't set
    """
    first, is_span = given
    # As in the sample DAGs: a duration doesn't ask for hours that nobody wants.
    return max(first, wanted) if wanted and is_span else first


def since(text: str) -> tuple[datetime, bool]:
    """Return the first hour, and whether it is a duration before now."""
    from ayla_provider.cli.report import is_span

    return moment(text), is_span(text)


def moment(text: str) -> datetime:
    """Return the start of the hour that a text names."""
    from ayla_provider.cli.report import moment as moment_of
    from ayla_provider.errors import AylaConfigError

    try:
        return moment_of(text, datetime.now(UTC))
    except AylaConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def span(text: str) -> timedelta:
    """Return the span of time that a text names."""
    number, unit = text[:-1], text[-1:]
    if unit not in ("h", "d") or not number.isdecimal() or not 1 <= int(number) <= 36600:
        raise argparse.ArgumentTypeError(f"{text!r} isn't a span of time: write 90d or 48h")
    return int(number) * (timedelta(days=1) if unit == "d" else timedelta(hours=1))


def time_to_come(text: str) -> datetime:
    """
    Return a time in the future.

    :param text: a duration from now, such as ``6h`` or ``2d``, or a time in UTC
    """
    now = datetime.now(UTC)
    if text[-1:] in ("h", "d") and text[:-1].isdecimal():
        return now + span(text)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} isn't a time: write 6h, 2d, or 2026-12-01T06:00") from None
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    if time <= now:
        raise argparse.ArgumentTypeError(f"{text} is over: give a time that is to come, in UTC")
    return time


def days(text: str) -> timedelta:
    """Return a number of days as a span of time."""
    if not text.isdecimal() or not 1 <= int(text) <= 36600:
        raise argparse.ArgumentTypeError(f"{text!r} isn't a number of days")
    return timedelta(days=int(text))


_LARGEST = 10**12
"""The largest number that an argument may have."""


def whole(least: int) -> Callable[[str], int]:
    """
    Return what reads a whole number.

    :param least: the smallest one that it may be
    """

    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal()) or not least <= int(text[:15]) <= _LARGEST or len(text) > 15:
            raise argparse.ArgumentTypeError(f"{text!r} isn't a whole number from {least} to {_LARGEST:,}")
        return int(text)

    return read


def number(least: float) -> Callable[[str], float]:
    """
    Return what reads a number.

    :param least: the smallest one that it may be
    """

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= _LARGEST:
            raise argparse.ArgumentTypeError(f"{text!r} isn't a number from {least:g} to {_LARGEST:,}")
        return value

    return read
