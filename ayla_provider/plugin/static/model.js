// Turns the answers of Airflow's API into what the page shows. Pure: no requests, no document, no clock.

import { EMPTY, EXPIRED, LANDED, LOST, OPEN, PATIENCE } from "./constants.js";
import { digestsOf } from "./digests.js";
import { HOUR, hoursIn, hoursWithin, intervalOfRun } from "./hours.js";
import { t } from "./i18n.js";
import { firstDigested, layering } from "./layers.js";
import { anomalyText, measuresOf } from "./measures.js";
import { names } from "./names.js";
import { archiveOf } from "./proofs.js";
import { DONE, isUnderWay, stateOf } from "./states.js";

/**
 * Return the archives, each with a row for each event type and a cell for each hour.
 *
 * @param {{assets: object[], events: object[], copies: object[], waits: object[], runs: object[], dags?: object[]}} read
 *   lists as the API returns them; `copies` and `waits` are task instances. A copy that isn't in the list either
 *   succeeded and has an event, or doesn't exist
 * @param {{from: number, now: number}} range milliseconds. If `read.live` is later, events and tasks are read from there
 *   on, and the digests say what was before
 */
export function archives(read, range) {
  const known = names(read);
  const digests = digestsOf(read);
  const measures = measuresOf(read);
  const live = read.live ?? range.from;
  const hours = hoursIn(range.from, range.now);
  const window = new Set(hours);
  const groups = new Map();
  const row = (task, eventType) => rowOf(groups, known, task, eventType);

  for (const event of known.proofs) {
    const { hour, destination } = event;
    // A lost hour's event comes from the task that verifies the archive, which copies nothing.
    const writer = event.extra.lost ? {} : { dag_id: event.source_dag_id, task_id: event.source_task_id };
    const task = { ...writer, destination };
    const { events } = row(task, event.eventType);
    if (window.has(hour)) take(events, hour, event);
    if (event.extra.stream) takeStream(groups.get(destination), event);
  }
  for (const attempt of attempts(read, known, range)) {
    const into = row(attempt.copy, attempt.eventType).attempts;
    for (const hour of attempt.hours) {
      if (!into.has(hour)) into.set(hour, []);
      into.get(hour).push(attempt);
    }
  }
  for (const [destination, { eventTypes }] of digests) {
    for (const eventType of eventTypes) row({ destination }, eventType);
  }
  const plans = plansOf(read, known, range.now);
  return [...groups.values()]
    .map((group) => finished(group, { hours, live, now: range.now, known, plans, digests: digests.get(group.destination), measured: measures.get(group.destination) }))
    .filter((group) => group.rows.length)
    .sort(byDag);
}

/** Sort by the main DAG: an archive has it before its first copy, and so keeps its place on the page. */
const byDag = (left, right) =>
  (left.dags[0] ?? "").localeCompare(right.dags[0] ?? "") || left.id.localeCompare(right.id);

function rowOf(groups, known, task, eventType) {
  const destination = task.destination ?? known.of(task).destination;
  const id = destination ?? `dag:${task.dag_id}`;
  if (!groups.has(id)) groups.set(id, { id, destination, dags: new Set(), connections: new Set(), rows: new Map() });
  const group = groups.get(id);
  if (task.dag_id) group.dags.add(task.dag_id);
  const { connection } = known.of(task);
  if (connection) group.connections.add(connection);
  if (!group.rows.has(eventType)) group.rows.set(eventType, { eventType, events: new Map(), attempts: new Map() });
  return group.rows.get(eventType);
}

/** Keep the newest event of an hour. */
function take(events, hour, event) {
  const present = events.get(hour);
  const newer = present && (Date.parse(event.timestamp) - Date.parse(present.timestamp) || event.id - present.id);
  if (!present || newer > 0) events.set(hour, event);
}

