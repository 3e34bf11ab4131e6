"""What a copy, and what a drain of a stream, is in OpenLineage's terms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ayla_provider.destinations import lineage_name

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from ayla_provider.archive.archive import ArchiveReport
    from ayla_provider.archive.stream import StreamReport
    from ayla_provider.domain.events import EventType
    from ayla_provider.source.export import Export

__all__ = ["copy_lineage", "stream_lineage"]


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
        from openlineage.client.facet_v2 import output_statistics_output_dataset
    except ImportError:
        return None
    outputs = []
    for folder in sorted(report.files_by_folder):
        namespace, name = lineage_name(destination, folder)
        statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            fileCount=report.files_by_folder[folder], size=report.bytes_by_folder[folder]
        )
        outputs.append(OutputDataset(namespace=namespace, name=name, outputFacets={"outputStatistics": statistics}))
    service, _, name = stream.rpartition("/")
    return OperatorLineage(inputs=[InputDataset(namespace=service, name=name)], outputs=outputs)
