"""The command line: what an Airflow machine's shell can ask of Ayla, and of the archive."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ayla_provider import __version__
from ayla_provider.cli.arguments import (
    TIMES,
    add_archive,
    add_duckdb,
    add_hours,
    add_warehouse,
    days,
    first_hour,
    moment,
    number,
    span,
    time_to_come,
    whole,
)
from ayla_provider.domain.estimate import Size

if TYPE_CHECKING:
    from ayla_provider.archive.destination import Destination
    from ayla_provider.cli.connections import Connections, OpenConnections
    from ayla_provider.cli.report import Report
    from ayla_provider.cli.report_table import Row
    from ayla_provider.domain.stream import StreamPosition
    from ayla_provider.transport.steps import Step
    from ayla_provider.warehouse.base import Warehouse
    from ayla_provider.warehouse.duckdb import DuckDBWarehouse

_MARKS = {True: "ok", False: "FAILED", None: "-"}
_INDENT = " " * 10


def main(arguments: list[str] | None, *, open_connections: OpenConnections) -> int:
    """
    Run a command.

    :param arguments: of the command line; None for those of this process
    :param open_connections: gives the commands that need them the connections
    :return: the exit status: 0 if all is well, 1 if not, 2 if the command can't find out; wrong usage exits with 2
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Escape what the terminal can't show. Otherwise the command ends there, with a status that means another.
            stream.reconfigure(errors="backslashreplace")
    parsed = _parser(open_connections).parse_args(arguments)
    try:
        status: int = parsed.run(parsed)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader, such as ``head``, has closed the pipe. Python flushes stdout once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except KeyboardInterrupt:
        return 130
    return status


def _parser(open_connections: OpenConnections) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ayla_provider",
        description="The Ayla data export, from a shell on an Airflow machine.",
    )
    parser.add_argument("--version", action="version", version=f"airflow-provider-ayla {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")
    check = commands.add_parser(
        "check",
        help="try a connection step by step, and say what to change",
        description="Tries each step from an Airflow connection to a file of the export, and each assumption about "
        "the export. A step is ok, FAILED with what to do, or - if it wasn't reached or there is nothing to look at. "
        "The command signs in once and changes nothing. It prints no secret and no content of a file. It doesn't "
        "repeat a sign-in that was refused in the last half hour. Exit status: 0 all ok, 1 a step failed, 2 wrong "
        "usage.",
    )
    check.add_argument(
        "--conn", default="ayla_default", metavar="ID", help="the Airflow connection (default: %(default)s)"
    )
    check.add_argument(
        "--json", action="store_true", help="print a list of steps with name, ok, detail, advice and seconds"
    )
    check.set_defaults(run=partial(_check, open_connections))
    _add_init(commands)
    _add_check_stream(commands, open_connections)
    _add_report(commands, open_connections)
    _add_verify(commands, open_connections)
    _add_freshness(commands, open_connections)
    _add_completeness(commands, open_connections)
    _add_erase(commands, open_connections)
    _add_inspect(commands)
    _add_contract(commands)
    _add_estimate(commands)
    _add_retention(commands, open_connections)
    _add_hold(commands, open_connections)
    _add_extract(commands, open_connections)
    _add_quarantine(commands, open_connections)
    _add_device(commands, open_connections)
    _add_evidence(commands, open_connections)
    _add_files(commands, open_connections)
    return parser


def _add_freshness(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], open_connections: OpenConnections
) -> None:
    freshness = commands.add_parser(
        "freshness",
        help="show how old the newest complete hours are, and mute alerts",
        description="Shows what the last look of the DAG ayla_export_freshness found at each layer, and until when "
        "nobody is alerted. With --mute or --unmute, it changes that, for all event types and layers or for those that "
        "are named. Needs no connection to Ayla. Exit status: 0 no hour is late, 1 one is, 2 the archive can't be "
        "read, or wrong usage.",
    )
    freshness.add_argument("--event-type", metavar="NAME", help="an event type (default: all)")
    freshness.add_argument("--layer", metavar="NAME", help="such as copied, or loaded_postgres (default: all)")
    change = freshness.add_mutually_exclusive_group()
    change.add_argument(
        "--mute", type=time_to_come, metavar="TIME", help="until when nobody is alerted: 6h, 2d, or a time in UTC"
    )
    change.add_argument("--unmute", action="store_true", help="alert again")
    freshness.add_argument("--json", action="store_true", help="print an object")
    add_archive(freshness)
    freshness.set_defaults(run=partial(_on_archive, open_connections, _freshness))


def _freshness(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.cli.freshness import is_late, run, text_of

    document = run(arguments, connections)
    if arguments.json:
        print(json.dumps(document, indent=1), file=stdout)
    else:
        for line in text_of(document):
            print(line, file=stdout)
    return 1 if is_late(document) else 0


def _add_evidence(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], open_connections: OpenConnections
) -> None:
    evidence = commands.add_parser(
        "evidence",
        help="write what an auditor can hold the archive to, for a month",
        description="Writes a document about each hour of a month: its state, its files with checksums, and by which "
        "run. It also states what changed in earlier months since the document before it, and why. Each document has "
        "the hash of the one before it. Reads every manifest of the archive, and changes nothing in it. Exit status: 0 "
        "all changes are explained, 1 one isn't, 2 something can't be read, or wrong usage.",
    )
    evidence.add_argument("--month", required=True, metavar="YYYY-MM", help="a month that is over, in UTC")
    evidence.add_argument(
        "--folder", required=True, metavar="PATH", help="a folder on this machine with the documents of earlier months"
    )
    add_archive(evidence)
    evidence.set_defaults(run=partial(_on_archive, open_connections, _evidence))


