"""What a copy means in OpenLineage's terms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from ayla_provider.archive.archive import ArchiveReport
    from ayla_provider.source.export import Export


def copy_lineage(
    export: Export, event_type: str, destination: str, report: ArchiveReport
) -> OperatorLineage[Any, Any] | None:
    """Return inputs and outputs of a copy; None if Airflow's OpenLineage provider isn't installed."""
    try:
        from airflow.providers.openlineage.extractors import OperatorLineage
        from openlineage.client.event_v2 import InputDataset, OutputDataset
        from openlineage.client.facet_v2 import output_statistics_output_dataset
    except ImportError:
        return None
    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        fileCount=report.files, size=report.bytes
    )
    scheme, _, rest = destination.partition("://")
    bucket, _, prefix = rest.partition("/")
    name = "/".join(part for part in (prefix.strip("/"), f"event_type={event_type}") if part)
    folder = export.prefix(export.folder_of(event_type)).rstrip("/")
    return OperatorLineage(
        inputs=[InputDataset(namespace=export.source.url, name=folder)],
        outputs=[
            OutputDataset(
                namespace="file" if scheme == "file" else f"{scheme}://{bucket}",
                name=f"/{name}" if scheme == "file" else name,
                outputFacets={"outputStatistics": statistics},
            )
        ],
    )