/** Keep what the newest event of a stream's archive says about the stream. */
function takeStream(group, { id, timestamp, hour, extra }) {
  const at = Date.parse(timestamp);
  // All event types of a stream are complete up to the same hour.
  const newest = Math.max(group.stream?.newest ?? hour, hour);
  const isOlder = group.stream && (at - group.stream.at || id - group.stream.id) < 0;
  const { stream: url, gaps, unacknowledged } = extra;
  group.stream = isOlder ? { ...group.stream, newest } : { id, at, url, gaps, unacknowledged, newest };
}

/** Yield the copies, the newest first, each with its run, its wait, its hours in the range and the number of all. */
function* attempts(read, known, range) {
  const runs = new Map(read.runs.map((run) => [`${run.dag_id}\n${run.dag_run_id}`, run]));
  const waits = new Map();
  for (const wait of read.waits) waits.set(`${wait.dag_id}\n${wait.dag_run_id}\n${known.of(wait).eventType}`, wait);

  const found = [];
  for (const copy of read.copies) {
    const key = `${copy.dag_id}\n${copy.dag_run_id}`;
    const run = runs.get(key);
    const { eventType } = known.of(copy);
    const interval = known.intervalOf(copy) ?? intervalOfRun(run);
    const hours = hoursWithin(interval, range);
    // A task that is mapped over an empty list has no hour.
    if (copy.state === "removed" || !eventType || !hours.length) continue;
    const at = Date.parse(copy.start_date ?? copy.run_after) || 0;
    const length = Math.ceil((interval.end - interval.start) / HOUR);
    found.push({ copy, run, wait: waits.get(`${key}\n${eventType}`), eventType, hours, length, at });
  }
  yield* found.sort((left, right) => right.at - left.at);
}

/**
 * Return the copies without an event that aren't in the list of copies. Each of them succeeded without an event,
 * belongs to another operator, or never existed.
 *
 * @returns {{dag: string, task: string, from: string, to: string}[]} the first and the last run_after of each task
 */
export function unproven(read, range) {
  const known = names(read);
  const proven = new Set(known.proofs.map(({ destination, eventType, hour }) => [destination, eventType, hour].join("\n")));
  const listed = new Set(
    read.copies.map(({ dag_id, dag_run_id, task_id }) => [dag_id, dag_run_id, task_id].join("\n")),
  );
  const found = new Map();
  for (const run of read.runs) {
    for (const task of known.copiesOf(run.dag_id)) {
      const { destination, eventType } = known.of({ dag_id: run.dag_id, task_id: task });
      const hours = hoursWithin(intervalOfRun(run), range);
      const isProven = hours.every((hour) => proven.has([destination, eventType, hour].join("\n")));
      if (isProven || listed.has([run.dag_id, run.dag_run_id, task].join("\n"))) continue;
      const key = `${run.dag_id}\n${task}`;
      const span = found.get(key) ?? { dag: run.dag_id, task, from: run.run_after, to: run.run_after };
      if (run.run_after < span.from) span.from = run.run_after;
      if (run.run_after > span.to) span.to = run.run_after;
      found.set(key, span);
    }
  }
  return [...found.values()];
}

/**
 * Return what the scheduler does next with each DAG: whether the DAG is paused; the start of the next run's interval,
 * as long as the scheduler creates runs; and whether the DAG's tasks work.
 */
function plansOf({ dags = [], copies, waits }, { proofs }, now) {
  const newest = new Map();
  const note = (dag, text) => newest.set(dag, Math.max(newest.get(dag) ?? 0, Date.parse(text) || 0));
  for (const event of proofs) if (!event.extra.lost) note(event.source_dag_id, event.timestamp);
  for (const task of [...copies, ...waits]) note(task.dag_id, task.start_date);
  const plan = (dag) => {
    const { dag_id, is_paused, next_dagrun_data_interval_start: start, next_dagrun_data_interval_end: end } = dag;
    const active = !is_paused && now - (newest.get(dag_id) ?? 0) < PATIENCE;
    const next = active ? Date.parse(start) : NaN;
    return { paused: Boolean(is_paused), active, next, isLate: now - Date.parse(end) >= PATIENCE };
  };
  return new Map(dags.map((dag) => [dag.dag_id, plan(dag)]));
}

