"""What copies, drains, typed rows and loads are in OpenLineage's terms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ayla_provider.destinations import lineage_name

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from ayla_provider.archive.archive import ArchiveReport
    from ayla_provider.archive.stream import StreamReport
    from ayla_provider.domain.events import EventType
    from ayla_provider.domain.typed_manifest import TypedManifest
    from ayla_provider.rows.origins import Origins
    from ayla_provider.rows.typed_archive import TypedHourReport
    from ayla_provider.source.export import Export
    from ayla_provider.warehouse.base import NamedTable

__all__ = ["TypedRowsLineage", "copy_lineage", "is_reported", "stream_lineage"]

_TEXT = "text"
"""The type of each column of a file."""

_TREATED = {"hash": "hashed", "drop": "dropped"}
_TAG = "ayla_typed_rows"
"""The key of the tags of the files' columns that say that a privacy policy treats them."""


def is_reported() -> bool:
    """Return whether Airflow's OpenLineage provider is installed, and reports to somebody."""
    try:
        from airflow.providers.openlineage import conf
    except ImportError:
        return False
    return not conf.is_disabled()


def copy_lineage(
    export: Export, event_type: EventType, destination: str, report: ArchiveReport, columns: Sequence[str] = ()
) -> OperatorLineage[Any, Any] | None:
    """
    Return the inputs and outputs of a copy.

    :param destination: the destination's URL
    :param columns: those of the files; empty if they aren't known
    :returns: None if Airflow's OpenLineage provider isn't installed
    """
    try:
        from airflow.providers.openlineage.extractors import OperatorLineage
        from openlineage.client.event_v2 import InputDataset, OutputDataset
    except ImportError:
        return None
    lines = [manifest.lines for manifest in report.manifests]
    rows = None if None in lines else sum(filter(None, lines))
    lost = sum(len(manifest.lost) for manifest in report.manifests)
    source = (export.source.url, export.prefix(export.folder_of(event_type)).rstrip("/"))
    checks = [
        _Check("checksums", "The CRC32C of each copy is that of Ayla's file.", True),
        _Check("lost_files", "Files that neither side has any more.", lost == 0, expected="0", actual=str(lost)),
    ]
    quality = _quality(rows, report.bytes, report.files, checks)
    facets = _schema(dict.fromkeys(columns, _TEXT))
    same = {name: {name: "identity"} for name in columns}
    namespace, name = lineage_name(destination, f"event_type={event_type}")
    return OperatorLineage(
        inputs=[InputDataset(namespace=source[0], name=source[1], facets=facets, inputFacets=quality)],
        outputs=[
            OutputDataset(
                namespace=namespace,
                name=name,
                facets=facets | _column_lineage(same, *source),
                outputFacets=_statistics(rows, report.bytes, report.files),
            ),
        ],
    )


def stream_lineage(stream: str, destination: str, report: StreamReport) -> OperatorLineage[Any, Any] | None:
    """
    Return the input and the outputs of a drain: each folder of the destination that got files.

    :param stream: the URL of :attr:`~ayla_provider.stream.base.Stream.url`
    :param destination: the destination's URL
    :returns: None if Airflow's OpenLineage provider isn't installed
    """
    try:
        from airflow.providers.openlineage.extractors import OperatorLineage
        from openlineage.client.event_v2 import InputDataset, OutputDataset
    except ImportError:
        return None
    outputs = []
    for folder in sorted(report.files_by_folder):
        namespace, name = lineage_name(destination, folder)
        statistics = _statistics(None, report.bytes_by_folder[folder], report.files_by_folder[folder])
        outputs.append(OutputDataset(namespace=namespace, name=name, outputFacets=statistics))
    service, _, name = stream.rpartition("/")
    return OperatorLineage(inputs=[InputDataset(namespace=service, name=name)], outputs=outputs)


