"""Keeps a table from holding rows of two privacy policies, or of two keys, without anyone's notice."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Iterable
from datetime import UTC, datetime

from ayla_provider.domain.hour import ONE_HOUR, describe_hour
from ayla_provider.domain.privacy import PrivacyPolicy, policy_of
from ayla_provider.domain.units import counted
from ayla_provider.errors import AylaPolicyError
from ayla_provider.warehouse.base import Recipe

EVER = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))
"""A range with all hours that a table can have."""


def is_made_under(recipe: Recipe, policy: PrivacyPolicy) -> bool:
    """Return whether hours were made under a policy, with its key."""
    return policy.made(f"-{recipe.text}")


def policy_of_recipe(recipe: Recipe) -> str:
    """Return the id of the policy, and of its key, that hours were made under."""
    return policy_of(f"-{recipe.text}")


def refuse_others(
    where: str,
    event_type: str,
    recipes: Iterable[Recipe],
    policy: PrivacyPolicy,
    *,
    accepted: Collection[str] = (),
    dag_id: str = "",
) -> None:
    """
    Refuse to mix the rows of two policies, or of two keys, in one table.

    :param where: the warehouse, for the error
    :param recipes: how the hours of the table were made, without those that are about to be replaced
    :param policy: the task's
    :param accepted: the ids of other policies that hours of the table may have
    :param dag_id: of the DAG that loads hours, for the command
    :raises AylaPolicyError: if an hour has another policy or key. It has the command that loads these hours again
    """
    others = [
        recipe for recipe in recipes if not is_made_under(recipe, policy) and policy_of_recipe(recipe) not in accepted
    ]
    if not others:
        return
    first, last = min(recipe.first for recipe in others), max(recipe.last for recipe in others)
    names = sorted({policy_of_recipe(recipe) for recipe in others})
    hours = sum(recipe.hours for recipe in others)
    conf = json.dumps({"since": first.isoformat(), "earlier_policies": ",".join([*sorted(accepted), *names])})
    raise AylaPolicyError(
        f"{event_type}: in {where}, {counted(hours, 'hour', 'hours')} from {describe_hour(first)} to "
        f"{describe_hour(last + ONE_HOUR)} were made under another privacy policy or with another key: "
        f"{', '.join(names)}. This task's is {policy.id}. One table must not have both. If the change is a mistake, "
        "correct privacy or the key: all tasks of one table need the same. Otherwise load these hours again: "
        f"airflow dags trigger {shlex.quote(dag_id or 'DAG')} --conf {shlex.quote(conf)}. Or load into tables with "
        "another table_prefix."
    )
