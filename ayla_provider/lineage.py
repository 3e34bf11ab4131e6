"""What a copy is in OpenLineage's terms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ayla_provider.destinations import lineage_name

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from ayla_provider.archive.archive import ArchiveReport
    from ayla_provider.domain.events import EventType
    from ayla_provider.source.export import Export

__all__ = ["copy_lineage"]


def copy_lineage(
    export: Export, event_type: EventType, destination: str, report: ArchiveReport
) -> OperatorLineage[Any, Any] | None:
    """
    Return the inputs and outputs of a copy.

    :param destination: the destination's URL
    :returns: None if Airflow's OpenLineage provider isn't installed
    """
    try:
        from airflow.providers.openlineage.extractors import OperatorLineage
        from openlineage.client.event_v2 import InputDataset, OutputDataset
        from openlineage.client.facet_v2 import output_statistics_output_dataset
    except ImportError:
        return None
    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        fileCount=report.files, size=report.bytes
    )
    source_folder = export.prefix(export.folder_of(event_type)).rstrip("/")
    namespace, name = lineage_name(destination, f"event_type={event_type}")
    return OperatorLineage(
        inputs=[InputDataset(namespace=export.source.url, name=source_folder)],
        outputs=[
            OutputDataset(namespace=namespace, name=name, outputFacets={"outputStatistics": statistics}),
        ],
    )
