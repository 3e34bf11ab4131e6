"""What buckets keep of objects that were replaced or removed, through clients of their own."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from google.cloud import storage

from tests.support.object_stores import aws_client
from tests.support.places import Place


class Versions:
    """What a bucket has of versions, through a client of its own."""

    def __init__(self, place: Place, s3_url: str, client: storage.Client | None) -> None:
        self._bucket = place.destination.url.split("/")[2]
        self._root = "ayla/archive/"
        self._s3 = aws_client(s3_url) if place.kind == "s3" else None
        self._gcs = client

    def all(self) -> dict[tuple[str, str], bytes]:
        """Each version that can be fetched: path and number to content. A mark of deletion has none."""
        found = {}
        if self._s3:
            listed = self._s3.list_object_versions(Bucket=self._bucket)
            for one in listed.get("Versions", []):
                answer = self._s3.get_object(Bucket=self._bucket, Key=one["Key"], VersionId=one["VersionId"])
                found[one["Key"], one["VersionId"]] = answer["Body"].read()
            found |= {(one["Key"], one["VersionId"]): b"" for one in listed.get("DeleteMarkers", [])}
        elif self._gcs:
            for blob in self._gcs.list_blobs(self._bucket, versions=True):
                found[blob.name, str(blob.generation)] = blob.download_as_bytes()
        return {(name.removeprefix(self._root), number): content for (name, number), content in found.items()}

    def fetch(self, path: str, number: str) -> bytes | None:
        """Return a version's content, None if it can't be fetched any more."""
        try:
            if self._s3:
                answer = self._s3.get_object(Bucket=self._bucket, Key=self._root + path, VersionId=number)
                return bytes(answer["Body"].read())
            assert self._gcs
            blob = self._gcs.bucket(self._bucket).blob(self._root + path, generation=int(number))
            return bytes(blob.download_as_bytes())
        except Exception as error:
            if "404" in str(error) or "NoSuchVersion" in str(error):
                return None
            raise

    def write_below(self, folder: Path) -> Path:
        """Write each version into a file, whose path ends as the object's, and return the folder."""
        for (path, number), content in self.all().items():
            file = (folder / path).with_name(f"{number}-{path.rpartition('/')[2]}")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        return folder

    def lock(self, path: str, until: datetime) -> None:
        """Let a lock keep all versions of an object that the bucket has now."""
        for name, number in self.all():
            if name == path and self._s3:
                self._s3.put_object_retention(
                    Bucket=self._bucket,
                    Key=self._root + path,
                    VersionId=number,
                    Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until},
                )