/** Return the number of cells that each DAG of an archive has worked on. */
function countHours({ rows }) {
  const counts = new Map();
  const count = (dag) => counts.set(dag, (counts.get(dag) ?? 0) + 1);
  for (const { events, attempts } of rows.values()) {
    for (const event of events.values()) if (!event.extra.lost) count(event.source_dag_id);
    for (const list of attempts.values()) for (const { copy } of list) count(copy.dag_id);
  }
  return counts;
}

function finished(group, { hours, live, now, known, plans, digests, measured }) {
  const counts = countHours(group);
  const most = (left, right) => (counts.get(right) ?? 0) - (counts.get(left) ?? 0) || left.localeCompare(right);
  // The first DAG is the archive's main one: a backfill of hours that never ran names it.
  const exports = known.dags.filter((dag) => group.dags.has(dag)).sort(most);
  const dags = [...exports, ...[...group.dags].filter((dag) => !exports.includes(dag)).sort()];
  const main = dags[0];
  const plan = plans.get(main) ?? {};
  const isCatchingUp = plan.next <= now && plan.isLate;
  const paused = dags.filter((dag) => plans.get(dag)?.paused);
  const label = group.destination ?? t("archive.nothing", { dags: dags.join(", ") });
  const isShown = ({ eventType, events, attempts }) =>
    events.size || attempts.size || isCatchingUp || digests?.eventTypes.includes(eventType);
  const rows = [...group.rows.values()]
    .filter(isShown)
    .sort((left, right) => left.eventType.localeCompare(right.eventType))
    .map(({ eventType, events, attempts }) => {
      // The first hour of the range that anything covers. Before the live hours, only digests know what never ran.
      const covered = hours.find((hour) => events.has(hour) || attempts.has(hour));
      const wanted = [covered, firstDigested(digests, eventType, hours)].filter((hour) => hour !== undefined);
      const first = digests && wanted.length ? Math.max(Math.min(...wanted), live) : covered;
      const when = { now, first, newestOfStream: group.stream?.newest, ...plan };
      const withDigests = layering(digests, eventType, hours, now);
      const cells = hours.map((hour, index) =>
        withDigests(cellOf(eventType, hour, events.get(hour), attempts.get(hour) ?? [], when, main), index),
      );
      const keyOf = ({ hour }) => `${group.id}\n${eventType}\n${hour}`;
      const anomaly = measured?.anomalies.length ? (hour) => anomalyText(measured, eventType, hour) : () => undefined;
      const named = (cell) => ({ ...cell, archive: label, key: keyOf(cell), anomaly: anomaly(cell.hour) });
      return { eventType, cells: cells.map(named) };
    });
  const connections = [...group.connections].sort();
  const next = isCatchingUp ? plan.next : undefined;
  return { ...group, label, dags, exports, paused, next, connections, rows, hours, digests, measured };
}

function cellOf(eventType, hour, event, attempts, when, main) {
  const { newestOfStream } = when;
  if (newestOfStream !== undefined && !event) return { eventType, hour, state: hour > newestOfStream ? OPEN : "unasked" };
  const cell = { eventType, hour, ...stateOf(attempts, hour, when) };
  // Retry the attempt that covers this hour alone, rather than one that covers a whole day, and that of the main DAG.
  const size = ({ copy, length }) => length + (copy.map_index >= 0 ? 0.5 : 0);
  const isOther = ({ copy }) => Number(copy.dag_id !== main);
  const [own] = [...attempts].sort((left, right) => size(left) - size(right) || isOther(left) - isOther(right));
  if (own) cell.again = { ...placeOf(own.copy), wait: own.wait?.task_id, hours: own.length };
  cell.underWay = attempts.some(({ copy }) => isUnderWay(copy));
  if (cell.attempt) {
    const { copy, wait } = cell.attempt;
    cell.task = placeOf(wait && wait.state !== "success" && copy.state !== "failed" ? wait : copy);
  }
  delete cell.attempt;
  const whole = event ? landed(cell, event, attempts) : cell;
  const proof = event ? event.source_dag_id : cell.task?.dag;
  // Which DAG says so, if it isn't the archive's main one. Without a DAG, somebody created the event by the API.
  return DONE.has(whole.state) && proof !== main ? { ...whole, by: proof ?? t("source.api") } : whole;
}

