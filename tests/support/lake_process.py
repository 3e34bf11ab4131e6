"""A process that loads an hour into a lake: it says ready, waits for a line, writes, and says ok or an error."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path

from ayla_provider.domain.hour import ExportHour
from tests.support.lakes import HOUR, Lake
from tests.warehouse.loading import archive_of, load_of


def main() -> None:
    """Load the hour."""
    lake, folder, event_type, text = sys.argv[1:]
    hour = datetime.fromisoformat(text)
    archive = archive_of(Path(folder))
    made = archive.ensure(ExportHour(event_type, hour), {}).manifest
    with Lake(**json.loads(lake)).warehouse() as warehouse, archive.fetched(made) as parquet:
        warehouse.prepare(made.table)
        warehouse.loaded(event_type, hour, hour + HOUR)
        print("ready", flush=True)
        sys.stdin.readline()
        try:
            warehouse.replace(load_of(made, parquet))
        except Exception as error:  # noqa: BLE001 - its name is what it says
            print(type(error).__name__, flush=True)
            print(error, file=sys.stderr)
        else:
            print("ok", flush=True)


if __name__ == "__main__":
    main()
