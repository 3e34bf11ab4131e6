"""What the work of a warehouse is for, in the form that its bill and its lists of queries can show."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

_LABEL_LENGTH = 63
"""Characters of a label's value in BigQuery."""

_NAME_BYTES = 63
"""Bytes of ``application_name`` in PostgreSQL. It cuts off what follows."""

_TAG_PART = 250
"""Characters of a value in a tag of Snowflake, at most. Airflow's ids have no more."""

_TAG_LENGTH = 2000
"""Characters of a tag of Snowflake."""

_DIGEST = 6
"""Hexadecimal digits at the end of what was cut, so that different texts stay different."""


@dataclass(frozen=True, slots=True)
class Work:
    """
    What some statements are for.

    :param event_type: empty if they are for several
    :param oem_id: whose events they are about, see :func:`oem_of`; empty if they are about nobody's or everybody's
    """

    dag_id: str = ""
    task_id: str = ""
    run_id: str = ""
    oem_id: str = ""
    event_type: str = ""

    @property
    def fields(self) -> dict[str, str]:
        """Return what is known: ``dag``, ``task``, ``run``, ``oem``, ``event_type``."""
        known = {
            "dag": self.dag_id,
            "task": self.task_id,
            "run": self.run_id,
            "oem": self.oem_id,
            "event_type": self.event_type,
        }
        return {name: value for name, value in known.items() if value}


def oem_of(export: str) -> str:
    """
    Return the OEM that an export's URL names.

    In Cloud Storage it is the export's folder, in Amazon S3 the bucket if there is no folder. Of a stream, it is the
    stream's name.

    :param export: see :attr:`~ayla_provider.domain.manifest.Manifest.export`; empty if unknown
    """
    return export.partition("://")[2].rstrip("/").rpartition("/")[2]


def bigquery_labels(work: Work) -> dict[str, str]:
    """Return the labels of a job: lower-case letters, digits, ``_`` and ``-``, at most 63 of them."""
    return {f"ayla_{name}": label_value(value) for name, value in work.fields.items()}


def label_value(text: str) -> str:
    """Return a text in the alphabet of BigQuery's labels. What is too long ends with a part of its hash."""
    value = re.sub(r"[^a-z0-9_-]", "-", text.lower())
    return value if len(value) <= _LABEL_LENGTH else _cut(value, text, _LABEL_LENGTH, "-")


def snowflake_tag(work: Work) -> str:
    """Return the ``QUERY_TAG`` of a session: a JSON object; empty if nothing is known."""
    if not work.fields:
        return ""
    length = _TAG_PART
    tag = _tag(work, length)
    # JSON writes a control character with six. What is left of five values always has room in the end.
    while len(tag) > _TAG_LENGTH:
        length -= 1
        tag = _tag(work, length)
    return tag


def _tag(work: Work, length: int) -> str:
    values = {name: value[:length] for name, value in work.fields.items()}
    return json.dumps({"app": "ayla_provider", **values}, ensure_ascii=False)


def postgres_name(work: Work) -> str:
    """
    Return the ``application_name`` of a session: ``ayla:<event type>:<OEM>:<DAG>:<task>:<run>``; empty without a DAG.

    PostgreSQL keeps 63 bytes. If it is longer, the longest parts are cut, and end with ``~`` and a part of their hash.
    """
    if not work.dag_id:
        return ""
    texts = [work.event_type, work.oem_id, work.dag_id, work.task_id, work.run_id]
    # PostgreSQL replaces other characters. A colon separates.
    parts = [re.sub(r"[^!-9;-~]", "_", text) for text in texts]
    room = _NAME_BYTES - len("ayla") - len(parts)
    longest = max(map(len, parts))
    while sum(min(len(part), longest) for part in parts) > room:
        longest -= 1
    short = [
        part if len(part) <= longest else _cut(part, text, longest, "~")
        for part, text in zip(parts, texts, strict=True)
    ]
    return ":".join(["ayla", *short])


def _cut(value: str, text: str, length: int, mark: str) -> str:
    """Return the begin of a value, with a part of the hash of the text that it was made of."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGEST]
    return f"{value[: length - len(mark) - _DIGEST]}{mark}{digest}"