def _evidence(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.cli.evidence import make, text_of

    evidence, file = make(arguments, connections)
    for line in text_of(evidence, file):
        print(line, file=stdout)
    return 1 if evidence.objections else 0


_FILE_PATHS = (
    "PATH is the address of the export, ayla://CONNECTION/..., with the names that Ayla gave its folders and files, "
    "such as 'ayla://ayla_default/Datapoint/2026-11-01 07:00:00'. Any other PATH is relative to the archive, such as "
    "event_type=datapoint/date=2026-11-01. It can have the wildcards *, ? and [...], each within one folder; quote "
    "them. "
)


def _add_files(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], open_connections: OpenConnections
) -> None:
    shown = commands.add_parser(
        "ls",
        help="show files of the export or of the archive",
        description=f"Shows what is in a folder, or what matches a pattern. {_FILE_PATHS}Exit status: 0 there is "
        "something, 1 there is nothing, 2 it can't be listed, or wrong usage.",
    )
    shown.add_argument("path", metavar="PATH", help="a folder, a file, or a pattern; / for all of the archive")
    add_archive(shown)
    shown.add_argument("-r", "--recursive", action="store_true", help="show all files in folders, and no folders")
    shown.add_argument(
        "--json", action="store_true", help="print a list of files and folders with exact bytes, times and checksums"
    )
    shown.set_defaults(run=partial(_on_files, open_connections, "list_files"))
    get = commands.add_parser(
        "get",
        help="download files of the export or of the archive",
        description="Downloads a file, the files in a folder, or those that match a pattern, with their folders. Each "
        "file is verified by its checksum, and gets its name when it is complete. If the command ends early, run it "
        f"again: it downloads what isn't there yet. {_FILE_PATHS}Exit status: 0 everything is there, 1 there is "
        "nothing to download, 2 a file can't be downloaded, or wrong usage.",
    )
    get.add_argument("path", metavar="PATH", help="a file, a folder, or a pattern; / for all of the archive")
    get.add_argument("folder", nargs="?", default=".", metavar="FOLDER", help="where to (default: the current folder)")
    add_archive(get)
    get.add_argument("--json", action="store_true", help="print a list of files, and whether each is new")
    get.set_defaults(run=partial(_on_files, open_connections, "get_files"))
    cat = commands.add_parser(
        "cat",
        help="print a file of the export or of the archive",
        description="Writes the content of a file to the standard output, and compares its checksum at the end. "
        f"{_FILE_PATHS}Exit status: 0 all was written, 1 there is no such file, 2 it can't be read or its content is "
        "wrong, or wrong usage.",
    )
    cat.add_argument("path", metavar="PATH", help="a file")
    add_archive(cat)
    cat.set_defaults(run=partial(_on_files, open_connections, "print_file"))


def _on_files(open_connections: OpenConnections, name: str, arguments: argparse.Namespace) -> int:
    """
    Run a command of files, and print why it can't if it can't.

    :param name: of the function in :mod:`ayla_provider.cli.files`
    """
    from ayla_provider.cli import files

    stdout = sys.stdout
    with open_connections() as connections:
        try:
            getattr(files, name)(arguments, connections, stdout)
        except BrokenPipeError:
            raise
        except files.NothingError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except Exception as error:  # noqa: BLE001 - a person sees it; Airflow's hooks raise anything
            print(f"error: {arguments.path}: {_error_text(error, connections)}", file=sys.stderr)
            return 2
    return 0


def _add_check_stream(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], open_connections: OpenConnections
) -> None:
    check = commands.add_parser(
        "check-stream",
        help="try a stream step by step, and say what to change",
        description="Tries each step from an Airflow connection to the newest records of a stream that Ayla delivers "
        "to: rights, retention, shards, the age of the newest record, and a record of each event type. A step is ok, "
        "FAILED with what to do, or - if it wasn't reached or there is nothing to look at. It changes nothing, and "
        "prints the keys of records without their values. Exit status: 0 all ok, 1 a step failed, 2 wrong usage.",
    )
    check.add_argument("url", metavar="URL", help="kinesis://NAME or eventhubs://HUB, as in the task")
    check.add_argument(
        "--conn",
        metavar="ID",
        help="the Airflow connection to AWS or Azure (default for Kinesis: the credentials of this machine)",
    )
    check.add_argument(
        "--json", action="store_true", help="print a list of steps with name, ok, detail, advice and seconds"
    )
    check.set_defaults(run=partial(_check_stream, open_connections))


def _add_report(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], open_connections: OpenConnections
) -> None:
    report = commands.add_parser(
        "report",
        help="compare the archive with the export hour by hour, and show what is missing",
        description="Compares each event type and hour of the archive with Ayla's bucket: landed, late, empty, "
        "waiting, overdue, missing, changed, unproven, lost or expired. Of the archive of a stream, it shows which "
        "hours are complete, how far each shard was read, and what was lost. Changes nothing. "
        f"{TIMES} Exit status: 0 nothing is missing, 1 an hour is missing, changed, unproven or lost, or expires soon "
        "and isn't safe, or a loss of a stream isn't acknowledged, 2 the archive or the export can't be read, or wrong "
        "usage.",
    )
    report.add_argument(
        "--conn", default="ayla_default", metavar="ID", help="the Airflow connection to Ayla (default: %(default)s)"
    )
    add_archive(report)
    add_hours(report, event_types="the five documented ones, and all others in the export", first="48h")
    report.add_argument(
        "--expiring",
        type=days,
        default="14",
        metavar="DAYS",
        help="also count the hours that expire at Ayla within so many days and aren't safe in the archive yet, if the "
        "connection says how long Ayla keeps files, or a weekly comparison saw it (default: %(default)s)",
    )
    report.add_argument("--json", action="store_true", help="print an object with exact bytes and seconds")
    report.set_defaults(run=partial(_on_archive, open_connections, _report))


