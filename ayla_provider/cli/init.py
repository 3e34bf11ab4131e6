"""Asks for what a new project needs, and writes its files."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

from ayla_provider.archive.url import DestinationUrl
from ayla_provider.cli.project import ANSWERS, DEFAULT_WAREHOUSE, NO_WAREHOUSE, WAREHOUSES, Answers, Project, samples
from ayla_provider.cli.project_policies import POLICIES, STORES
from ayla_provider.cli.report import moment
from ayla_provider.errors import AylaConfigError
from ayla_provider.source.settings import REQUIRED_FIELDS, AylaSettings

_SECRET = ("password", "app_secret")
"""Fields of the connection that this command neither asks for nor writes."""

_CONN_ID = "ayla_default"

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]")

_SPECIAL = "*?$"
"""Characters that policies of S3 take for a pattern or a variable."""

_PLACEHOLDERS = {
    "login": "a@example.com",
    "password": "-",
    "app_id": "a",
    "app_secret": "-",
    "oem_id": "a",
    "bucket": "a",
    "acs_url": "https://a.example/",
}
"""Required fields that are valid, so that another field can be checked alone."""


@dataclass(frozen=True, slots=True)
class Question:
    """Something that has no default."""

    name: str
    """Of the field, and with hyphens of the flag."""
    text: str
    """What is asked."""


QUESTIONS = (
    Question("destination", "Where the archive goes, such as gs://your-bucket/ayla or file:///data/ayla"),
    Question("login", "E-mail of the Ayla account for Airflow, with the role OEM::Admin"),
    Question("app_id", "App ID of an application of your OEM without multi-factor authentication"),
    Question("oem_id", "OEM ID, from the Ayla dashboard: OEM Profile, Data Export"),
    Question("bucket", "Bucket, from the same page"),
    Question("acs_url", "Credentials service URL, from the same page"),
)
"""In the order in which they are asked."""


FIELDS = (
    "host",
    "prefix",
    "storage_endpoint",
    "event_folders",
    "hour_pattern",
    "ignored_objects",
    "retention",
    "quiet_period",
    "patience",
    "proxy",
    "ca_file",
    "allow_http",
)
"""The other fields of the connection, which few need."""


class WrongAnswerError(Exception):
    """A flag, or what an earlier run wrote, can't be used."""


def run(arguments: argparse.Namespace, stdin: TextIO, stdout: TextIO) -> int:
    """
    Ask for what no flag says, and write the project.

    :return: 0 if every file is as this version makes it; 1 if one was kept
    :raises WrongAnswerError: if an answer is missing or wrong, and nobody can be asked
    :raises OSError: if a file can't be read or written
    """
    folder = Path(arguments.folder).resolve()
    if folder.exists() and not folder.is_dir():
        raise WrongAnswerError(f"{folder} is a file. Give a folder")
    known = _known(arguments, folder)
    start, warehouse = _start(known), _warehouse(known)
    given = {question.name: _given(question, known) for question in QUESTIONS}
    missing = [question for question in QUESTIONS if given[question.name] is None]
    if missing and not stdin.isatty():
        flags = ", ".join(_flag(question) for question in missing)
        raise WrongAnswerError(f"there is no terminal to ask at, so these flags are needed: {flags}")
    if missing:
        print(
            f"Not asked, because there is a default: --warehouse ({warehouse}), --start ({start:%Y-%m-%dT%H:%M}), "
            f"--region ({known['region']}).",
            file=stdout,
        )
    for question in missing:
        given[question.name] = _ask(question, stdin, stdout)
    answers = _answers({**known, **given}, start, warehouse)
    return _write(Project(answers, folder).files(), folder, stdout, overwrite=arguments.overwrite)


