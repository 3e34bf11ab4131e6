"""The operator that alerts when the newest complete hour is too old."""

from __future__ import annotations

import copy
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier, BaseOperator

from ayla_provider._airflow.arguments import duration, names, optional_hour
from ayla_provider._airflow.compat import conf, stats
from ayla_provider._airflow.errors import airflow_errors
from ayla_provider.assets import freshness_alias, freshness_asset
from ayla_provider.destinations import open_destination
from ayla_provider.domain.events import EVENT_TYPES, EventType, parse_event_type
from ayla_provider.domain.hour import ONE_HOUR, describe_hour
from ayla_provider.domain.paths import typed_rows_url
from ayla_provider.errors import AylaAlertError, AylaConfigError, AylaError
from ayla_provider.hooks import AylaHook
from ayla_provider.operators.warehouses import checked_warehouses, open_warehouse

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ayla_provider.archive.freshness import Board, FreshnessRecord, FreshnessStore, Loaded
    from ayla_provider.domain.freshness import Alert

Objective = timedelta | Mapping[str, timedelta] | None

Notify = Callable[[Any], Any]

_QUIET = timedelta(minutes=15)
"""How long at least no asset event repeats a verdict."""


class AylaExportFreshnessOperator(BaseOperator):
    """
    Finds out how old the newest complete hour of each event type is, and alerts once if it is too old.

    The layers are ``copied``, ``typed``, and one for each warehouse, such as ``loaded_postgres``. Run it every five
    minutes, in a DAG with one active run. It reads the archive, and needs no connection to Ayla.

    A breach is alerted once, and so is its end. What has to be sent is kept in ``_freshness/`` of the archive before it
    is sent, so that a task that dies doesn't lose it. If a task dies between sending an alert and noting that, the next
    one sends it again, with the same ``alert_id``.

    Nobody is alerted of hours without events, with lost files, or before ``not_before``; of a first load, until it has
    once been within its objective; of a backfill; and of a layer of which a DAG is paused.

    Notifiers and callables get Airflow's context and, as templates, ``alert`` (``breach`` or ``recovery``),
    ``alert_id``, ``oem_id``, ``event_type``, ``layer``, ``hour`` (a datetime: the first late hour), ``lag``,
    ``objective`` (timedeltas), ``link`` (the page), and ``message``.

    Its XCom is ``{"states": {state: count}, "alerts"}``.

    :param archive: the URL that the copy has as its destination (templated)
    :param event_types: in any spelling; by default the five documented ones
    :param copied: how old the newest copied hour may be: its end, up to which no hour is missing. A timedelta, or one
        for each event type; event types without one aren't watched. None to watch none
    :param typed: the same for the typed rows
    :param loaded: the same for each of the warehouses
    :param warehouses: what hours are loaded into, for each ``{"kind": "duckdb", ...}`` as
        :class:`AylaExportEraseOperator` takes them (templated)
    :param on_breach: Airflow notifiers, or callables that take the context
    :param on_recovery: the same, for the end of a breach that was alerted
    :param dags: layer to the id of the DAG, or to a list of DAGs, that work on it. While one of them is paused, nobody
        is alerted of the layer. ``loaded`` means all warehouses. It needs Airflow 3.2
    :param not_before: the first hour that is wanted, ISO 8601 with an offset; by default the first one that is found
        (templated)
    :param lookback: how far back hours are looked at. An hour that is missing for longer is given up
    :param archive_conn_id: as the copy has it in ``destination_conn_id`` (templated)
    :param parquet: where the typed rows are, as in the loads (templated)
    :param ayla_conn_id: the connection to Ayla, for ``oem_id`` alone (templated)
    """

    template_fields: Sequence[str] = (
        "archive",
        "warehouses",
        "not_before",
        "archive_conn_id",
        "parquet",
        "ayla_conn_id",
    )
    ui_color = "#f6ecd9"

    def __init__(
        self,
        *,
        archive: str,
        event_types: Sequence[str] = EVENT_TYPES,
        copied: Objective = timedelta(hours=3),
        typed: Objective = None,
        loaded: Objective = timedelta(hours=4),
        warehouses: Sequence[Mapping[str, Any]] = (),
        on_breach: Sequence[Notify] = (),
        on_recovery: Sequence[Notify] = (),
        dags: Mapping[str, str | Sequence[str]] | None = None,
        not_before: str | datetime = "",
        lookback: timedelta = timedelta(days=7),
        archive_conn_id: str | None = None,
        parquet: str = "",
        ayla_conn_id: str = AylaHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        kwargs["outlets"] = [*(kwargs.get("outlets") or []), freshness_alias()]
        super().__init__(**kwargs)
        self.archive = archive
        self.event_types = names(event_types, "event_types")
        self.copied = _objective(copied, "copied")
        self.typed = _objective(typed, "typed")
        self.loaded = _objective(loaded, "loaded")
        self.warehouses = warehouses
        self.on_breach = _notifiers(on_breach, "on_breach")
        self.on_recovery = _notifiers(on_recovery, "on_recovery")
        self.dags = {layer: [given] if isinstance(given, str) else list(given) for layer, given in (dags or {}).items()}
        self.not_before = not_before
        self.lookback = duration(lookback, "lookback", at_least=timedelta(days=1))
        self.archive_conn_id = archive_conn_id
        self.parquet = parquet
        self.ayla_conn_id = ayla_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Look at each layer, publish what was found, and send what has to be sent."""
        from ayla_provider.archive.freshness import FreshnessLooks, FreshnessStore
        from ayla_provider.archive.records import Records

        with airflow_errors():
            archive = open_destination(self.archive, self.archive_conn_id)
            warehouses = self._warehouses()
            layers = self._layers(list(warehouses))
            looks = FreshnessLooks(
                Records(archive),
                layers,
                rows=open_destination(typed_rows_url(self.archive, self.parquet), self.archive_conn_id),
                loaded=warehouses,
                not_before=optional_hour(self.not_before, "not_before"),
                lookback=self.lookback,
            )
            store = FreshnessStore(archive)
            record = store.read()
            paused = self._paused(context, {layer for _, layer in layers})
            board = looks.look(record, datetime.now(UTC), mutes=store.mutes(), paused=paused)
            # What is to be sent is certain before anything is sent.
            store.write(record)
            self._say(board)
            # It ends the task if a notifier fails. Airflow drops the event of a task that fails, so nothing is noted as
            # published before this.
            self._send(context, store, record)
            is_due = self._is_to_publish(record, board)
            if is_due:
                store.write(record)
            # An earlier try may have noted an event, and ended before Airflow recorded it.
            if is_due or context["ti"].try_number > 1:
                self._publish(context, board)
        states = Counter(view.state.value for view in board.views)
        return {"states": dict(sorted(states.items())), "alerts": len(board.alerts)}

    def _warehouses(self) -> dict[str, Loaded]:
        """Return, for the layer of each warehouse, what asks it for its hours."""
        from ayla_provider.domain.freshness import LOADED

        asking: dict[str, Loaded] = {}
        kinds: Counter[str] = Counter()
        for arguments in checked_warehouses(self.warehouses):
            kind = str(arguments["kind"])
            kinds[kind] += 1
            layer = f"{LOADED}_{kind}" if kinds[kind] == 1 else f"{LOADED}_{kind}_{kinds[kind]}"
            asking[layer] = _asks(kind, {name: value for name, value in arguments.items() if name != "kind"})
        return asking

    def _layers(self, warehouses: Sequence[str]) -> dict[tuple[EventType, str], timedelta]:
        """Return the objective of each event type and layer that is watched."""
        from ayla_provider.domain.freshness import COPIED, TYPED

        objectives = [(COPIED, self.copied), (TYPED, self.typed), *((layer, self.loaded) for layer in warehouses)]
        layers = {}
        for name in self.event_types:
            event_type = parse_event_type(name)
            for layer, objective in objectives:
                given = objective.get(event_type) if isinstance(objective, Mapping) else objective
                if given is not None:
                    layers[event_type, layer] = given
        if not layers:
            raise AylaConfigError("nothing is watched: give copied, typed, or loaded and warehouses")
        return layers

    def _paused(self, context: Context, layers: set[str]) -> set[str]:
        """Return the layers of which a DAG is paused."""
        from ayla_provider.domain.freshness import LOADED

        paused_dags: dict[str, bool] = {}
        paused = set()
        for layer in layers:
            dags = list(self.dags.get(layer, ()))
            if layer.startswith(f"{LOADED}_"):
                dags += self.dags.get(LOADED, ())
            for dag_id in dags:
                if dag_id not in paused_dags:
                    paused_dags[dag_id] = self._is_paused(context, dag_id)
                if paused_dags[dag_id]:
                    paused.add(layer)
        return paused

    def _is_paused(self, context: Context, dag_id: str) -> bool:
        ti: Any = context["ti"]
        if not hasattr(ti, "get_dag"):
            self.log.info("Whether the DAG %s is paused can't be asked before Airflow 3.2.", dag_id)
            return False
        try:
            return bool(ti.get_dag(dag_id).is_paused)
        except Exception as error:  # noqa: BLE001 - Airflow's versions raise different errors
            self.log.warning("Whether the DAG %s is paused is unknown: %s", dag_id, type(error).__name__)
            return False

    @staticmethod
    def _is_to_publish(record: FreshnessRecord, board: Board) -> bool:
        """Return whether an asset event is due, and note it."""
        digest = board.digest()
        is_same = record.published == digest
        if is_same and record.published_at is not None and board.now - record.published_at < _QUIET:
            return False
        record.published, record.published_at = digest, board.now
        return True

    def _say(self, board: Board) -> None:
        from ayla_provider.domain.freshness import FreshnessState

        for (event_type, layer), problem in board.problems.items():
            self.log.warning("%s, %s: it can't be read now: %s", event_type, layer, problem)
        for alert in board.given_up:
            self.log.warning(
                "%s, %s: the alert %s of the hour %s, OEM %s, couldn't be sent for a day. It isn't tried again.",
                alert.event_type,
                alert.layer,
                alert.kind,
                describe_hour(alert.hour),
                self._oem_id() or "unknown",
            )
        for view in board.views:
            track = view.track
            if view.state is FreshnessState.BREACH and track.breach:
                self.log.warning(
                    "%s, %s: hours that are late: %d, the first one %s, since %s.",
                    track.event_type,
                    track.layer,
                    track.late,
                    describe_hour(track.breach.hour),
                    f"{track.breach.since:%Y-%m-%d %H:%M} UTC",
                )
            elif track.complete_to:
                self.log.info(
                    "%s, %s: complete until %s.", track.event_type, track.layer, describe_hour(track.complete_to)
                )
        self._measure(board)

    @staticmethod
    def _measure(board: Board) -> None:
        """Report the metrics."""
        from ayla_provider.domain.freshness import PERCENTILES

        names_of = ("lag", "late", "share", *(f"lag_p{percent}" for percent in PERCENTILES))
        for view in board.views:
            document = view.document(board.now)
            event_type, layer = view.track.name
            for name in names_of:
                if document[name] is not None:
                    stats.gauge(
                        f"ayla_export.{event_type}.freshness.{layer}.{name}",
                        document[name],
                        tags={"event_type": str(event_type), "layer": layer},
                    )

    def _publish(self, context: Context, board: Board) -> None:
        from ayla_provider.domain.freshness import document_of

        if freshness_alias() not in self.outlets:
            self.outlets.append(freshness_alias())
        asset = freshness_asset(self.archive)
        context["outlet_events"][freshness_alias()].add(asset, extra=document_of(board.views, board.now))

    def _send(self, context: Context, store: FreshnessStore, record: FreshnessRecord) -> None:
        """
        Send each alert with each of its notifiers, and note each success at once.

        :raises AylaAlertError: if one of them fails. The others are sent all the same
        """
        from ayla_provider.archive.freshness import forget_alert, note_sent

        failed = []
        for alert in list(record.alerts):
            notifiers = self.on_breach if alert.kind == "breach" else self.on_recovery
            values = self._values(alert)
            self.log.warning("%s", values["message"])
            for place, notifier in enumerate(notifiers):
                if place in alert.sent:
                    continue
                try:
                    _notify(notifier, {**context, **values})
                except Exception as error:  # noqa: BLE001 - a user's notifier raises anything
                    failed.append(f"{type(notifier).__name__}: {type(error).__name__}")
                    self._say_why(error)
                    continue
                alert = note_sent(record, alert, place)
                store.write(record)
            if len(alert.sent) >= len(notifiers):
                forget_alert(record, alert)
                store.write(record)
        if failed:
            raise AylaAlertError(
                f"alerts that couldn't be sent: {len(failed)} ({', '.join(sorted(set(failed)))[:200]}). They are tried "
                "again for a day. See the log above, and correct the notifier in on_breach or on_recovery."
            )

    def _say_why(self, error: Exception) -> None:
        """Log where a notifier failed. The text of its error can have an address with a token."""
        places = traceback.extract_tb(error.__traceback__)
        self.log.error(
            "An alert can't be sent: %s in %s, line %s. Its text isn't shown, because it can have a secret.",
            type(error).__name__,
            places[-1].filename,
            places[-1].lineno,
        )

    def _values(self, alert: Alert) -> dict[str, Any]:
        """Return the values that a notifier's templates may use."""
        return {
            "alert": alert.kind,
            "alert_id": alert.id,
            "oem_id": self._oem_id(),
            "event_type": str(alert.event_type),
            "layer": alert.layer,
            "hour": alert.hour,
            "lag": timedelta(seconds=round(alert.lag.total_seconds())),
            "objective": alert.objective,
            "link": f"{(conf.get('api', 'base_url', fallback='') or '').rstrip('/')}/plugin/ayla-export",
            "message": _message(alert),
        }

    def _oem_id(self) -> str:
        try:
            return AylaHook(self.ayla_conn_id).settings.oem_id
        except Exception as error:  # noqa: BLE001 - an alert without it is better than none
            self.log.info("The OEM's id isn't known: connection %s: %s", self.ayla_conn_id, type(error).__name__)
            return ""


def _message(alert: Alert) -> str:
    what = f"{alert.event_type}, {alert.layer}"
    hours = alert.lag / ONE_HOUR
    allowed = alert.objective / ONE_HOUR
    if alert.kind == "breach":
        return (
            f"{what}: the hour {describe_hour(alert.hour)} is late. The newest hour up to which nothing is missing "
            f"ended {hours:.1f} h ago; the objective is {allowed:.1f} h."
        )
    if alert.given_up:
        return (
            f"{what}: hours that were still missing when they were looked at last: {alert.given_up}. They are older "
            "than the lookback now, and are no longer looked at. No other hour is late. The first late one was "
            f"{describe_hour(alert.hour)}. The report of the archive shows whether they came."
        )
    return (
        f"{what}: no hour is late any more. The first late one was {describe_hour(alert.hour)}. The newest complete "
        f"hour ended {hours:.1f} h ago."
    )


def _notify(notifier: Notify, context: Any) -> None:
    """Call a notifier. One of Airflow's own class would log its errors and go on, so it is called one level below."""
    if not isinstance(notifier, BaseNotifier):
        notifier(context)
        return
    # Rendering changes a notifier, and it is used again.
    own = copy.copy(notifier)
    own.render_template_fields(context)
    own.notify(context)


def _asks(kind: str, arguments: Mapping[str, Any]) -> Loaded:
    """Return what asks a warehouse for its hours. It connects only then."""

    def loaded(event_type: str, start: datetime, end: datetime) -> Mapping[datetime, str]:
        with open_warehouse(kind, arguments) as warehouse:
            return warehouse.loaded(event_type, start, end)

    return loaded


def _objective(value: object, name: str) -> Objective:
    if value is None:
        return None
    if isinstance(value, Mapping):
        try:
            return {
                str(parse_event_type(event_type)): duration(each, name, at_least=ONE_HOUR)
                for event_type, each in value.items()
            }
        except AylaError as error:
            raise AylaConfigError(f"{name}: {error}") from None
    return duration(value, name, at_least=ONE_HOUR)


def _notifiers(value: object, name: str) -> list[Notify]:
    given: list[Any] = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [None]
    if not all(callable(each) for each in given):
        raise AylaConfigError(f"{name} is {value!r:.100}: expected a list of Airflow notifiers, or of callables")
    return given