def _add_verify(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], open_connections: OpenConnections
) -> None:
    verify = commands.add_parser(
        "verify",
        help="check that the archive still has what its manifests name",
        description="Lists the archive, and compares each object with the manifest that names it. Changes no copy, and "
        "needs no connection to Ayla. "
        f"{TIMES} Exit status: 0 the archive has everything, 1 something is missing, damaged, or different in the "
        "warehouse, 2 the archive or the warehouse can't be read, or wrong usage.",
    )
    add_archive(verify)
    add_hours(verify, event_types="those that the archive has", first=None)
    verify.add_argument(
        "--expected-retention",
        type=days,
        metavar="DAYS",
        help="after how many days a lifecycle rule of yours removes copies; they don't count as damage then",
    )
    verify.add_argument(
        "--parquet", metavar="URL", help="where the typed rows are, as in the loads (default: the archive's parquet/)"
    )
    verify.add_argument(
        "--read-every",
        type=span,
        metavar="SPAN",
        help="also read files and compare their checksums: each run reads a share, so that each file is read once in "
        "this time, such as 90d. The archive keeps the position",
    )
    add_duckdb(verify, "also compare the tables of this DuckDB file with the receipts of the typed rows")
    add_warehouse(verify, "also compare the tables of this warehouse with the receipts of the typed rows")
    verify.add_argument("--json", action="store_true", help="print an object")
    verify.set_defaults(run=partial(_on_archive, open_connections, _verify))


def _add_completeness(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], open_connections: OpenConnections
) -> None:
    completeness = commands.add_parser(
        "completeness",
        help="compare what the export brought with what the stream had",
        description="Compares the typed rows of the export's archive with those of the stream's, hour by hour, and "
        "keeps the results in the stream's archive. Needs no connection to Ayla. "
        f"{TIMES} Exit status: 0 each side has all events of the other, 1 a side lacks events, 2 nobody can say: no "
        "hour can be compared, the two sides identify events differently, an archive can't be read, or wrong usage.",
    )
    completeness.add_argument(
        "--archive",
        dest="destination",
        metavar="URL",
        help="the export's archive (default: the Airflow Variable ayla_export_destination)",
    )
    completeness.add_argument(
        "--archive-conn",
        dest="destination_conn",
        metavar="ID",
        help="the Airflow connection of the export's archive (default: as in the tasks)",
    )
    completeness.add_argument("--stream-archive", required=True, metavar="URL", help="the stream's archive")
    completeness.add_argument(
        "--stream-archive-conn",
        metavar="ID",
        help="the Airflow connection of the stream's archive (default: as in the tasks)",
    )
    for side, owner in (("", "export"), ("stream-", "stream")):
        completeness.add_argument(
            f"--{side}parquet",
            metavar="URL",
            help=f"where the {owner}'s typed rows are, as in its loads (default: its archive's parquet/)",
        )
    add_hours(completeness, event_types="the five documented ones", first="7d")
    output = completeness.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print an object")
    output.add_argument(
        "--support", action="store_true", help="print a text that you can send to Ayla support: it has no personal data"
    )
    completeness.set_defaults(run=partial(_on_archive, open_connections, _completeness))


def _add_erase(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], open_connections: OpenConnections
) -> None:
    erase = commands.add_parser(
        "erase",
        help="erase devices and users from the archive, the typed rows, and a DuckDB file",
        description="Counts what the requests in a folder name: rows, objects, and what a bucket asks for. With "
        "--apply, it erases that, removes the requests, and writes a certificate into the archive's _erasures/. It "
        "prints ids and counts, and no identifier. Exit status: 0 done, 2 something can't be read or written, or wrong "
        "usage.",
    )
    erase.add_argument(
        "--requests", required=True, metavar="URL", help="the folder of the requests, each a JSON object"
    )
    erase.add_argument(
        "--requests-conn", metavar="ID", help="the Airflow connection of that folder (default: that of the archive)"
    )
    add_archive(erase)
    erase.add_argument(
        "--parquet", metavar="URL", help="where the typed rows are, as in the loads (default: the archive's parquet/)"
    )
    erase.add_argument("--duckdb", metavar="PATH", help="also erase from the tables of this DuckDB file")
    erase.add_argument("--schema", default="main", metavar="NAME", help="of its tables (default: %(default)s)")
    erase.add_argument(
        "--table-prefix", default="ayla_", metavar="TEXT", help="of its tables, as in the loads (default: %(default)s)"
    )
    erase.add_argument(
        "--erasure-conn",
        default="ayla_erasure",
        metavar="ID",
        help="the Airflow connection whose password has the keys of the ledger (default: %(default)s)",
    )
    erase.add_argument(
        "--privacy-conn", metavar="ID", help="the Airflow connection of the privacy policy's key, if it hashes columns"
    )
    erase.add_argument("--apply", action="store_true", help="erase; without it, nothing is written")
    erase.add_argument("--json", action="store_true", help="print an object")
    erase.set_defaults(run=partial(_on_archive, open_connections, _erase))


