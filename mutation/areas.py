"""Which modules are mutated, and which tests run against each mutant."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Area:
    """
    Modules that have one score.

    :ivar name: as the results show it
    :ivar modules: patterns of paths, as mutmut takes them
    :ivar tests: files, folders, and ids of tests, as pytest takes them. Of these, each mutant gets those that call its
        function. They are fast, start no process, and change no global state.
    :ivar share: percentage of the mutants that a run tests by default
    :ivar slow: parts of the names of tests that are left out
    """

    name: str
    modules: tuple[str, ...]
    tests: tuple[str, ...]
    share: int
    slow: tuple[str, ...] = ()

    @property
    def pytest_arguments(self) -> list[str]:
        """What pytest takes to run the tests."""
        left_out = ["-k", f"not ({' or '.join(self.slow)})"] if self.slow else []
        return [*self.tests, *left_out]


AREAS = (
    Area(
        name="domain",
        modules=("ayla_provider/domain/*",),
        tests=(
            "tests/domain",
            # These need no typed rows.
            *(
                f"tests/rows/test_privacy.py::test_{name}"
                for name in (
                    "a_policy_knows_which_versions_it_made",
                    "a_policy_that_cannot_be_is_refused_without_its_key",
                    "every_hash_begins_with_the_id_of_its_key",
                    "rows_are_complete_if_no_column_that_tells_events_apart_is_dropped",
                    "treatments_that_are_no_mapping_are_named",
                    "what_version_0_1_made_is_the_same_if_nothing_is_hashed",
                )
            ),
            "tests/rows/test_stream_shapes.py",
        ),
        share=2,
    ),
    Area(
        name="guard",
        modules=("ayla_provider/source/guard.py",),
        tests=("tests/source/test_guard.py",),
        share=100,
        slow=("many_processes", "on_one_machine_no_process"),
    ),
    Area(
        name="archive",
        modules=("ayla_provider/archive/archive.py", "ayla_provider/archive/transfer.py"),
        tests=(
            "tests/archive/test_archive.py",
            "tests/archive/test_copy_parts.py",
            "tests/archive/test_erased_copies.py",
            "tests/archive/test_lost.py",
            "tests/archive/test_reconcile.py",
            "tests/archive/test_removal.py::test_removed_hours_are_not_reported_compared_or_copied_again",
            "tests/archive/test_take_in.py",
            "tests/archive/test_transfer.py",
            "tests/archive/test_trust.py",
        ),
        share=7,
        # These test the reader and the clients of stores, which aren't in the area, or take as long as all others.
        slow=("killed", "download", "upload", "fleets_hours", "cost_grows", "many_files_are_copied"),
    ),
    Area(
        name="stream",
        modules=("ayla_provider/archive/stream_drain.py", "ayla_provider/archive/stream_upload.py"),
        tests=(
            "tests/archive/test_erased_streams.py",
            "tests/archive/test_stream.py",
            "tests/archive/test_stream_crashes.py",
            "tests/archive/test_stream_gaps.py",
        ),
        share=15,
    ),
    Area(
        name="erasure",
        modules=(
            "ayla_provider/archive/erasures.py",
            "ayla_provider/archive/erasure_requests.py",
            "ayla_provider/rows/erase.py",
            "ayla_provider/rows/naming.py",
        ),
        tests=(
            "tests/archive/test_erased_copies.py",
            "tests/archive/test_erased_streams.py",
            "tests/archive/test_erasure_folder.py",
            "tests/archive/test_erasure_ledger.py",
            "tests/archive/test_erasure_requests.py",
            "tests/archive/test_line_filter.py",
            # Those of whole runs, in tests/warehouse, take so long that no mutant would get one.
            "tests/rows/test_erase_hours.py",
            "tests/rows/test_naming.py",
            "tests/rows/test_naming_agrees.py",
        ),
        share=5,
        slow=("no_more_time",),
    ),
    Area(
        name="verify",
        modules=("ayla_provider/archive/verify.py", "ayla_provider/rows/verify.py"),
        tests=(
            "tests/archive/test_reading.py",
            "tests/archive/test_verify_findings.py",
            "tests/destinations/test_verify.py",
            "tests/rows/test_verify_rows.py",
        ),
        share=15,
        # Of the stores, disks and Cloud Storage are enough, and need no server.
        slow=("s3", "abfs", "memory", "killed"),
    ),
)
