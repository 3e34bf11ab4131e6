"""``python -m ayla_provider``: what an Airflow machine's shell can ask of Ayla, and of the archive."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ayla_provider.cli.report import Report
    from ayla_provider.cli.report_table import Row
    from ayla_provider.source.check import Step

_CONTEXT = "_AIRFLOW_PROCESS_CONTEXT"
"""How Airflow's own commands say that they may look connections up in the metadata database."""

_MARKS = {True: "ok", False: "FAILED", None: "-"}
_INDENT = " " * 10


def main(arguments: list[str] | None = None) -> int:
    """
    Run a command.

    :param arguments: of the command line; default those of this process
    :return: the exit status: 0 if all is well, 1 if not, 2 if that can't be told; wrong usage exits with 2
    """
    parsed = _parser().parse_args(arguments)
    try:
        status: int = parsed.run(parsed)
        sys.stdout.flush()
    except BrokenPipeError:
        # ``| head`` has seen enough. What is left is flushed once more when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ayla_provider",
        description="The Ayla data export, from a shell on an Airflow machine.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")
    check = commands.add_parser(
        "check",
        help="try a connection step by step, and say what to change",
        description="Tries each step from an Airflow connection to a file of the export, and each assumption about "
        "the export, in turn: ok, FAILED with what to do, or - where it wasn't reached or there is nothing to look at. "
        "It signs in once and changes nothing, prints no secret and no content of a file, and doesn't repeat a sign-in "
        "that was refused in the last half hour. Exit status: 0 all ok, 1 a step failed, 2 wrong usage.",
    )
    check.add_argument(
        "--conn", default="ayla_default", metavar="ID", help="the Airflow connection (default: %(default)s)"
    )
    check.add_argument(
        "--json", action="store_true", help="print a list of steps with name, ok, detail, advice and seconds"
    )
    check.set_defaults(run=_check)
    _add_report(commands)
    _add_inspect(commands)
    return parser


def _add_report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    report = commands.add_parser(
        "report",
        help="compare the archive with the export hour by hour, and say what is missing",
        description="Compares each event type and hour of the archive with Ayla's bucket: landed, late, empty, "
        "waiting, overdue, missing, changed or expired. It changes nothing. Times are UTC: 2026-11-01, "
        "2026-11-01T07:00, or a span before now such as 48h or 7d. Exit status: 0 nothing is missing, 1 an hour is "
        "missing or changed, 2 it can't be seen, or wrong usage.",
    )
    report.add_argument(
        "--conn", default="ayla_default", metavar="ID", help="the Airflow connection to Ayla (default: %(default)s)"
    )
    report.add_argument(
        "--destination",
        metavar="URL",
        help="the archive, as the copying tasks have it (default: the Airflow Variable ayla_export_destination)",
    )
    report.add_argument(
        "--destination-conn", metavar="ID", help="the Airflow connection of the archive (default: as the tasks have)"
    )
    report.add_argument(
        "--event-type",
        action="append",
        metavar="NAME",
        help="an event type, may be repeated (default: the five documented ones, and what else the export has)",
    )
    report.add_argument(
        "--since", type=_moment, default="48h", metavar="TIME", help="the first hour (default: %(default)s)"
    )
    report.add_argument(
        "--until", type=_moment, default="0h", metavar="TIME", help="the end of the last hour (default: now)"
    )
    report.add_argument("--json", action="store_true", help="print an object with exact bytes and seconds")
    report.set_defaults(run=_report)