def _add_inspect(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    inspect = commands.add_parser(
        "inspect",
        help="show which layout a CSV file has, and draft a declaration if none is known",
        description="Looks at the first 256 KiB of a CSV file of the archive. IT PRINTS CONTENT OF ROWS, which can be "
        "personal data: don't put the output into a log or a ticket. The event type comes from the path if that is "
        "a path of the archive; otherwise every event type is tried. Exit status: 0 the layout is known, 1 it isn't, "
        "2 the file can't be read, or wrong usage.",
    )
    inspect.add_argument("file", metavar="FILE", help="a CSV file on this machine")
    inspect.add_argument("--event-type", metavar="NAME", help="its event type (default: from the path)")
    inspect.add_argument("--layouts", metavar="FILE.json", help="a list of declared layouts to try, too")
    inspect.add_argument("--json", action="store_true", help="print an object")
    inspect.set_defaults(run=_inspect)


def _add_contract(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    contract = commands.add_parser(
        "contract",
        help="print the data contract of the tables, or what differs from it",
        description="Prints what the tables of this version have, as a data contract in JSON (ODCS 3.1). With --diff, "
        "it prints what changed since another contract; with --duckdb, how the tables of a file break it. Exit status: "
        "0 nothing differs, 1 something does, 2 it can't be read, or wrong usage.",
    )
    contract.add_argument("--diff", metavar="OLD.json", help="a contract of an earlier version")
    contract.add_argument(
        "--privacy", metavar="FILE.json", help="the privacy policy of the tables: column to treatment"
    )
    add_duckdb(contract, "compare the tables of this DuckDB file")
    contract.set_defaults(run=_contract)


def _add_init(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from ayla_provider.cli.init import add_arguments

    command = commands.add_parser(
        "init",
        help="write a project: DAGs, pools, Variables, the connection without its secrets, and rights for the bucket",
        description="Writes a project of your own, from the sample DAGs and a few answers. It asks for what no flag "
        "says, and never for a secret. If you run it again, it remembers the answers, and keeps files that differ. "
        "Exit status: 0 all files are written, 1 one was kept, 2 an answer is missing or wrong, or a file can't be "
        "written.",
    )
    add_arguments(command)
    command.set_defaults(run=_init)


def _init(arguments: argparse.Namespace) -> int:
    from ayla_provider.cli.init import WrongAnswerError, run

    try:
        return run(arguments, sys.stdin, sys.stdout)
    except (WrongAnswerError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _add_estimate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "estimate",
        help="print what an export of a size needs in 30 days: requests, bytes, storage, work of a warehouse",
        description="Prints the quantities that clouds bill, for 30 days of an export. It asks nobody and knows no "
        "prices: --csv has a column for yours. Exit status: 0, or 2 for wrong usage.",
    )
    command.add_argument("--devices", type=whole(1), required=True, metavar="N", help="how many devices there are")
    command.add_argument(
        "--events", type=number(0), required=True, metavar="N", help="events of one device in a day, of all event types"
    )
    defaults = Size(devices=1, events=1)
    texts = {
        "event_types": "event types that are copied and loaded",
        "files": "files of an event type in an hour",
        "line": "bytes of a line of Ayla's files",
        "looks": "how often a wait looks for an hour",
        "loads": "how often an hour is loaded, because files come late",
        "months": "how long everything is kept",
        "parquet": "bytes of the typed rows, as a share of the lines",
        "row": "bytes of a row in a warehouse, uncompressed",
        "snowflake": "seconds that a virtual warehouse of Snowflake works for a load",
        "record": "bytes of a record of the stream",
        "peak": "how many times the mean the busiest second of the stream has",
    }
    for name, text in texts.items():
        default = getattr(defaults, name)
        kind = whole(1) if isinstance(default, int) else number(0)
        option = f"--{name.replace('_', '-')}"
        command.add_argument(option, type=kind, default=default, metavar="N", help=f"{text} (default: %(default)s)")
    shape = command.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print the quantities as JSON, sizes in bytes")
    shape.add_argument("--csv", action="store_true", help="print a sheet with a column for prices, sizes in GB")
    command.set_defaults(run=_estimate)


def _estimate(arguments: argparse.Namespace) -> int:
    from ayla_provider.cli.estimate import run

    return run(arguments)


def _contract(arguments: argparse.Namespace) -> int:
    from ayla_provider.cli.contract import run

    return run(arguments)


def _add_retention(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], open_connections: OpenConnections
) -> None:
    retention = commands.add_parser(
        "retention",
        help="count the hours that are older than rules of yours, and remove them",
        description="Counts what the archive, its typed rows, its quarantine, and the tables of a DuckDB file have of "
        "hours that are older than you want to keep them. With --remove, it removes them. Manifests, receipts, and the "
        "ledger stay, and say so. Hours under a legal hold stay. Exit status: 0 done, 2 something can't be read or "
        "written, or wrong usage.",
    )
    add_archive(retention)
    retention.add_argument(
        "--event-type", action="append", metavar="NAME", help="an event type; repeatable (default: all)"
    )
    for layer, what in (
        ("archive", "copies, or files of a stream"),
        ("parquet", "typed rows"),
        ("quarantine", "quarantined lines"),
        ("tables", "rows in the tables of --duckdb"),
    ):
        retention.add_argument(
            f"--keep-{layer}", type=days, metavar="DAYS", help=f"for how many days to keep {what} (default: for ever)"
        )
    retention.add_argument(
        "--parquet", metavar="URL", help="where the typed rows are, as in the loads (default: the archive's parquet/)"
    )
    add_duckdb(retention, "the DuckDB file of --keep-tables")
    retention.add_argument("--remove", action="store_true", help="remove what is counted")
    retention.add_argument("--json", action="store_true", help="print an object")
    retention.set_defaults(run=partial(_on_archive, open_connections, _retention))


def _add_hold(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_connections: OpenConnections) -> None:
    command = commands.add_parser(
        "hold",
        help="list, place, and release legal holds, which keep hours from removal and subjects from erasure",
        description="A legal hold is an object in the archive. It keeps the hours of its range from being removed, and "
        "what they have of its subject from being erased. It names a subject by keyed hashes only. Exit status: 0 "
        "done, 2 it can't be done, or wrong usage.",
    )
    actions = command.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list the holds")
    listing.add_argument("--json", action="store_true", help="print a list")
    placing = actions.add_parser("place", help="place a hold")
    placing.add_argument("--id", required=True, metavar="ID", help="of the hold; it must not name a person or a device")
    placing.add_argument("--since", type=moment, metavar="TIME", help="the first hour (default: the beginning)")
    placing.add_argument("--until", type=moment, metavar="TIME", help="the end of the last hour (default: its release)")
    placing.add_argument("--event-type", action="append", metavar="NAME", help="repeatable (default: all)")
    placing.add_argument(
        "--subject",
        metavar="FILE",
        help='a JSON file such as {"dsn": ["..."], "user_uuid": ["..."]} (default: everything in the hours)',
    )
    placing.add_argument("--key-conn", metavar="ID", help="the connection whose password is the key of the hashes")
    placing.add_argument("--reason", default="", metavar="TEXT", help="such as a file number")
    releasing = actions.add_parser("release", help="release a hold")
    releasing.add_argument("--id", required=True, metavar="ID", help="of the hold")
    for action, run in ((listing, _hold_list), (placing, _hold_place), (releasing, _hold_release)):
        add_archive(action)
        action.set_defaults(run=partial(_on_archive, open_connections, run))


def _add_extract(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], open_connections: OpenConnections
) -> None:
    extract = commands.add_parser(
        "extract",
        help="write all events of a device or a user into files: the right of access",
        description="Looks for the events of a device or a user in the archive and its typed rows, and writes them, "
        "decoded, as CSV, JSON, and one HTML file into a new folder that nobody else can read. THE FILES HAVE PERSONAL "
        "DATA. The request is a JSON object with dsn, user_uuid, or both, and if wanted from and until. Changes "
        "nothing else. Exit status: 0 done, 1 some hours can't be read any more, 2 it can't be done, or wrong usage.",
    )
    extract.add_argument(
        "--request", required=True, metavar="URL_OR_FILE", help="the object or the file of the request"
    )
    extract.add_argument(
        "--request-conn", metavar="ID", help="the Airflow connection of the request's URL (default: as in the tasks)"
    )
    extract.add_argument("--out", required=True, metavar="FOLDER", help="a folder that doesn't exist yet")
    add_archive(extract)
    extract.add_argument(
        "--parquet", metavar="URL", help="where the typed rows are, as in the loads (default: the archive's parquet/)"
    )
    extract.add_argument(
        "--privacy-conn",
        metavar="ID",
        help="the connection with the key of the privacy policy. With it, fewer hours are read from the archive",
    )
    extract.add_argument(
        "--erasure-conn",
        default="ayla_erasure",
        metavar="ID",
        help="the connection with the keys of the erasure ledger, if there were erasures (default: ayla_erasure)",
    )
    extract.add_argument("--layouts", metavar="FILE.json", help="a list of declared layouts, as in the loads")
    extract.set_defaults(run=partial(_on_archive, open_connections, _extract))


def _add_quarantine(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], open_connections: OpenConnections
) -> None:
    command = commands.add_parser(
        "quarantine",
        help="show why lines are in the quarantine, and try them again",
        description="The quarantine of an archive has the lines that couldn't be read. It prints no content of a line. "
        f"{TIMES}",
    )
    actions = command.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list",
        help="show event type, month, reason, and how many lines",
        description="Reads the quarantine files of the hours. Exit status: 0 done, 2 it can't be read, or wrong usage.",
    )
    listing.add_argument("--json", action="store_true", help="print a list")
    replaying = actions.add_parser(
        "replay",
        help="make the rows of the hours again that have quarantined lines",
        description="Makes the typed rows again from the archive, after a layout was declared, or this package was "
        "upgraded. The DAG that verifies a warehouse then loads the hours that differ. Exit status: 0 done, 1 an hour "
        "couldn't be tried, 2 it can't be done, or wrong usage.",
    )
    replaying.add_argument(
        "--parquet", metavar="URL", help="where the typed rows are, as in the loads (default: the archive's parquet/)"
    )
    replaying.add_argument("--reason", metavar="TEXT", help="only hours with a reason that has this text")
    replaying.add_argument("--layouts", metavar="FILE.json", help="a list of declared layouts, as in the loads")
    replaying.add_argument("--ignored-file", action="append", default=[], metavar="NAME", help="as in the loads")
    replaying.add_argument("--privacy-conn", metavar="ID", help="the connection with the key of the privacy policy")
    for action, run in ((listing, _quarantine_list), (replaying, _quarantine_replay)):
        add_archive(action)
        add_hours(action, event_types="all", first="366d")
        action.set_defaults(run=partial(_on_archive, open_connections, run))