@dataclass(slots=True)
class TypedRowsLineage:
    """
    What a task did to the typed rows of some hours of one event type, and to a table of theirs.

    :param archive: the archive's URL
    :param rows_url: that of the typed rows
    """

    archive: str
    rows_url: str
    origins: Origins
    event_type: str = ""
    table: NamedTable | None = None
    """The table that the rows were loaded into."""
    changed: _Totals = field(default_factory=lambda: _Totals())
    """Of the hours that the task made or loaded."""
    made: _Totals = field(default_factory=lambda: _Totals())
    """Of the hours whose typed rows the task made."""

    def add(self, report: TypedHourReport) -> None:
        """Add an hour that the task made or loaded."""
        manifest = report.manifest
        self.event_type = manifest.hour.event_type
        self.origins.add(manifest, is_stream=report.is_stream)
        self.changed.add(manifest)
        if report.made:
            self.made.add(manifest)

    def facets(self) -> OperatorLineage[Any, Any] | None:
        """
        Return the inputs and outputs of the task.

        :returns: None if Airflow's OpenLineage provider isn't installed, or nothing changed
        """
        try:
            from airflow.providers.openlineage.extractors import OperatorLineage
            from openlineage.client.event_v2 import InputDataset, OutputDataset
        except ImportError:
            return None
        if not self.event_type:
            return None
        totals = self.changed
        archive = lineage_name(self.archive, f"event_type={self.event_type}")
        typed = lineage_name(self.rows_url, f"event_type={self.event_type}")
        columns = _column_lineage(self._texts(), *archive, masked=self.origins.hashed)
        outputs = []
        if self.made.files:
            schema = _schema(
                {column.name: column.type.value for column in self.origins.columns.values()},
                {column.name: column.description for column in self.origins.columns.values()},
            )
            statistics = _statistics(self.made.rows, self.made.bytes, self.made.rows_files)
            outputs.append(OutputDataset(*typed, facets=schema | columns, outputFacets=statistics))
        if self.table:
            described = {column.name: column.description for column in self.origins.columns.values()}
            outputs.append(
                OutputDataset(
                    self.table.namespace,
                    self.table.name,
                    facets=_schema(self.table.columns, described) | columns,
                    outputFacets=_statistics(totals.rows),
                )
            )
        files = dict.fromkeys(self.origins.file_columns, _TEXT)
        source = InputDataset(
            *archive,
            facets=_schema(files) | self._tags(),
            inputFacets=_quality(totals.lines, None, totals.files, totals.checks()),
        )
        return OperatorLineage(inputs=[source], outputs=outputs)

    def _texts(self) -> dict[str, dict[str, str]]:
        return {
            column: {name: origin.value for name, origin in origins.items()}
            for column, origins in self.origins.by_column.items()
        }

    def _tags(self) -> dict[str, Any]:
        """Return the facet that tags the files' columns of which the typed rows have only hashes, or nothing."""
        from openlineage.client.facet_v2 import tags_dataset

        tags = [
            tags_dataset.TagsDatasetFacetFields(_TAG, _TREATED[treatment], "airflow-provider-ayla", name)
            for name, treatment in self.origins.unseen().items()
        ]
        return {"tags": tags_dataset.TagsDatasetFacet(tags)} if tags else {}


@dataclass(slots=True)
class _Totals:
    """Counts of some hours."""

    hours: int = 0
    files: int = 0
    """Of the archive."""
    lines: int = 0
    rows: int = 0
    duplicates: int = 0
    quarantined: int = 0
    bytes: int = 0
    """Of the Parquet files."""
    rows_files: int = 0
    """How many Parquet files there are."""

    def add(self, manifest: TypedManifest) -> None:
        self.hours += 1
        self.files += len(manifest.files)
        self.lines += manifest.lines
        self.rows += manifest.rows
        self.duplicates += manifest.duplicates
        self.quarantined += manifest.quarantined
        self.bytes += manifest.bytes
        self.rows_files += len(manifest.rows_files)

    def checks(self) -> list[_Check]:
        balance = self.rows + self.duplicates + self.quarantined
        return [
            _Check(
                "balance",
                "Each line is a row, a duplicate, or malformed.",
                balance == self.lines,
                expected=str(self.lines),
                actual=str(balance),
            ),
            _Check(
                "malformed_lines",
                "Lines that couldn't be read. The quarantine has them.",
                self.quarantined == 0,
                expected="0",
                actual=str(self.quarantined),
            ),
            _Check(
                "duplicate_lines",
                "Lines that say the same as another one of their hour.",
                self.duplicates == 0,
                expected="0",
                actual=str(self.duplicates),
            ),
        ]


