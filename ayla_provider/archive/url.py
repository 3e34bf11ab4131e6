"""A destination's URL, taken apart once."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from ayla_provider.domain.json_fields import CONTROL
from ayla_provider.errors import AylaConfigError

_EXPECTED = (
    "expected a URL such as gs://bucket/prefix, s3://bucket/prefix, abfs://container/prefix or file:///folder, "
    "without a port, a query, '.', '..' or control characters"
)

_OBJECT_STORES = ("gs", "gcs", "s3", "s3a", "abfs", "abfss")
"""The schemes whose URLs name a bucket or container, which has no port."""

_ALIASES = {"gcs": "gs"}
"""Other names of a scheme, as fsspec knows them."""


@dataclass(frozen=True, slots=True)
class DestinationUrl:
    """The parts of a destination's URL, ``scheme://bucket/path``."""

    scheme: str
    """In lower case, such as ``gs``."""
    bucket: str
    """The bucket or container. Empty for ``file``."""
    path: str
    """The prefix in the bucket, without a slash at either end. For ``file``, the absolute path of the folder."""

    @classmethod
    def parse(cls, url: object) -> DestinationUrl:
        """
        Take a URL apart. Percent-encoding has a meaning in ``file`` URLs alone. Blanks around the URL don't count.

        :param url: text; a rendered argument of another type is refused
        :raises AylaConfigError: if the URL is malformed, or has credentials in it
        """
        if not isinstance(url, str):
            raise AylaConfigError(f"destination {url!r}: {_EXPECTED}")
        try:
            parts = urlsplit(url.strip(), allow_fragments=False)
        except ValueError:  # For example, an opening bracket without a closing one.
            raise AylaConfigError(f"destination {url!r}: {_EXPECTED}") from None
        if "@" in parts.netloc:
            # The message doesn't quote the URL, because the text before the '@' can be a password.
            raise AylaConfigError(
                f"destination {parts.scheme}://...: remove everything up to and including the '@'. The account and its "
                "credentials belong in an Airflow connection; the URL is scheme://bucket-or-container/prefix."
            )
        path = unquote(parts.path) if parts.scheme == "file" else parts.path
        is_relative = any(part in (".", "..") for part in path.split("/"))
        # urlsplit drops a line end without a word.
        is_odd = CONTROL.search(url.strip()) or CONTROL.search(path)
        if parts.query or is_relative or is_odd or not _is_complete(parts):
            raise AylaConfigError(f"destination {url!r}: {_EXPECTED}")
        if parts.scheme == "file":
            return cls("file", "", path)
        return cls(_ALIASES.get(parts.scheme, parts.scheme), parts.netloc, path.strip("/"))

    @property
    def root(self) -> str:
        """The bucket's URL, for example ``s3://bucket``."""
        return f"{self.scheme}://{self.bucket}"

    def __str__(self) -> str:
        if self.scheme == "file":
            return f"file://{self.path}"
        return f"{self.root}/{self.path}".rstrip("/")


def _is_complete(parts: SplitResult) -> bool:
    if parts.scheme == "file":
        return parts.netloc in ("", "localhost") and parts.path.startswith("/")
    if parts.scheme in _OBJECT_STORES and ":" in parts.netloc:
        return False
    return bool(parts.scheme and parts.netloc)