def _known(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return what flags say, and otherwise what an earlier run in this folder was told."""
    known: dict[str, Any] = {"region": "us", "destination_conn": None, "warehouse": None, "start": None}
    file = folder / ANSWERS
    if file.exists():
        try:
            earlier = json.loads(file.read_text(encoding="utf-8"))
            known |= {**earlier, **earlier["connection"]}
        except (ValueError, KeyError, TypeError):
            raise WrongAnswerError(f"{file} can't be read: correct it, or remove it to be asked again") from None
    names = [question.name for question in QUESTIONS] + ["destination_conn", "warehouse", "start", "region"]
    known |= {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    fields = dict(known.get("connection", {}))
    for text in arguments.field:
        name, separator, value = text.partition("=")
        if not separator or name not in FIELDS:
            raise WrongAnswerError(f"--field {name}: expected NAME=VALUE, where NAME is one of {', '.join(FIELDS)}")
        if name == "proxy" and "@" in value:
            raise WrongAnswerError("--field proxy: leave out its password, and add it to the connection in Airflow")
        fields[name] = value
    return {**known, "fields": fields}


def _start(known: Mapping[str, Any]) -> datetime:
    now = datetime.now(UTC)
    text = known["start"]
    if text is None:
        # So that the first hours are there at once.
        return (now - timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        start = moment(str(text), now)
    except AylaConfigError as error:
        raise WrongAnswerError(f"--start: {error}") from None
    if start > now:
        raise WrongAnswerError(f"--start: {text} is in the future. Give an hour that is over")
    return start.astimezone(UTC)


def _warehouse(known: Mapping[str, Any]) -> str:
    kind = str(known["warehouse"] or DEFAULT_WAREHOUSE)
    if kind not in (*WAREHOUSES, NO_WAREHOUSE):
        raise WrongAnswerError(f"--warehouse: {kind!r} isn't one of {', '.join((*WAREHOUSES, NO_WAREHOUSE))}")
    return kind


def _given(question: Question, known: Mapping[str, Any]) -> str | None:
    value = known.get(question.name)
    if value is None:
        return None
    try:
        return _checked(question, str(value))
    except AylaConfigError as error:
        raise WrongAnswerError(f"{_flag(question)}: {error}") from None


def _ask(question: Question, stdin: TextIO, stdout: TextIO) -> str:
    """Ask until the answer can be used."""
    while True:
        print(f"{question.text}: ", end="", file=stdout, flush=True)
        line = stdin.readline()
        if not line:
            raise WrongAnswerError(f"the input ended before {_flag(question)} was answered. Nothing is written")
        try:
            return _checked(question, line)
        except AylaConfigError as error:
            print(f"  {error}", file=stdout)


def _checked(question: Question, text: str) -> str:
    """
    Return an answer without blanks around it.

    :raises AylaConfigError: if it can't be right
    """
    value = text.strip()
    if not value:
        raise AylaConfigError("an answer is needed")
    if question.name == "destination":
        return _checked_destination(value)
    if question.name == "login" and not ("@" in value and value.isprintable() and " " not in value):
        raise AylaConfigError(f"{value!r} isn't an e-mail address")
    if question.name == "acs_url" and "?" in value:
        raise AylaConfigError("its query may be a key: leave it out here, and add it to the connection in Airflow")
    _check_connection({question.name: value})
    return value


def _checked_destination(text: str) -> str:
    """
    Return the URL of an archive for which this command can write files and commands.

    :raises AylaConfigError: if it isn't of a known store, or has characters with a meaning in policies or shells
    """
    url = DestinationUrl.parse(text)
    if url.scheme != "file" and url.scheme not in STORES:
        raise AylaConfigError(f"{text!r}: expected file:/// or one of {', '.join(f'{store}://' for store in STORES)}")
    if url.scheme != "file" and not _BUCKET.fullmatch(url.bucket):
        raise AylaConfigError(
            f"{text!r}: the name of a bucket or container has only letters of ASCII, digits, '.', '_', and '-'"
        )
    if url.scheme != "file" and set(url.path) & set(_SPECIAL):
        raise AylaConfigError(f"{text!r}: a prefix can't have any of {' '.join(_SPECIAL)} here")
    return str(url)


def _check_connection(fields: Mapping[str, str]) -> None:
    """
    Check fields of the connection, as tasks do.

    :raises AylaConfigError: naming the first that is malformed
    """
    values = {**_PLACEHOLDERS, **fields}
    AylaSettings.from_fields(
        conn_id=_CONN_ID,
        login=values.pop("login"),
        password=values.pop("password"),
        host=values.pop("host", None),
        port=None,
        extra=values,
    )


def _answers(given: Mapping[str, Any], start: datetime, warehouse: str) -> Answers:
    names = [name for name in REQUIRED_FIELDS if name not in _SECRET]
    connection = {"login": given["login"], "region": given["region"]}
    connection |= {**given["fields"], **{name: given[name] for name in names}, "region": given["region"]}
    try:
        _check_connection(connection)
    except AylaConfigError as error:
        raise WrongAnswerError(str(error)) from None
    conn_id = given["destination_conn"]
    if not conn_id:
        # No identity of a machine says which storage account it is.
        is_azure = DestinationUrl.parse(given["destination"]).scheme in ("abfs", "abfss")
        conn_id = "wasb_default" if is_azure else ""
    return Answers(given["destination"], start, connection, warehouse, conn_id)


def _write(files: Mapping[str, str], folder: Path, stdout: TextIO, *, overwrite: bool) -> int:
    """Write the files that don't exist, and print what happens to each of the others."""
    kept = []
    for name, text in files.items():
        path = folder / name
        data = text.encode()
        before = path.read_bytes() if path.exists() else None
        if before == data:
            continue
        if before is not None and not overwrite:
            kept.append(name)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        # A file that a killed run left is never taken for one that somebody changed.
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(data)
        partial.replace(path)
        print(f"{'written' if before is None else 'OVERWRITTEN'}  {name}", file=stdout)
    for name in _leftovers(files, folder):
        print(f"LEFT     {name}: it isn't part of this project any more. Remove it", file=stdout)
    for name in kept:
        print(f"KEPT     {name}: it differs from what this command makes. --overwrite replaces it", file=stdout)
    print(f"The next steps are in {folder / 'README.md'}", file=stdout)
    return 1 if kept else 0


def _leftovers(files: Mapping[str, str], folder: Path) -> list[str]:
    """Return the files that an earlier run wrote for other answers."""
    known = [f"dags/{path.name}" for path in samples().glob("*.py")] + [f"policies/{name}" for name in POLICIES]
    return sorted(name for name in known if name not in files and (folder / name).exists())


def _flag(question: Question) -> str:
    return f"--{'email' if question.name == 'login' else question.name.replace('_', '-')}"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add = command.add_argument
    add("folder", nargs="?", default="ayla-export", metavar="FOLDER", help="where to (default: %(default)s)")
    for question in QUESTIONS:
        add(_flag(question), dest=question.name, metavar="TEXT", help=question.text)
    add(
        "--destination-conn",
        metavar="ID",
        help="the Airflow connection of the archive (default: wasb_default for abfs://, otherwise as in the tasks)",
    )
    kinds = ", ".join((*WAREHOUSES, NO_WAREHOUSE))
    add("--warehouse", metavar="KIND", help=f"what to load: {kinds} (default: duckdb)")
    add("--start", metavar="TIME", help="the first hour, in UTC, or a span before now (default: yesterday, 00:00)")
    add("--region", metavar="NAME", help="where your OEM account is: us, eu, cn (default: us)")
    add(
        "--field",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another field of the connection, such as host=user-field-1a2b3c4d.aylanetworks.com; repeatable",
    )
    add("--overwrite", action="store_true", help="replace files that differ, also those that you changed")