@dataclass(frozen=True, slots=True)
class _Check:
    """An assertion about a dataset, with its result."""

    name: str
    description: str
    success: bool
    expected: str | None = None
    actual: str | None = None


def _schema(columns: Mapping[str, str], descriptions: Mapping[str, str] | None = None) -> dict[str, Any]:
    """
    Return the facet of columns; none if they aren't known.

    :param columns: name to type
    """
    from openlineage.client.facet_v2 import schema_dataset

    described = descriptions or {}
    fields = [
        schema_dataset.SchemaDatasetFacetFields(name, kind, described.get(name)) for name, kind in columns.items()
    ]
    return {"schema": schema_dataset.SchemaDatasetFacet(fields)} if fields else {}


def _column_lineage(
    origins: Mapping[str, Mapping[str, str]], namespace: str, name: str, *, masked: Iterable[str] = ()
) -> dict[str, Any]:
    """
    Return the facet of where columns come from; none if that isn't known.

    :param origins: column to the columns of an input that it comes from, with how it does
    :param namespace: of the input
    :param name: of the input
    :param masked: the columns that are hashed
    """
    from openlineage.client.facet_v2 import column_lineage_dataset as facets

    hashed = set(masked)

    def transformation(how: str, column: str) -> facets.Transformation:
        if how == "condition":
            return facets.Transformation("INDIRECT", "CONDITIONAL", how, False)
        if column in hashed:
            words = "hashed" if how == "identity" else f"{how}, hashed"
            return facets.Transformation("DIRECT", "TRANSFORMATION", words, True)
        subtype = "IDENTITY" if how == "identity" else "TRANSFORMATION"
        return facets.Transformation("DIRECT", subtype, how, False)

    fields = {}
    for column, sources in origins.items():
        inputs = [
            facets.InputField(namespace, name, source, [transformation(how, column)]) for source, how in sources.items()
        ]
        fields[column] = facets.Fields(inputs)
    return {"columnLineage": facets.ColumnLineageDatasetFacet(fields)} if fields else {}


def _statistics(rows: int | None, size: int | None = None, files: int | None = None) -> dict[str, Any]:
    """Return the facet of what an output got. None for what isn't known."""
    from openlineage.client.facet_v2 import output_statistics_output_dataset as facets

    return {"outputStatistics": facets.OutputStatisticsOutputDatasetFacet(rowCount=rows, size=size, fileCount=files)}


def _quality(rows: int | None, size: int | None, files: int, checks: Iterable[_Check]) -> dict[str, Any]:
    """Return the facets of an input's quality. None for what isn't known."""
    import attr
    from openlineage.client.facet_v2 import data_quality_assertions_dataset as assertions
    from openlineage.client.facet_v2 import data_quality_metrics_input_dataset as metrics

    # Older versions of the client know fewer fields.
    known = {each.name for each in attr.fields(assertions.Assertion)}
    made = []
    for check in checks:
        facts: dict[str, Any] = {
            "assertion": check.name,
            "success": check.success,
            "severity": "warn",
            "name": check.name,
            "description": check.description,
            "expected": check.expected,
            "actual": check.actual,
        }
        made.append(assertions.Assertion(**{name: value for name, value in facts.items() if name in known}))
    return {
        "dataQualityMetrics": metrics.DataQualityMetricsInputDatasetFacet(
            columnMetrics={}, rowCount=rows, bytes=size, fileCount=files
        ),
        "dataQualityAssertions": assertions.DataQualityAssertionsDatasetFacet(made),
    }
