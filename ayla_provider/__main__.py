"""``python -m ayla_provider``: the commands of an Airflow machine's shell."""

from __future__ import annotations

import sys

from ayla_provider.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
