"""
Fuzzes a parser: ``python -m fuzz TARGET [--seconds 60]``. Without a target, all of them, one after the other.

With atheris installed, its engine looks for inputs that reach new code. Without, hypothesis makes them.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fuzz.mutations import inputs
from fuzz.targets import EXAMPLES, TARGETS


def main() -> int:
    """Run the command, and return the exit status: 1 if an input raises an error that isn't documented."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("target", nargs="?", choices=[*TARGETS, []], default=[], help="by default all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: %(default)s)")
    arguments = parser.parse_args()
    names = [arguments.target] if arguments.target else list(TARGETS)
    has_engine = importlib.util.find_spec("atheris") is not None
    failed = []
    for name in names:
        found = with_atheris(name, arguments.seconds) if has_engine else with_hypothesis(name, arguments.seconds)
        print(f"{name}: {found}", flush=True)
        if not found.endswith("no finding"):
            failed.append(name)
    return 1 if failed else 0


def with_atheris(name: str, seconds: int) -> str:
    """Fuzz a target with atheris in a process of its own, because its engine ends the process."""
    program = (
        "import sys, atheris\n"
        "with atheris.instrument_imports(include=['ayla_provider']):\n"
        "    from fuzz.targets import TARGETS\n"
        f"atheris.Setup(sys.argv, TARGETS[{name!r}])\n"
        "atheris.Fuzz()\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        for number, example in enumerate(EXAMPLES[name]):
            (Path(folder) / str(number)).write_bytes(example)
        command = [sys.executable, "-c", program, folder, f"-max_total_time={seconds}", "-max_len=20000"]
        # An input that was found is also in the output, in base64.
        command.append(f"-artifact_prefix={folder}/")
        ran = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - it is this program
    runs = next((line for line in ran.stderr.splitlines() if line.startswith("Done ")), "")
    return f"{runs or ran.stdout + ran.stderr}, {'no finding' if ran.returncode == 0 else 'A FINDING'}"


def with_hypothesis(name: str, seconds: int) -> str:
    """Fuzz a target with inputs of hypothesis."""
    from hypothesis import HealthCheck, given, settings

    until = time.monotonic() + seconds
    runs = 0

    @settings(max_examples=10**9, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(inputs(EXAMPLES[name]))
    def run(data: bytes) -> None:
        nonlocal runs
        if time.monotonic() > until:
            raise TimeoutError
        runs += 1
        TARGETS[name](data)

    try:
        run()
    except TimeoutError:
        return f"{runs:,} inputs, no finding"
    except BaseExceptionGroup as group:
        return f"A FINDING: {group.exceptions}"
    return f"{runs:,} inputs, no finding"


if __name__ == "__main__":
    sys.exit(main())
