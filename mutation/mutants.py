"""
Tests the mutants of one area, in a folder that :mod:`mutation.__main__` has prepared.

mutmut makes the mutants, and notes which test calls which function. The rest is here: pytest collects the tests once,
and each mutant is tested in a child of that process. mutmut's own loop starts pytest for each mutant, which takes
longer than the tests, and runs all tests that call a function, however long they take.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import Phase, settings
from mutmut.__main__ import create_mutants
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state
from mutmut.utils.file_utils import copy_also_copy_files, copy_src_dir, setup_source_paths, walk_mutatable_files
from mutmut.utils.format_utils import mangled_name_from_mutant_name

from mutation.results import KILLED, SURVIVED, TIMEOUT, UNTESTED, Mutant, place_of

_BUDGET = 3.0
"""CPU seconds of tests for each mutant: the fastest that call its function, or the one fastest."""

_PATIENCE = 10
"""How many times more CPU than usual the tests may take, before an endless loop is assumed."""

_WAIT = 120
"""Seconds of the clock, besides the same patience, before an endless wait is assumed."""

_REPORT_EVERY = 25
"""After how many mutants the results are saved, and the tests of one also run without its fault."""


def make_mutants() -> list[Mutant]:
    """Copy the code and the tests into the folder ``mutants``, with all mutants of each function beside it."""
    set_mutant_under_test("mutant_generation")
    Path("mutants").mkdir(exist_ok=True)
    copy_src_dir()
    copy_also_copy_files()
    setup_source_paths()
    create_mutants(1)
    made = []
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        made += [Mutant(name, str(path)) for name in data.exit_code_by_key]
    return made


class MutantLoop:
    """
    A plugin of pytest. It runs all tests once, and then for each mutant those that call its function.

    :param mutants: get their results
    :param save: writes the results so far
    """

    def __init__(self, mutants: Iterable[Mutant], save: Callable[[], None]) -> None:
        self._mutants = mutants
        self._save = save
        self._cpu: dict[pytest.Item, float] = {}
        """CPU seconds of each test."""
        self._seconds: dict[pytest.Item, float] = {}
        """The same by the clock."""
        self._order: list[pytest.Item] = []
        """The tests, the fastest first."""
        self._calling: dict[str, set[pytest.Item]] = defaultdict(set)
        """Each function's tests."""
        self._is_child = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Let hypothesis generate the same examples each time, and not simplify one that fails."""
        settings.register_profile(
            "mutation",
            database=None,
            deadline=None,
            derandomize=True,
            max_examples=10,
            phases=[Phase.explicit, Phase.generate],
        )
        settings.load_profile("mutation")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Do instead of a simple run of the tests."""
        if session.testsfailed or not session.items:
            raise session.Failed("The tests can't be collected.")
        self._run_without_fault(session.items)
        session.config.pluginmanager.unregister(name="terminalreporter")
        begun = time.monotonic()
        killed = 0
        for number, mutant in enumerate(self._mutants, 1):
            tests = self._tests_of(mutant)
            if tests and number % _REPORT_EVERY == 1:
                self._check_without_fault(tests)
            mutant.result = self._run_in_child(mutant.name, tests) if tests else UNTESTED
            if mutant.is_killed:
                killed += 1
            else:
                mutant.change = changed_lines(mutant)
            if number % _REPORT_EVERY == 0:
                self._save()
                print(
                    f"{number:,}: {killed / number:.1%} killed, {time.monotonic() - begun:.0f} s, "
                    f"{resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime:.0f} s of CPU",
                    file=sys.__stderr__,
                    flush=True,
                )
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """End a child when a test has failed."""
        if self._is_child and report.failed:
            os._exit(1)

    def _run_without_fault(self, items: Sequence[pytest.Item]) -> None:
        """
        Note how long each test takes, and which functions it calls.

        :raises SystemExit: if a test fails
        """
        set_mutant_under_test("stats")
        os.environ["MUTMUT_DEPENDENCY_DEPTH"] = "-1"
        for item, following in _with_next(items):
            state()._stats.clear()
            begun, cpu = time.monotonic(), time.process_time()
            reports = runtestprotocol(item, nextitem=following, log=False)
            self._seconds[item], self._cpu[item] = time.monotonic() - begun, time.process_time() - cpu
            for report in reports:
                if report.failed:
                    raise SystemExit(f"{item.nodeid} fails without any fault:\n{report.longreprtext}")
            for function in state()._stats:
                self._calling[function].add(item)
        self._order = sorted(items, key=lambda item: self._seconds[item])
        set_mutant_under_test("")

    def _tests_of(self, mutant: Mutant) -> list[pytest.Item]:
        """Return the fastest tests that call a mutant's function."""
        calling = self._calling[mangled_name_from_mutant_name(mutant.name)]
        chosen: list[pytest.Item] = []
        spent = 0.0
        for item in self._order:
            if item not in calling:
                continue
            spent += self._cpu[item]
            if chosen and spent > _BUDGET:
                break
            chosen.append(item)
        return chosen

    def _check_without_fault(self, tests: Sequence[pytest.Item]) -> None:
        """
        Check that it is a fault that makes tests fail in a child, and nothing else.

        :raises SystemExit: if a test fails without
        """
        if self._run_in_child("", tests) != SURVIVED:
            raise SystemExit(f"One of these fails in a child without any fault: {[item.nodeid for item in tests]}")

    def _run_in_child(self, mutant: str, tests: Sequence[pytest.Item]) -> str:
        """Return the result of a mutant, by its name. It takes the place of its function."""
        child = os.fork()
        if child == 0:
            self._be_child(mutant, tests)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        shutil.rmtree(_temporary(child), ignore_errors=True)
        if status in (-signal.SIGXCPU, -signal.SIGKILL, -signal.SIGALRM):
            return TIMEOUT
        return KILLED if status else SURVIVED

    def _be_child(self, mutant: str, tests: Sequence[pytest.Item]) -> None:
        """Run the tests, and end the process."""
        status = 1
        try:
            patience = int(_PATIENCE * (1 + sum(self._cpu[item] for item in tests)))
            resource.setrlimit(resource.RLIMIT_CPU, (patience, patience + 1))
            signal.alarm(int(_WAIT + _PATIENCE * sum(self._seconds[item] for item in tests)))
            self._is_child = True
            factory: Any = tests[0].config._tmp_path_factory  # type: ignore[attr-defined]
            factory._given_basetemp, factory._basetemp = _temporary(os.getpid()).absolute(), None
            set_mutant_under_test(mutant)
            for item, following in _with_next(tests):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            status = 0
        finally:
            os._exit(status)


