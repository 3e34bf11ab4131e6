"""``ls``, ``get``, and ``cat``: files of the export or of the archive."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import TYPE_CHECKING

from ayla_provider.cli.arguments import add_archive
from ayla_provider.cli.running import error_text

if TYPE_CHECKING:
    from ayla_provider.cli.arguments import Commands

_FILE_PATHS = (
    "PATH is the address of the export, ayla://CONNECTION/..., with the names that Ayla gave its folders and files, "
    "such as 'ayla://ayla_default/Datapoint/2026-11-01 07:00:00'. Any other PATH is relative to the archive, such as "
    "event_type=datapoint/date=2026-11-01. It can have the wildcards *, ? and [...], each within one folder; quote "
    "them. "
)


def add(commands: Commands) -> None:
    """Add the commands and their arguments."""
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
    shown.set_defaults(run=partial(_on_files, "list_files"))
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
    get.set_defaults(run=partial(_on_files, "get_files"))
    cat = commands.add_parser(
        "cat",
        help="print a file of the export or of the archive",
        description="Writes the content of a file to the standard output, and compares its checksum at the end. "
        f"{_FILE_PATHS}Exit status: 0 all was written, 1 there is no such file, 2 it can't be read or its content is "
        "wrong, or wrong usage.",
    )
    cat.add_argument("path", metavar="PATH", help="a file")
    add_archive(cat)
    cat.set_defaults(run=partial(_on_files, "print_file"))


def _on_files(name: str, arguments: argparse.Namespace) -> int:
    """
    Run a command of files, and print why it can't if it can't.

    :param name: of the function in :mod:`ayla_provider.cli.files`
    """
    from ayla_provider.cli import files

    stdout = sys.stdout
    with arguments.open_connections() as connections:
        try:
            getattr(files, name)(arguments, connections, stdout)
        except BrokenPipeError:
            raise
        except files.NothingError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except Exception as error:  # noqa: BLE001 - a person sees it; Airflow's hooks raise anything
            print(f"error: {arguments.path}: {error_text(error, connections)}", file=sys.stderr)
            return 2
    return 0