function landed(cell, event, attempts) {
  const { extra } = event;
  const { files } = extra;
  const end = cell.hour + HOUR;
  const failed = attempts.find(
    ({ copy }) => /failed/.test(copy.state) && Date.parse(copy.end_date) > Date.parse(event.timestamp),
  );
  const writer = {
    dag: event.source_dag_id,
    run: event.source_run_id,
    task: event.source_task_id,
    mapIndex: event.source_map_index,
  };
  const same = attempts.find(({ copy }) => isSame(placeOf(copy), writer));
  const hasTask = writer.dag && writer.run && writer.task;
  // A run that drains a stream again begins where the last one ended.
  const canCopy = hasTask && !extra.lost && !extra.stream;
  return {
    ...cell,
    again: cell.again ?? (canCopy ? { ...writer, hours: 1 } : undefined),
    state: stateOfEvent(extra),
    at: Date.parse(event.timestamp),
    expired: extra.state === EXPIRED,
    files,
    lost: extra.lost || undefined,
    bytes: extra.bytes,
    rows: extra.lines,
    lag: extra.newest === undefined ? undefined : Math.max(0, extra.newest - end),
    revision: extra.revision,
    failedSince: Boolean(failed),
    task: failed ? placeOf(failed.copy) : hasTask ? { ...writer, tries: same?.copy.try_number } : undefined,
  };
}

function stateOfEvent({ lost, files }) {
  if (lost) return LOST;
  return files ? LANDED : EMPTY;
}

const isSame = (left, right) => ["dag", "run", "task", "mapIndex"].every((name) => left[name] === right[name]);

function placeOf({ dag_id, dag_run_id, task_id, map_index, try_number }) {
  return { dag: dag_id, run: dag_run_id, task: task_id, mapIndex: map_index, tries: try_number };
}

/** Return the archives without any run in the range, each with the time of its last copy. */
export function silent({ assets }, found) {
  const shown = new Set(found.map(({ destination }) => destination));
  const last = new Map();
  for (const { uri, last_asset_event: event } of assets) {
    const [destination, at] = [archiveOf(uri)?.destination, Date.parse(event?.timestamp)];
    if (destination && !shown.has(destination) && at > (last.get(destination) ?? 0)) last.set(destination, at);
  }
  return [...last].map(([destination, at]) => ({ destination, at }));
}

/**
 * Return until when an archive is complete for every event type: in milliseconds, undefined if some event type has no
 * complete hour; and how many hours before are incomplete.
 */
export function completeness(rows) {
  const newest = rows.map(({ cells }) => newestComplete(cells).hour);
  if (!newest.length || newest.includes(undefined)) return { until: undefined, gaps: 0 };
  const until = Math.min(...newest) + HOUR;
  const isGap = ({ hour, state }) => hour < until && state !== "unasked" && !DONE.has(state);
  return { until, gaps: rows.flatMap(({ cells }) => cells).filter(isGap).length };
}

/**
 * Return the newest complete hour, undefined if there is none, and the number of incomplete hours before it.
 */
export function newestComplete(cells) {
  const wanted = cells.filter(({ state }) => state !== "unasked");
  const last = wanted.findLastIndex(({ state }) => DONE.has(state));
  const gaps = wanted.slice(0, Math.max(last, 0)).filter(({ state }) => !DONE.has(state)).length;
  return { hour: wanted[last]?.hour, gaps };
}