def _with_next(items: Sequence[pytest.Item]) -> Iterator[tuple[pytest.Item, Any]]:
    """Pass each test, and the next. After the last comes the session: fixtures of the session are still needed."""
    return zip(items, [*items[1:], items[0].session], strict=True)


def _temporary(process: int) -> Path:
    return Path("../temporary").absolute() / str(process)


def changed_lines(mutant: Mutant) -> list[str]:
    """Return the lines that a mutant removes and adds."""
    folder = Path.cwd()
    os.chdir(folder.parent)
    try:
        diff = get_diff_for_mutant(mutant.name, path=mutant.path).splitlines()
    finally:
        os.chdir(folder)
    return [line for line in diff if line.startswith(("-", "+")) and not line.startswith(("---", "+++"))]


def main() -> None:
    """Test the mutants of the current folder's area, and write their results into ``results.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=int, required=True, help="percentage of the mutants")
    parser.add_argument("--again", action="store_true", help="only those that weren't killed the last time")
    parser.add_argument("arguments", nargs="+", help="of pytest")
    arguments = parser.parse_args()
    file = Path("results.json").absolute()
    made = make_mutants()
    sample = sorted((mutant for mutant in made if place_of(mutant) < arguments.share / 100), key=place_of)
    if arguments.again and file.exists():
        for mutant, earlier in _pairs(sample, json.loads(file.read_text())["mutants"]):
            mutant.result = earlier.result if earlier.is_killed else ""
    todo = [mutant for mutant in sample if not mutant.is_killed]
    print(f"{len(made):,} mutants, {len(sample):,} in the sample, {len(todo):,} to test", flush=True)

    def save() -> None:
        tested = [asdict(mutant) for mutant in sample if mutant.result]
        file.write_text(json.dumps({"made": len(made), "mutants": tested}, indent=1))

    os.chdir("mutants")
    options = ["--rootdir=.", "-p", "no:xdist", "-p", "no:cacheprovider", "-W", "ignore", "--basetemp=../temporary/0"]
    status = pytest.main([*options, *arguments.arguments], plugins=[MutantLoop(todo, save)])
    save()
    sys.exit(status)


def _pairs(mutants: Iterable[Mutant], earlier: Iterable[dict[str, Any]]) -> Iterator[tuple[Mutant, Mutant]]:
    """Return the mutants that were tested before, with what came of them."""
    known = {one["name"]: Mutant(**one) for one in earlier}
    for mutant in mutants:
        if mutant.name in known:
            yield mutant, known[mutant.name]


if __name__ == "__main__":
    main()