def _add_device(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], open_connections: OpenConnections
) -> None:
    device = commands.add_parser(
        "device",
        help="list all events of one device in their order",
        description="Lists the events of one device, of all types, in the order of their times, from the typed rows of "
        "the archive. IT PRINTS PERSONAL DATA: don't put the output into a log or a ticket. What the erasure ledger "
        "names is left out. Hours that can't be shown are named, with CSV on stderr. Needs no warehouse and no "
        f"connection to Ayla. {TIMES} Exit status: 0 all hours are known, 1 some aren't, 2 the archive can't be read, "
        "or wrong usage.",
    )
    device.add_argument("dsn", metavar="DSN", help="the device's serial number")
    add_archive(device)
    add_hours(device, event_types="those that the archive has", first="7d")
    device.add_argument(
        "--parquet", metavar="URL", help="where the typed rows are, as in the loads (default: the archive's parquet/)"
    )
    device.add_argument(
        "--erasure-conn",
        default="ayla_erasure",
        metavar="ID",
        help="the Airflow connection whose password has the keys of the ledger, if something was erased (default: "
        "%(default)s)",
    )
    device.add_argument(
        "--privacy-conn", metavar="ID", help="the connection with the key of the privacy policy, if it hashes columns"
    )
    output = device.add_mutually_exclusive_group()
    output.add_argument("--csv", action="store_true", help="print CSV; its last column has all of a row, as JSON")
    output.add_argument("--json", action="store_true", help="print an object")
    device.set_defaults(run=partial(_on_archive, open_connections, _device))