def _add_inspect(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    inspect = commands.add_parser(
        "inspect",
        help="say which layout a CSV file has, and draft a declaration if none is known",
        description="Looks at the first 256 KiB of a CSV file of the archive. IT PRINTS CONTENT OF ROWS, which can be "
        "about persons: for your eyes, not for a log or a ticket. The event type is taken from the path, if it is that "
        "of the archive, else every one is tried. Exit status: 0 the layout is known, 1 it isn't, 2 the file can't be "
        "read, or wrong usage.",
    )
    inspect.add_argument("file", metavar="FILE", help="a CSV file on this machine")
    inspect.add_argument("--event-type", metavar="NAME", help="its event type (default: from the path)")
    inspect.add_argument("--layouts", metavar="FILE.json", help="a list of declared layouts, known besides")
    inspect.add_argument("--json", action="store_true", help="print an object")
    inspect.set_defaults(run=_inspect)


def _moment(text: str) -> datetime:
    from ayla_provider.cli.report import moment
    from ayla_provider.errors import AylaConfigError

    try:
        return moment(text, datetime.now(UTC))
    except AylaConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _check(arguments: argparse.Namespace) -> int:
    from ayla_provider.source.check import check

    done = []
    stdout = sys.stdout
    with _inside_airflow():
        for step in check(arguments.conn):
            done.append(step)
            if not arguments.json:
                print(_text(step), file=stdout, flush=True)
    if arguments.json:
        print(json.dumps([asdict(step) for step in done], indent=1))
    return int(any(step.ok is False for step in done))


def _report(arguments: argparse.Namespace) -> int:
    from ayla_provider.cli.report import Report
    from ayla_provider.cli.report_table import header

    report = Report(
        conn_id=arguments.conn,
        destination=arguments.destination,
        destination_conn_id=arguments.destination_conn,
        event_types=arguments.event_type,
        since=arguments.since,
        until=arguments.until,
    )
    stdout = sys.stdout
    try:
        with _inside_airflow():
            report.open()
            if arguments.json:
                # Not as one text, which would take as much memory as a year's rows.
                json.dump(report.document(_watched(report, shown=False)), stdout, indent=1)
                print(file=stdout)
            else:
                print(f"{report.title}\n\n{header(report.width)}", file=stdout)
                for row in _watched(report, shown=stdout.isatty()):
                    print(row.line(report.width), file=stdout)
                print(f"\n{report.name}\n{report.summary.text()}", file=stdout)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - of Airflow's connections, told to a person
        print(f"error: {report.name}: {report.error_text(error)}", file=sys.stderr)
        return 2
    return 0 if report.summary.complete else 1


def _inspect(arguments: argparse.Namespace) -> int:
    from ayla_provider.cli.inspect import look_into
    from ayla_provider.errors import AylaConfigError

    try:
        seen = look_into(arguments.file, event_type=arguments.event_type, layouts=arguments.layouts)
    except AylaConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps(seen.document(), indent=1))
    else:
        for line in seen.text():
            print(line)
    return 0 if seen.found else 1


def _watched(report: Report, *, shown: bool) -> Iterator[Row]:
    """
    Yield the rows, and tell a person who waits at a terminal how far it is.

    :param shown: whether the rows themselves appear there, which says enough
    """
    if shown or not sys.stderr.isatty():
        yield from report.rows()
        return
    for done, row in enumerate(report.rows()):
        if done % 500 == 0:
            print(f"\r{done:,} of {report.total:,} hours compared", end="", file=sys.stderr, flush=True)
        yield row
    print(f"\r{report.total:,} hours compared         ", file=sys.stderr)


def _text(step: Step) -> str:
    lines = [f"{_MARKS[step.ok]:8}{step.name:24}{step.detail}".rstrip()]
    if step.advice:
        lines.append(f"{_INDENT}{'what to do' if step.ok is False else 'note'}: {step.advice}")
    return "\n".join(lines)


@contextlib.contextmanager
def _inside_airflow() -> Iterator[None]:
    """Look connections up as Airflow's own commands do, and keep its log out of stdout."""
    before = os.environ.get(_CONTEXT)
    disabled = logging.root.manager.disable
    os.environ[_CONTEXT] = "server"
    logging.disable(max(disabled, logging.INFO))
    try:
        # Airflow, imported within, takes this for the stdout that it logs to.
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        logging.disable(disabled)
        if before is None:
            del os.environ[_CONTEXT]
        else:
            os.environ[_CONTEXT] = before
