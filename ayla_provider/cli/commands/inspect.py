"""``inspect``: the layout of a CSV file."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ayla_provider.cli.arguments import Commands


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
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
