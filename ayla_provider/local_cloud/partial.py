"""Partial responses: the ``fields`` parameter, with its commas, slashes, parentheses and wildcards."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Mask: TypeAlias = "dict[str, Mask | None]"
"""The requested names, each with the mask for its value; None means the whole value. ``*`` is any name."""

Schema: TypeAlias = "Mapping[str, Schema | None]"
"""The names that exist, each with the schema of its value; None means that any name is allowed."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]+|[*,/()]")

_OBJECT_FIELDS = (
    "acl bucket cacheControl componentCount contentDisposition contentEncoding contentLanguage contentType "
    "contexts crc32c customTime customerEncryption etag eventBasedHold generation hardDeleteTime id kind "
    "kmsKeyName md5Hash mediaLink metadata metageneration name owner restoreToken retention "
    "retentionExpirationTime selfLink size softDeleteTime storageClass temporaryHold timeCreated timeDeleted "
    "timeFinalized timeStorageClassUpdated updated *"
)
OBJECT_SCHEMA: Schema = dict.fromkeys(_OBJECT_FIELDS.split())
"""The fields of an object resource, including those that the local cloud never sets."""

LIST_SCHEMA: Schema = {"kind": {}, "nextPageToken": {}, "prefixes": {}, "items": OBJECT_SCHEMA, "*": OBJECT_SCHEMA}
"""The fields of a listing."""


def parse_fields(text: str) -> Mask:
    """
    Parse a mask such as ``items(name,metadata/owner),nextPageToken``.

    :raises ValueError: if it is malformed
    """
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != text:
        raise ValueError(f"Invalid field selection {text}")
    tokens.append("")
    mask, at = _fields(tokens, 0)
    if tokens[at]:
        raise ValueError(f"Invalid field selection {text}")
    return mask


def _fields(tokens: list[str], at: int) -> tuple[Mask, int]:
    mask: Mask = {}
    while True:
        name, below, at = _field(tokens, at)
        mask[name] = _union(mask[name], below) if name in mask else below
        if tokens[at] != ",":
            return mask, at
        at += 1


def _field(tokens: list[str], at: int) -> tuple[str, Mask | None, int]:
    name = tokens[at]
    if name in ("", ",", "/", "(", ")"):
        raise ValueError(f"Invalid field selection {name}".strip())
    at += 1
    if tokens[at] == "/":
        deeper, below, at = _field(tokens, at + 1)
        return name, {deeper: below}, at
    if tokens[at] == "(":
        mask, at = _fields(tokens, at + 1)
        if tokens[at] != ")":
            raise ValueError(f"Invalid field selection {name}")
        return name, mask, at + 1
    return name, None, at


def _union(left: Mask | None, right: Mask | None) -> Mask | None:
    if left is None or right is None:
        return None
    both = dict(left)
    for name, below in right.items():
        both[name] = _union(both[name], below) if name in both else below
    return both


def check_fields(mask: Mask, schema: Schema) -> None:
    """
    Check that the fields of a mask exist, because Google refuses others.

    :raises ValueError: with the name of the first field that doesn't exist
    """
    for name, below in mask.items():
        if name not in schema and not (name == "*" and schema):
            raise ValueError(f"Invalid field selection {name}")
        deeper = schema.get(name)
        if below is not None and deeper is not None:
            check_fields(below, deeper)


def select(mask: Mask | None, value: Any) -> Any:
    """Return the parts of a value that a mask selects. In a list, the mask applies to each item."""
    if mask is None:
        return value
    if isinstance(value, list):
        return [select(mask, item) for item in value]
    if not isinstance(value, dict):
        return {}
    if "*" not in mask:
        return {name: select(below, value[name]) for name, below in mask.items() if name in value}
    selected = {}
    for name, below in value.items():
        wanted = [mask[key] for key in (name, "*") if key in mask]
        if wanted:
            selected[name] = select(wanted[0] if len(wanted) == 1 else _union(wanted[0], wanted[1]), below)
    return selected
