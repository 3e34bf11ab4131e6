"""What the operators of all warehouses share. Each warehouse has a module here with its operators."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import Asset, BaseOperator

from ayla_provider._airflow.arguments import duration, map_length, names, names_or_text, optional_hour
from ayla_provider._airflow.errors import airflow_errors
from ayla_provider._airflow.interval import interval
from ayla_provider._airflow.mapping import MAP_LIMIT, hours_item, that_fit
from ayla_provider._airflow.run import at_work, provenance
from ayla_provider.assets import load_asset, load_hours_asset
from ayla_provider.destinations import open_destination
from ayla_provider.domain.events import EVENT_TYPES, EventType, parse_event_type
from ayla_provider.domain.hour import LONGEST, ONE_HOUR, ExportHour, describe_hour, hour_of, refuse_longer
from ayla_provider.errors import AylaConfigError, AylaError
from ayla_provider.operators.digests import is_first_of_day, publish
from ayla_provider.operators.load_events import announce
from ayla_provider.operators.typed_rows import AylaTypedRowsOperator, policy_with_key

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from airflow.sdk import Context

    from ayla_provider.domain.digest import Digest
    from ayla_provider.rows.typed_archive import TypedHourReport
    from ayla_provider.warehouse.base import LedgerCounts, Load, NamedTable, Recipe, Warehouse
    from ayla_provider.warehouse.plan import Comparison, ToLoad


_COUNTED = timedelta(hours=48)
"""A plan publishes how many rows each hour of this time has."""


class AylaWarehouseArguments(BaseOperator):
    """
    A mix-in for the operators of a warehouse: the arguments that name it.

    A subclass takes the arguments, lists them in ``warehouse_fields`` to have them templated, and has the methods
    ``warehouse`` and ``address``. It is an operator because Airflow treats the arguments of operators alone.
    """

    warehouse_fields: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    @abstractmethod
    def address(*args: Any, **kwargs: Any) -> tuple[str, ...]:
        """
        Return what tells a warehouse from others, in words without a secret. The last one is in front of each table.

        A subclass takes what ``warehouse_fields`` lists, with the defaults of its operators.
        """

    @classmethod
    def asset(cls, event_type: str, **arguments: str) -> Asset:
        """
        Return the asset of an event type's table. A load that changes the table emits an event of it.

        :param event_type: in any spelling
        :param arguments: those that name the warehouse, with the values that they have when the load runs
        """
        return load_asset(cls.address(**arguments), event_type)

    @classmethod
    def hours_asset(cls, event_type: str, **arguments: str) -> Asset:
        """
        Return the asset of the hours of an event type's table.

        Each hour that a load changes is an event of it, with the hour as the partition key. The arguments are those of
        :meth:`asset`.
        """
        return load_hours_asset(cls.address(**arguments), event_type)

    @property
    def own_address(self) -> tuple[str, ...]:
        """The address of the warehouse that the arguments of this operator name."""
        return self.address(**{name: getattr(self, name) for name in self.warehouse_fields})

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Add the warehouse's fields to the templated fields of the operator that is mixed with it."""
        super().__init_subclass__(**kwargs)
        for base in cls.__bases__:
            if issubclass(base, BaseOperator) and not issubclass(base, AylaWarehouseArguments):
                cls.template_fields = (*base.template_fields, *cls.warehouse_fields)


