// Turns the answers of Airflow's API into what the page shows. Pure: no requests, no document, no clock.

import { EMPTY, EXPIRED, LANDED } from "./constants.js";
import { HOUR, hoursIn, hoursOfRun } from "./hours.js";
import { destinationOf, names } from "./names.js";
import { DONE, isUnderWay, stateOf } from "./states.js";

/**
 * Return the archives, each with a row for each event type and a cell for each hour.
 *
 * @param {{assets: object[], events: object[], copies: object[], waits: object[], runs: object[]}} read
 *   lists as the API returns them; `copies` and `waits` are task instances. A copy that isn't in the list either
 *   succeeded and has an event, or doesn't exist
 * @param {{from: number, now: number}} range milliseconds
 */
export function archives(read, { from, now }) {
  const known = names(read);
  const hours = hoursIn(from, now);
  const groups = new Map();
  const row = (task, eventType) => rowOf(groups, known, task, eventType);

  for (const event of read.events) {
    const hour = Date.parse(event.extra?.hour);
    const destination = known.destinations.get(event.asset_id);
    if (!destination || Number.isNaN(hour)) continue;
    const task = { dag_id: event.source_dag_id, task_id: event.source_task_id, destination };
    take(row(task, event.extra.event_type).events, hour, event);
  }
  for (const attempt of attempts(read, known)) {
    const into = row(attempt.copy, attempt.eventType).attempts;
    for (const hour of attempt.hours) {
      if (!into.has(hour)) into.set(hour, []);
      into.get(hour).push(attempt);
    }
  }
  return [...groups.values()]
    .map((group) => finished(group, hours, now, known))
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

/** Yield the copies, the newest first, each with its wait and its hours. */
function* attempts(read, known) {
  const runs = new Map(read.runs.map((run) => [`${run.dag_id}\n${run.dag_run_id}`, run]));
  const waits = new Map();
  for (const wait of read.waits) waits.set(`${wait.dag_id}\n${wait.dag_run_id}\n${known.of(wait).eventType}`, wait);

  const found = [];
  for (const copy of read.copies) {
    const run = `${copy.dag_id}\n${copy.dag_run_id}`;
    const { eventType } = known.of(copy);
    const hours = known.hoursOf(copy) ?? hoursOfRun(runs.get(run));
    // A task that is mapped over an empty list has no hour.
    if (copy.state === "removed" || !eventType || !hours.length) continue;
    const at = Date.parse(copy.start_date ?? copy.run_after) || 0;
    found.push({ copy, wait: waits.get(`${run}\n${eventType}`), eventType, hours, at });
  }
  yield* found.sort((left, right) => right.at - left.at);
}

/**
 * Return the copies without an event that aren't in the list of copies. Each of them succeeded without an event,
 * belongs to another operator, or never existed.
 *
 * @returns {{dag: string, task: string, from: string, to: string}[]} the first and the last run_after of each task
 */
export function unproven(read) {
  const known = names(read);
  const proven = new Set(
    read.events.map(({ asset_id, extra }) =>
      [known.destinations.get(asset_id), extra?.event_type, Date.parse(extra?.hour)].join("\n"),
    ),
  );
  const listed = new Set(
    read.copies.map(({ dag_id, dag_run_id, task_id }) => [dag_id, dag_run_id, task_id].join("\n")),
  );
  const found = new Map();
  for (const run of read.runs) {
    for (const task of known.copiesOf(run.dag_id)) {
      const { destination, eventType } = known.of({ dag_id: run.dag_id, task_id: task });
      const isProven = hoursOfRun(run).every((hour) => proven.has([destination, eventType, hour].join("\n")));
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

function finished(group, hours, now, known) {
  const window = new Set(hours);
  const exports = known.dags.filter((dag) => group.dags.has(dag));
  const dags = [...exports, ...[...group.dags].filter((dag) => !exports.includes(dag)).sort()];
  const label = group.destination ?? `${dags.join(", ")}: nothing copied so far`;
  const rows = [...group.rows.values()]
    .filter(({ events, attempts }) => [...events.keys(), ...attempts.keys()].some((hour) => window.has(hour)))
    .sort((left, right) => left.eventType.localeCompare(right.eventType))
    .map(({ eventType, events, attempts }) => {
      const first = Math.min(...events.keys(), ...attempts.keys());
      const cells = hours.map((hour) =>
        cellOf(eventType, hour, events.get(hour), attempts.get(hour) ?? [], now, first),
      );
      const keyOf = ({ hour }) => `${group.id}\n${eventType}\n${hour}`;
      return { eventType, cells: cells.map((cell) => ({ ...cell, archive: label, key: keyOf(cell) })) };
    });
  return { ...group, label, dags, exports, connections: [...group.connections].sort(), rows, hours };
}

function cellOf(eventType, hour, event, attempts, now, first) {
  const cell = { eventType, hour, ...stateOf(attempts, hour, now, first) };
  // Retry the attempt that covers this hour alone, rather than one that covers a whole day.
  const size = ({ copy, hours }) => hours.length + (copy.map_index >= 0 ? 0.5 : 0);
  const [own] = [...attempts].sort((left, right) => size(left) - size(right));
  if (own) cell.again = { ...placeOf(own.copy), wait: own.wait?.task_id, hours: own.hours.length };
  cell.underWay = attempts.some(({ copy }) => isUnderWay(copy));
  if (cell.attempt) {
    const { copy, wait } = cell.attempt;
    cell.task = placeOf(wait && wait.state !== "success" && copy.state !== "failed" ? wait : copy);
  }
  delete cell.attempt;
  return event ? landed(cell, event, attempts) : cell;
}

function landed(cell, event, attempts) {
  const { extra } = event;
  const files = Number(extra.files) || 0;
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
  return {
    ...cell,
    again: cell.again ?? { ...writer, hours: 1 },
    state: files ? LANDED : EMPTY,
    expired: extra.state === EXPIRED,
    files,
    bytes: Number(extra.bytes) || 0,
    rows: Number.isFinite(extra.lines) ? extra.lines : undefined,
    lag: extra.newest ? Math.max(0, Date.parse(extra.newest) - end) : undefined,
    revision: extra.revision,
    failedSince: Boolean(failed),
    task: failed ? placeOf(failed.copy) : { ...writer, tries: same?.copy.try_number },
  };
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
    const [destination, at] = [destinationOf(uri), Date.parse(event?.timestamp)];
    if (!shown.has(destination) && at > (last.get(destination) ?? 0)) last.set(destination, at);
  }
  return [...last].map(([destination, at]) => ({ destination, at }));
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
