"""Keeps a table from holding rows of two privacy policies, or of two keys, without anyone's notice."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from ayla_provider.domain.hour import ONE_HOUR, describe_hour
from ayla_provider.domain.privacy import PrivacyPolicy, policy_of
from ayla_provider.domain.units import counted
from ayla_provider.errors import AylaPolicyError
from ayla_provider.warehouse.base import REMOVED

EVER = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))
"""A range with all hours that a table can have."""


def hours_of_others(versions: Mapping[datetime, str], policy: PrivacyPolicy) -> dict[datetime, str]:
    """
    Return the hours that were made under another policy, or with another key, and its id.

    :param versions: of the hours of a table, as its ledger states them
    """
    loaded = {hour: version for hour, version in versions.items() if version != REMOVED}
    return {hour: policy_of(version) for hour, version in loaded.items() if not policy.made(version)}


def refuse_others(
    where: str,
    event_type: str,
    versions: Mapping[datetime, str],
    policy: PrivacyPolicy,
    *,
    accepted: Collection[str] = (),
    replaced: Sequence[datetime] = (),
    dag_id: str = "",
) -> None:
    """
    Refuse to mix the rows of two policies, or of two keys, in one table.

    :param where: the warehouse, for the error
    :param versions: of all hours of the table, as its ledger states them
    :param policy: the task's
    :param accepted: the ids of other policies that hours of the table may have
    :param replaced: hours that are about to be replaced. If the table has no other hours, nothing is mixed
    :param dag_id: of the DAG that loads hours, for the command
    :raises AylaPolicyError: if an hour has another policy or key. It has the command that loads these hours again
    """
    others = {
        hour: name
        for hour, name in hours_of_others(versions, policy).items()
        if name not in accepted and hour not in replaced
    }
    if not others:
        return
    first, last = min(others), max(others)
    names = sorted({*others.values()})
    conf = json.dumps({"since": first.isoformat(), "earlier_policies": ",".join([*sorted(accepted), *names])})
    raise AylaPolicyError(
        f"{event_type}: in {where}, {counted(len(others), 'hour', 'hours')} from {describe_hour(first)} to "
        f"{describe_hour(last + ONE_HOUR)} were made under another privacy policy or with another key: "
        f"{', '.join(names)}. This task's is {policy.id}. One table must not have both. If the change is a mistake, "
        "correct privacy or the key: all tasks of one table need the same. Otherwise load these hours again: "
        f"airflow dags trigger {shlex.quote(dag_id or 'DAG')} --conf {shlex.quote(conf)}. Or load into tables with "
        "another table_prefix."
    )