class AylaLoadOperator(AylaTypedRowsOperator):
    """
    The base of the operators that load hours into a warehouse. Each hour is replaced as a whole.

    A warehouse that speaks SQL replaces each hour in a transaction of its own. A table format replaces all hours of the
    task in one commit.

    Typed rows that don't exist yet are made first, see
    :class:`~ayla_provider.operators.to_parquet.AylaExportToParquetOperator`. An hour that is loaded already, from the
    same files under the same policy, is left unchanged, and the log says so. So is an hour that is loaded already, if
    files of it were lost since, see :attr:`~ayla_provider.domain.manifest.Manifest.lost`.

    If the table has hours of another privacy policy or key, the task fails, so that no table has both unnoticed.

    If rows changed, it emits an event of the asset of the table, and one for each hour of the asset of its hours: see
    :meth:`AylaWarehouseArguments.asset` and :meth:`AylaWarehouseArguments.hours_asset`.

    :param reload: whether to load each hour again all the same
    :param earlier_policies: ids of other privacy policies that hours of the table may have, because they are about to
        be loaded again: a list, or a text with commas (templated)
    """

    template_fields: Sequence[str] = (*AylaTypedRowsOperator.template_fields, "earlier_policies")
    ui_color = "#d9e6f6"

    def __init__(self, *, reload: bool = False, earlier_policies: str | Sequence[str] = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reload = reload
        self.earlier_policies = earlier_policies
        # The hours that the warehouse holds already as they are now, with how many rows each has.
        self._held: dict[datetime, int] = {}

    @abstractmethod
    def warehouse(self) -> Warehouse:
        """Return the warehouse that the arguments name."""

    @property
    @abstractmethod
    def own_address(self) -> tuple[str, ...]:
        """The address of the warehouse, see :class:`AylaWarehouseArguments`."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Load each hour that isn't loaded yet, or that changed, and announce what changed."""
        from ayla_provider.warehouse.policy import refuse_others

        # The hours to announce, with how many rows each has.
        changed: dict[datetime, int] = {}
        with airflow_errors(), at_work(self.warehouse(), context, self.event_type) as warehouse:
            hours = interval(self.event_type, self.start, self.end)
            # Before anything is loaded, because it fails if the arguments can't be part of a name.
            assets = [make(self.own_address, hours[0].event_type) for make in (load_asset, load_hours_asset)]
            span = hours[0].start, hours[-1].end
            run = provenance(context)
            refuse_others(
                warehouse.name,
                hours[0].event_type,
                # All hours of a table must have one policy. Those of this task are about to be replaced.
                warehouse.recipes(hours[0].event_type, *span),
                self.policy,
                accepted=names_or_text(self.earlier_policies, "earlier_policies"),
                dag_id=run["dag_id"],
            )
            versions = warehouse.loaded(hours[0].event_type, *span)
            loaded_by = f"{run['dag_id']} {run['run_id']}"

            def bring(reports: Iterator[TypedHourReport]) -> Iterator[TypedHourReport]:
                # What the warehouse was given, and doesn't hold for certain yet.
                given: dict[datetime, TypedHourReport] = {}
                with closing(self._loads(warehouse, reports, versions, given, loaded_by)) as loads:
                    for load in warehouse.replace_several(loads):
                        changed[load.hour] = load.rows
                        yield given.pop(load.hour)

            result = self._each_hour(context, warehouse.name, bring)
            if self.lineage and changed:
                self.lineage.table = self._named(warehouse, hours[0].event_type)
        # An earlier try of this task may have loaded hours, and ended before it could announce them.
        if context["ti"].try_number > 1:
            changed |= self._held
        self.outlets = announce(context, self.outlets, hours[0].event_type, assets, changed)
        return result

    def _named(self, warehouse: Warehouse, event_type: str) -> NamedTable | None:
        try:
            return warehouse.named(event_type)
        except AylaError as error:
            # The rows are there. What others are told about them isn't worth a failure.
            self.log.warning("OpenLineage isn't told of the table: %s", error)
            return None

    def _loads(
        self,
        warehouse: Warehouse,
        reports: Iterator[TypedHourReport],
        versions: Mapping[datetime, str],
        given: dict[datetime, TypedHourReport],
        loaded_by: str,
    ) -> Generator[Load, None, None]:
        """
        Yield the hours to load, each with its files on this disk until the next one is asked for.

        :param versions: of the hours that the warehouse holds
        :param given: gets the hours that are yielded
        """
        from ayla_provider.domain.tables import STREAM_TABLES, TABLES
        from ayla_provider.domain.work import oem_of
        from ayla_provider.warehouse.base import Load

        # All tables exist from the first load on. Later hours of this task needn't look again.
        prepared = False
        for report in reports:
            manifest = report.manifest
            version = versions.get(manifest.hour.start)
            if not self._is_to_load(report, version, warehouse.name):
                if version == manifest.version:
                    self._held[manifest.hour.start] = manifest.rows
                self._say_unchanged(manifest.hour, warehouse.name)
                continue
            if not prepared:
                tables = STREAM_TABLES if report.is_stream else TABLES
                warehouse.prepare_missing([self.policy.table(table) for table in tables.values()])
                prepared = True
            with closing(self.typed.files(manifest)) as files:
                warehouse.prepare(manifest.table)
                given[manifest.hour.start] = report
                yield Load.of(manifest, files, loaded_by, oem_of(report.export))

    def _is_to_load(self, report: TypedHourReport, version: str | None, where: str) -> bool:
        """
        Return whether an hour's rows differ from what the warehouse is to hold.

        :param version: what it holds
        :param where: the warehouse, for the log
        :raises AylaError: if a rule removed the hour's files, so that its rows can't be made
        """
        from ayla_provider.domain.typed_manifest import refuse_removed
        from ayla_provider.warehouse.base import REMOVED

        manifest = report.manifest
        if version == REMOVED and not self.reload:
            self.log.warning("%s stays away from %s: a rule removed it.", manifest.hour, where)
            return False
        if not self.reload and version == manifest.version:
            return False
        # Rows without a lost file must not replace rows that may have it.
        differs = version not in (None, manifest.version)
        if report.outdated or (differs and manifest.lost):
            self.log.warning(
                "%s stays as it is in %s, because files of it are lost, or were removed by a rule.",
                manifest.hour,
                where,
            )
            return False
        refuse_removed(manifest)
        return True


class AylaPlanOperator(BaseOperator):
    """
    The base of the operators that compare the archive's manifests with a warehouse's ledger.

    They return the hours that differ, the newest first.

    Its XCom is a list to expand a load over, ``[{"event_type", "start", "end", "reason"}, ...]``: an item for each
    hour or, where there are more than ``max_loads``, for the consecutive hours of a day. The XCom ``summary`` has
    counts: ``{"start", "end", "hours", "loads", "postponed", "lost"}``, where ``hours`` are those that differ, and
    ``lost`` those that differ but stay as they are, because files of them are lost. The XCom ``complete_days`` lists
    the days, ``["2026-11-01", ...]``, of which the warehouse has every hour of all ``event_types``.

    :param archive: the URL that the copy has as its destination (templated)
    :param event_types: in any spelling; by default the five documented ones
    :param lookback: how far back from now to compare; it costs one small read per hour and event type
    :param since: the first hour to compare, in place of ``lookback``: for a first load of everything (templated)
    :param archive_conn_id: as the copy has it in ``destination_conn_id`` (templated)
    :param max_loads: how many loads to return at most, 1 to 1,024; the next run goes on with the rest
    :param privacy: the loads' policy. Then the task fails if the tables have hours of another policy or key
    :param privacy_conn_id: as the loads have it
    :param earlier_policies: ids of other policies. The hours that have them are returned, too, so that they are loaded
        again: a list, or a text with commas (templated)
    :param empty_hours: whether to return also hours without events. Their loads add no rows, but the ledger then has
        every hour, and each has an asset event
    """

    template_fields: Sequence[str] = ("archive", "since", "archive_conn_id", "earlier_policies")
    ui_color = "#f6ecd9"

    def __init__(
        self,
        *,
        archive: str,
        event_types: Sequence[str] = EVENT_TYPES,
        lookback: timedelta = timedelta(days=7),
        since: str | datetime = "",
        archive_conn_id: str | None = None,
        max_loads: int = 200,
        privacy: Mapping[str, str] | None = None,
        privacy_conn_id: str | None = None,
        earlier_policies: str | Sequence[str] = "",
        empty_hours: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.archive = archive
        self.event_types = names(event_types, "event_types")
        self.lookback = duration(lookback, "lookback", at_least=ONE_HOUR)
        self.since = since
        self.archive_conn_id = archive_conn_id
        self.max_loads = map_length(max_loads, "max_loads", "items")
        self.privacy = privacy
        self.privacy_conn_id = privacy_conn_id
        self.earlier_policies = earlier_policies
        self.empty_hours = empty_hours

    @abstractmethod
    def warehouse(self) -> Warehouse:
        """Return the warehouse that the arguments name."""

    @property
    @abstractmethod
    def own_address(self) -> tuple[str, ...]:
        """The address of the warehouse, see :class:`AylaWarehouseArguments`."""

    @property
    def table_link(self) -> str:
        """The address of a table in the warehouse's console, with ``EVENT_TYPE`` in it; empty without a console."""
        return ""

    def execute(self, context: Context) -> list[dict[str, str]]:
        """Compare, and return the list to expand a load over."""
        from ayla_provider.archive.records import Records
        from ayla_provider.warehouse.plan import compare, joined

        with airflow_errors():
            end = hour_of(datetime.now(UTC)) + ONE_HOUR
            start = end - min(self.lookback, LONGEST)
            since = optional_hour(self.since, "since")
            if since:
                start = since
                refuse_longer(start, end)
            event_types = [parse_event_type(name) for name in self.event_types]
            records = Records(open_destination(self.archive, self.archive_conn_id))
            now = datetime.now(UTC)
            with at_work(self.warehouse(), context) as warehouse:
                recipes = {event_type: warehouse.recipes(event_type, end, end) for event_type in event_types}
                table_versions = {event_type: warehouse.loaded(event_type, start, end) for event_type in event_types}
                daily = self._year(warehouse, event_types, end) if is_first_of_day(context, now) else []
                counts = _counts(warehouse, end - _COUNTED, end)
            dag_id = provenance(context)["dag_id"]
            is_of_another_policy = self._compared_policies(warehouse.name, recipes, dag_id)

            def loaded(event_type: str, start: datetime, end: datetime) -> dict[datetime, str]:
                versions = table_versions[EventType(event_type)]
                return {hour: version for hour, version in versions.items() if start <= hour < end}

            compared = compare(
                records, loaded, event_types, start, end, is_of_another_policy, empty_hours=self.empty_hours
            )
            self._record_hours(context, compared)
            newest = self._newest(warehouse, compared, table_versions, counts)
        publish(context, self, self.archive, now, newest=[newest], daily=daily, by_month=False)
        found, lost = compared.to_load, compared.lost
        hours = len(found)
        items = _arguments(found if hours <= self.max_loads else joined(found))[: self.max_loads]
        done = sum(_hours(item) for item in items)
        summary = {
            "start": start.isoformat(),
            "end": end.isoformat(),
            "hours": hours,
            "loads": len(items),
            "postponed": hours - done,
            "lost": len(lost),
        }
        context["ti"].xcom_push("summary", summary)
        days = compared.complete_days
        context["ti"].xcom_push("complete_days", [day.isoformat() for day in days[-MAP_LIMIT:]])
        self.log.info(
            "Compared %s with %s, from %s to %s. %s",
            self.archive,
            warehouse.name,
            describe_hour(start),
            describe_hour(end),
            f"Hours to load: {hours}." if hours else "Nothing to load.",
        )
        for item in items:
            self.log.info("To load: %s", item["reason"])
        if lost:
            self.log.warning("Hours that stay as they are, because files of them are lost: %d.", len(lost))
        if summary["postponed"]:
            self.log.warning("%d more hours have to wait for the next run.", summary["postponed"])
        return items

    def _digest(self, warehouse: Warehouse) -> Digest:
        from ayla_provider.domain.digest import Digest, Layer

        digest = Digest(Layer.LOADED, "/".join(self.own_address))
        digest.facts = {"name": warehouse.name, "table": self.table_link}
        return digest

    def _year(self, warehouse: Warehouse, event_types: Sequence[EventType], end: datetime) -> list[Digest]:
        """Return what the ledger has of a year, without counts."""
        from ayla_provider.domain.digest import LONGEST as YEAR
        from ayla_provider.warehouse.base import REMOVED

        digest = self._digest(warehouse)
        for event_type in event_types:
            for hour, version in warehouse.loaded(event_type, end - YEAR, end).items():
                digest.add(ExportHour(event_type, hour), REMOVED if version == REMOVED else "loaded")
        return [digest]

    def _newest(
        self,
        warehouse: Warehouse,
        compared: Comparison,
        versions: Mapping[EventType, Mapping[datetime, str]],
        counts: Mapping[tuple[str, datetime], LedgerCounts],
    ) -> Digest:
        """Return what the warehouse has of the hours that were compared."""
        from ayla_provider.domain.digest import Activity
        from ayla_provider.warehouse.base import REMOVED

        digest = self._digest(warehouse)
        to_load = {ExportHour(EventType(load.event_type), load.start): load.reason for load in compared.to_load}
        for found in compared.hours:
            hour = ExportHour(EventType(found.event_type), found.hour)
            version = versions[hour.event_type].get(hour.start)
            if hour in to_load:
                digest.add(hour, "to_load")
                if version is not None:
                    digest.act(Activity.LOAD_AGAIN, hour, to_load[hour])
            elif version is not None:
                known = counts.get((hour.event_type, hour.start))
                figures = known._asdict() if known else {}
                digest.add(hour, REMOVED if version == REMOVED else "loaded", **figures)
        return digest

    def _record_hours(self, context: Context, compared: Comparison) -> None:
        """Write into the warehouse what the archive has of each hour."""
        with at_work(self.warehouse(), context) as warehouse:
            changed = warehouse.record_hours(compared.hours, datetime.now(UTC))
        self.log.info("Hours that %s has in another state than before: %d.", warehouse.name, changed)

    def _compared_policies(
        self, where: str, recipes: Mapping[EventType, Sequence[Recipe]], dag_id: str
    ) -> Callable[[str], bool]:
        """
        Return what tells whether an hour of a version has to be loaded again because of its privacy policy.

        :raises AylaPolicyError: if a table has hours of another policy that nobody said are to be loaded again
        """
        from ayla_provider.domain.privacy import policy_of
        from ayla_provider.warehouse.policy import policy_of_recipe, refuse_others

        earlier = names_or_text(self.earlier_policies, "earlier_policies")
        if self.privacy is None and not self.privacy_conn_id:
            for event_type, made in recipes.items():
                policies = {policy_of_recipe(recipe) for recipe in made}
                if len(policies) > 1:
                    text = ", ".join(sorted(policies))
                    self.log.warning("The table of %s has hours of several privacy policies: %s.", event_type, text)
            return lambda version: policy_of(version) in earlier
        policy = policy_with_key(self.privacy, self.privacy_conn_id)
        for event_type, made in recipes.items():
            refuse_others(where, event_type, made, policy, accepted=earlier, dag_id=dag_id)
        return lambda version: not policy.made(version)


def _counts(warehouse: Warehouse, start: datetime, end: datetime) -> Mapping[tuple[str, datetime], LedgerCounts]:
    """Return what the ledger says of each event type and hour. That of a table format has no query for it."""
    from ayla_provider.warehouse.sql_warehouse import SqlWarehouse

    return warehouse.counts(start, end) if isinstance(warehouse, SqlWarehouse) else {}


def _arguments(loads: Sequence[ToLoad]) -> list[dict[str, str]]:
    """Return the arguments of a load for each, as many as an XCom holds."""
    return that_fit(hours_item(load.event_type, load.start, load.end, load.label) for load in loads)


def _hours(item: dict[str, str]) -> int:
    return (datetime.fromisoformat(item["end"]) - datetime.fromisoformat(item["start"])) // ONE_HOUR


def not_installed(provider: str, extra: str) -> AylaConfigError:
    """Return the error for a provider of Airflow that isn't installed."""
    return AylaConfigError(
        f"Airflow's {provider} provider isn't installed: pip install 'airflow-provider-ayla[{extra}]'"
    )
