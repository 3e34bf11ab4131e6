"""What universal_pathlib must know of ``ayla://``: Airflow's ``ObjectStoragePath`` is made of it."""

from __future__ import annotations

from fsspec import register_implementation
from upath.implementations.cloud import CloudPath

from ayla_provider.filesystem import AylaFileSystem

__all__ = ["AylaPath"]

# It asks the file systems that are imported how their paths begin. Without an answer, it assumes a slash at the
# beginning, and then the names in a folder lack their first character.
register_implementation("ayla", AylaFileSystem)


class AylaPath(CloudPath):
    """A path in the export of a connection. An entry point names it, so that it is imported before the first path."""

    __slots__ = ()
