"""The vendor's bucket as folders and files, for people and for libraries that read files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ayla_provider.source.bucket import SourceObject

if TYPE_CHECKING:
    from ayla_provider.source.export import Export


class ExportTree:
    """
    The export as folders and files. Paths are relative to the export's root, without slashes at the ends.

    Each call takes listings of its own, so what it returns is what the bucket has now.

    :param export: the export
    """

    def __init__(self, export: Export) -> None:
        self._export = export

    def path(self, item: SourceObject) -> str:
        """Return the path of an object."""
        return item.name.removeprefix(self._export.root)

    def entries(self, folder: str, begin: str = "") -> Iterator[SourceObject | str]:
        """
        Yield what is directly in a folder: objects, and the paths of folders, as the bucket lists them.

        It takes a request for each 1,000 entries.

        :param folder: empty for the root
        :param begin: how the names in the folder begin
        :raises AylaError: if the bucket can't be listed
        """
        prefix = f"{self._inside(folder)}{begin}"
        for entry in self._export.source.children(prefix, f"the list of {self._export.source.url}/{prefix}"):
            if isinstance(entry, str):
                yield entry.removeprefix(self._export.root)
            elif not entry.name.endswith("/"):
                # Some tools make objects that are placeholders for folders.
                yield entry

    def below(self, folder: str, begin: str = "") -> Iterator[SourceObject]:
        """
        Yield all objects in a folder and in the folders in it, in the order of their names.

        It takes a request for each 1,000 objects.

        :param folder: empty for the root
        :param begin: how the paths below the folder begin
        :raises AylaError: if the bucket can't be listed
        """
        prefix = f"{self._inside(folder)}{begin}"
        for item in self._export.source.objects(prefix, f"the list of {self._export.source.url}/{prefix}"):
            if not item.name.endswith("/"):
                yield item

    def find(self, path: str) -> SourceObject | None:
        """
        Return an object as it is now, None if there is none.

        :raises AylaError: if the bucket can't be listed
        """
        name = f"{self._export.root}{path}"
        what = f"the look for {self._export.source.url}/{name}"
        for item in self._export.source.objects(name, what, end_offset=f"{name}\0", max_results=1):
            if item.name == name:
                return item
        return None

    def is_folder(self, path: str) -> bool:
        """
        Return whether something is in a folder.

        :raises AylaError: if the bucket can't be listed
        """
        prefix = self._inside(path)
        what = f"the look into {self._export.source.url}/{prefix}"
        return any(True for _ in self._export.source.objects(prefix, what, max_results=1))

    def _inside(self, folder: str) -> str:
        return f"{self._export.root}{folder}/" if folder else self._export.root