def _device(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.cli.device import unknown_lines, write_csv, write_json, write_table
    from ayla_provider.domain.events import parse_event_type
    from ayla_provider.domain.hour import describe_hour
    from ayla_provider.domain.paths import typed_rows_url
    from ayla_provider.errors import AylaConfigError
    from ayla_provider.rows.history import DeviceHistory

    types = [parse_event_type(name) for name in arguments.event_type] if arguments.event_type else None
    rows = typed_rows_url(arguments.destination, arguments.parquet or "")
    with DeviceHistory(
        connections.destination(arguments.destination, arguments.destination_conn),
        connections.destination(rows, arguments.destination_conn),
        arguments.dsn,
        policy_key=connections.password(arguments.privacy_conn) if arguments.privacy_conn else "",
        erasure_keys=partial(connections.erasure_keys, arguments.erasure_conn),
    ) as history:
        start = first_hour(arguments.since, connections.first_hour())
        if start >= arguments.until:
            raise AylaConfigError(
                f"--since {describe_hour(start)}: it must be before --until {describe_hour(arguments.until)}"
            )
        history.read(types, start, arguments.until)
        if arguments.json:
            write_json(history, arguments.dsn, stdout)
        elif arguments.csv:
            write_csv(history, stdout)
            for line in unknown_lines(history):
                print(line, file=sys.stderr)
        else:
            write_table(history, arguments.dsn, stdout)
        return 1 if history.unknown else 0


def _quarantine_list(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.cli.quarantine import hours_of, print_reasons
    from ayla_provider.rows.quarantined import reasons_of

    archive = connections.destination(arguments.destination, arguments.destination_conn)
    print_reasons(reasons_of(archive, hours_of(archive, arguments)), stdout, as_json=arguments.json)
    return 0


def _quarantine_replay(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.cli.extract import declared_in
    from ayla_provider.cli.quarantine import hours_of, print_replayed, replayed
    from ayla_provider.domain.paths import typed_rows_url

    archive = connections.destination(arguments.destination, arguments.destination_conn)
    rows = typed_rows_url(arguments.destination, arguments.parquet or "")
    results = replayed(
        archive,
        connections.destination(rows, arguments.destination_conn),
        hours_of(archive, arguments),
        reason=arguments.reason,
        policy_key=connections.password(arguments.privacy_conn) if arguments.privacy_conn else "",
        layouts=declared_in(arguments.layouts),
        ignored_files=arguments.ignored_file,
    )
    return print_replayed(results, stdout)


def _extract(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.cli.extract import declared_in, extract, read_request
    from ayla_provider.domain.paths import typed_rows_url
    from ayla_provider.domain.units import counted

    found = extract(
        connections.destination(arguments.destination, arguments.destination_conn),
        connections.destination(
            typed_rows_url(arguments.destination, arguments.parquet or ""), arguments.destination_conn
        ),
        read_request(arguments.request, connections, arguments.request_conn),
        Path(arguments.out),
        policy_key=connections.password(arguments.privacy_conn) if arguments.privacy_conn else "",
        layouts=declared_in(arguments.layouts),
        erasure_keys=partial(connections.erasure_keys, arguments.erasure_conn),
    )
    events = counted(found.rows, "event", "events")
    lines = counted(len(found.lines), "unreadable line", "unreadable lines")
    print(f"In {arguments.out}: {events}, {lines}.", file=stdout)
    for hour in found.not_readable:
        print(f"{hour} can't be read any more.", file=stdout)
    return 1 if found.not_readable else 0


def _retention(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.cli.retention import print_retained, retain
    from ayla_provider.domain.paths import typed_rows_url
    from ayla_provider.errors import AylaConfigError

    layers = ("archive", "parquet", "quarantine", "tables")
    keep_for = {layer: getattr(arguments, f"keep_{layer}") for layer in layers}
    keep_for = {layer: time for layer, time in keep_for.items() if time}
    if not keep_for:
        raise AylaConfigError("say how long to keep something: --keep-archive, --keep-parquet, or another one")
    if ("tables" in keep_for) != bool(arguments.duckdb):
        raise AylaConfigError("--keep-tables and --duckdb belong together")
    found = retain(
        connections.destination(arguments.destination, arguments.destination_conn),
        connections.destination(
            typed_rows_url(arguments.destination, arguments.parquet or ""), arguments.destination_conn
        ),
        keep_for,
        event_types=arguments.event_type,
        warehouse=_warehouse(arguments),
        remove=arguments.remove,
    )
    print_retained(found, stdout, removed=arguments.remove, as_json=arguments.json)
    return 0


def _hold_list(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.cli.retention import list_holds, print_holds

    holds = list_holds(connections.destination(arguments.destination, arguments.destination_conn))
    print_holds(holds, stdout, as_json=arguments.json)
    return 0


def _hold_place(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.cli.retention import place, print_holds

    archive = connections.destination(arguments.destination, arguments.destination_conn)
    key = connections.password(arguments.key_conn) if arguments.key_conn else ""
    print_holds([place(archive, arguments, key)], stdout, as_json=False)
    return 0


def _hold_release(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.cli.retention import release

    release(connections.destination(arguments.destination, arguments.destination_conn), arguments.id)
    print(f"The legal hold {arguments.id} is released.", file=stdout)
    return 0


def _check(open_connections: OpenConnections, arguments: argparse.Namespace) -> int:
    from ayla_provider.source.check import check

    stdout = sys.stdout
    with open_connections() as connections:
        steps = check(connections.check(arguments.conn), _shown_step(arguments, stdout))
    return _steps_status(steps, arguments)


def _check_stream(open_connections: OpenConnections, arguments: argparse.Namespace) -> int:
    from ayla_provider.stream.check import check_stream

    stdout = sys.stdout
    name = f"the connection {arguments.conn}" if arguments.conn else "the credentials of this machine"
    with open_connections() as connections:
        open_stream = partial(connections.stream, arguments.url, arguments.conn)
        steps = check_stream(open_stream, name, _shown_step(arguments, stdout))
    return _steps_status(steps, arguments)


def _shown_step(arguments: argparse.Namespace, stdout: TextIO) -> Callable[[Step], None]:
    """Return what shows a step as soon as it ends. With --json, all are shown at the end."""
    if arguments.json:
        return lambda step: None
    width = shutil.get_terminal_size().columns if stdout.isatty() else None
    return lambda step: print(_step_text(step, width), file=stdout, flush=True)


def _steps_status(steps: list[Step], arguments: argparse.Namespace) -> int:
    """Print the steps if that wasn't done yet, and return the exit status."""
    if arguments.json:
        print(json.dumps([asdict(step) for step in steps], indent=1))
    return int(any(step.ok is False for step in steps))


def _on_archive(
    open_connections: OpenConnections,
    run: Callable[[argparse.Namespace, Connections, TextIO], int],
    arguments: argparse.Namespace,
) -> int:
    """Run a command that needs an archive, and print why it can't if it can't."""
    stdout = sys.stdout
    with open_connections() as connections:
        try:
            arguments.destination = arguments.destination or connections.default_destination()
            return run(arguments, connections, stdout)
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001 - a person sees it; Airflow's hooks raise anything
            subject = " and ".join(filter(None, (getattr(arguments, "conn", None), arguments.destination)))
            print(": ".join(filter(None, ("error", subject, _error_text(error, connections)))), file=sys.stderr)
            return 2


def _report(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.archive.stream_report import read_position
    from ayla_provider.cli.report import open_report
    from ayla_provider.cli.report_table import header

    archive = connections.destination(arguments.destination, arguments.destination_conn)
    position, _ = read_position(archive)
    if position:
        return _report_stream(arguments, connections, stdout, archive, position)
    wanted = connections.first_hour()
    report = open_report(
        connections,
        conn_id=arguments.conn,
        destination=arguments.destination,
        destination_conn_id=arguments.destination_conn,
        event_types=arguments.event_type,
        since=first_hour(arguments.since, wanted),
        until=arguments.until,
        expiring=arguments.expiring,
        not_before=wanted,
    )
    if arguments.json:
        # Written in pieces: the text of a year's rows takes much memory.
        json.dump(report.document(_with_progress(report, rows_are_shown=False)), stdout, indent=1)
        print(file=stdout)
    else:
        print(f"{report.title}\n\n{header(report.width)}", file=stdout)
        for row in _with_progress(report, rows_are_shown=stdout.isatty()):
            print(row.line(report.width), file=stdout)
        print(f"\n{report.name}\n{report.summary.text()}", file=stdout)
    return 0 if report.summary.complete else 1


def _report_stream(
    arguments: argparse.Namespace,
    connections: Connections,
    stdout: TextIO,
    archive: Destination,
    position: StreamPosition,
) -> int:
    from ayla_provider.cli.stream_report import StreamArchiveReport

    report = StreamArchiveReport(
        archive,
        position,
        destination_conn_id=arguments.destination_conn,
        event_types=arguments.event_type,
        since=first_hour(arguments.since, connections.first_hour()),
        until=arguments.until,
        now=datetime.now(UTC),
    )
    report.read()
    if arguments.json:
        json.dump(report.document(), stdout, indent=1)
        print(file=stdout)
    else:
        for line in report.text():
            print(line, file=stdout)
    return report.status


def _verify(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.cli.verify import VerifyReport
    from ayla_provider.domain.paths import typed_rows_url

    rows = typed_rows_url(arguments.destination, arguments.parquet or "")
    report = VerifyReport(
        connections.destination(arguments.destination, arguments.destination_conn),
        connections.destination(rows, arguments.destination_conn),
        event_types=arguments.event_type,
        since=first_hour(arguments.since, connections.first_hour()) if arguments.since else None,
        until=arguments.until,
        expected_retention=arguments.expected_retention,
        read_every=arguments.read_every,
        warehouse=_any_warehouse(arguments, connections),
    )
    if arguments.json:
        json.dump(report.document(), stdout, indent=1)
        print(file=stdout)
    else:
        print(f"{report.title}\n", file=stdout)
        separator = ""
        for finding in report.findings():
            print(finding, file=stdout, flush=stdout.isatty())
            separator = "\n"
        print(f"{separator}{report.text()}", file=stdout)
    return 0 if report.is_whole else 1


def _erase(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.cli.erase import erase

    warehouse = _warehouse(arguments)
    document = erase(arguments, connections, [warehouse] if warehouse else [])
    if arguments.json:
        json.dump(document, stdout, indent=1)
        print(file=stdout)
    else:
        from ayla_provider.cli.erase import text_of

        for line in text_of(document, applied=arguments.apply):
            print(line, file=stdout)
    return 0


def _completeness(arguments: argparse.Namespace, connections: Connections, stdout: TextIO) -> int:
    from ayla_provider.cli.completeness import CompletenessReport
    from ayla_provider.domain.paths import typed_rows_url
    from ayla_provider.rows.completeness import Side

    def side(url: str, conn_id: str | None, parquet: str | None) -> Side:
        rows = typed_rows_url(url, parquet or "")
        return Side(connections.destination(url, conn_id), connections.destination(rows, conn_id))

    report = CompletenessReport(
        side(arguments.destination, arguments.destination_conn, arguments.parquet),
        side(arguments.stream_archive, arguments.stream_archive_conn, arguments.stream_parquet),
        event_types=arguments.event_type,
        since=first_hour(arguments.since, connections.first_hour()),
        until=arguments.until,
    )
    report.compare()
    if arguments.json:
        json.dump(report.document(), stdout, indent=1)
        print(file=stdout)
    else:
        for line in report.for_support() if arguments.support else report.text():
            print(line, file=stdout)
    return report.status


def _any_warehouse(arguments: argparse.Namespace, connections: Connections) -> Warehouse | None:
    from ayla_provider.errors import AylaConfigError

    if not arguments.warehouse:
        return _warehouse(arguments)
    if arguments.duckdb:
        raise AylaConfigError("give --duckdb or --warehouse, not both")
    kind, *rest = arguments.warehouse
    if kind == "duckdb":
        # DuckDB would create a file that doesn't exist.
        raise AylaConfigError("give --duckdb for a DuckDB file")
    wrong = [text for text in rest if "=" not in text]
    if wrong:
        raise AylaConfigError(f"--warehouse {kind} has {wrong[0]!r}: expected NAME=VALUE, such as namespace=ayla")
    return connections.warehouse(kind, dict(text.split("=", 1) for text in rest))


def _warehouse(arguments: argparse.Namespace) -> DuckDBWarehouse | None:
    from ayla_provider.errors import AylaConfigError
    from ayla_provider.warehouse.duckdb import DuckDBWarehouse

    path = arguments.duckdb
    if path is None:
        return None
    if not Path(path).is_file():
        # DuckDB would create it.
        raise AylaConfigError(f"--duckdb is {path}: there is no such file")
    return DuckDBWarehouse(path, schema=arguments.schema, table_prefix=arguments.table_prefix)


def _error_text(error: Exception, connections: Connections) -> str:
    """Return an error for a person: without a secret, and without a text that may hold one."""
    from ayla_provider.errors import AylaError
    from ayla_provider.transport.redaction import redacted

    if isinstance(error, AylaError):
        return for_shell(redacted(str(error), connections.secrets()))
    return f"unexpected: {type(error).__name__}. Check the connection of the destination."


_TASK = re.compile(r"\b([Cc])lear (?:the|this) task\b(?: again)?")
"""What errors advise, because most of them are read in the log of a task."""


def for_shell(message: str) -> str:
    """Return an error's message for a person at a shell, who has no task to clear."""
    return _TASK.sub(lambda match: f"{'R' if match[1] == 'C' else 'r'}un this command again", message)


def _inspect(arguments: argparse.Namespace) -> int:
    from ayla_provider.cli.inspect import look_into
    from ayla_provider.errors import AylaConfigError

    try:
        inspection = look_into(arguments.file, event_type=arguments.event_type, layouts=arguments.layouts)
    except AylaConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps(inspection.document(), indent=1))
    else:
        for line in inspection.text():
            print(line)
    return 0 if inspection.recognised else 1


def _with_progress(report: Report, *, rows_are_shown: bool) -> Iterator[Row]:
    """
    Yield the rows, and show the progress to a person who waits at a terminal.

    :param rows_are_shown: whether the terminal shows the rows themselves, which is progress enough
    """
    if rows_are_shown or not sys.stderr.isatty():
        yield from report.rows()
        return
    for done, row in enumerate(report.rows()):
        if done % 500 == 0:
            print(f"\r{done:,} of {report.total:,} hours compared", end="", file=sys.stderr, flush=True)
        yield row
    print(f"\r{report.total:,} hours compared         ", file=sys.stderr)


def _step_text(step: Step, width: int | None) -> str:
    """
    Return a step for a person.

    :param width: of the terminal, at which lines wrap; None for a file or a pipe, where each line stays whole
    """
    lines = [f"{_MARKS[step.ok]:8}{step.name:24}{step.detail}".rstrip()]
    if step.advice:
        label = "what to do" if step.ok is False else "note"
        lines.append(f"{_INDENT}{label}: {step.advice}")
    if width:
        # A long address or path stays whole, so that it can be copied.
        wrap = partial(
            textwrap.wrap, width=width, subsequent_indent=_INDENT, break_long_words=False, break_on_hyphens=False
        )
        lines = [part for line in lines for part in wrap(line)]
    return "\n".join(lines)
