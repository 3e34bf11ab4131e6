// Airflow's public API, from the same origin and with the user's session: Airflow decides what the user can see.

import { DAY, HOUR, MINUTE } from "./hours.js";
import { unproven } from "./model.js";
import { destinationOf, names } from "./names.js";

const PAGE = 100; // [api] maximum_page_limit: Airflow silently reduces a larger limit to this
const AT_ONCE = 6;
/** Airflow may write an event somewhat later than the event's timestamp. */
const SLACK = 5 * MINUTE;
// Without "skipped": every run of the reconcile DAG that finds nothing has a skipped copy.
const UNSUCCESSFUL = [
  "failed",
  "upstream_failed",
  "running",
  "queued",
  "scheduled",
  "deferred",
  "up_for_retry",
  "up_for_reschedule",
  "restarting",
  "no_status",
];
const TASKS = "dags/~/dagRuns/~/taskInstances";
const COPY = { operator: "AylaExportToBucketOperator" };

export class ApiError extends Error {
  constructor(status, path, detail) {
    super(`Airflow answered ${path.split("?")[0]} with ${status}${detail ? `: ${detail}` : ""}`);
    this.status = status;
    this.path = path;
  }
}

let busy = 0;
const queue = [];

/** Send a request to Airflow, a few at once, and return the answer. */
export async function ask(path, { params = {}, body, signal } = {}) {
  if (busy >= AT_ONCE) await new Promise((resolve) => queue.push(resolve));
  busy += 1;
  try {
    return await send(path, params, body, signal);
  } finally {
    busy -= 1;
    queue.shift()?.();
  }
}

async function send(path, params, body, signal) {
  const url = new URL(`api/v2/${path}`, document.baseURI);
  for (const [name, value] of Object.entries(params)) {
    for (const single of [value].flat()) url.searchParams.append(name, single);
  }
  const answer = await fetch(url, {
    method: body ? "POST" : "GET",
    credentials: "same-origin",
    headers: { Accept: "application/json", ...(body && { "Content-Type": "application/json" }) },
    body: body && JSON.stringify(body),
    signal,
  });
  const content = await answer.json().catch(() => ({}));
  if (answer.ok) return content;
  const { detail = "" } = content;
  throw new ApiError(answer.status, path, typeof detail === "string" ? detail : JSON.stringify(detail));
}

/** Return all items of a list, page by page; `tick(done, of)` reports the progress. */
async function all(page, key, tick) {
  const first = await page(0);
  const offsets = [];
  for (let offset = PAGE; offset < first.total_entries; offset += PAGE) offsets.push(offset);
  tick(1, 1 + offsets.length);
  const rest = await Promise.all(
    offsets.map(async (offset) => {
      const answer = await page(offset);
      tick(1, 0);
      return answer;
    }),
  );
  return [first, ...rest].flatMap((answer) => answer[key]);
}

/**
 * Read everything that the page shows.
 *
 * @param {{from: number, whole: boolean}} range `from` is in milliseconds; with `whole` it reads all copies, else only
 *   those that didn't succeed
 * @param {{tick?: Function, signal?: AbortSignal, before?: object}} options `before` is an earlier result for the same
 *   range, whose events aren't read again
 */
export async function read({ from, whole }, { tick = () => {}, signal, before } = {}) {
  const at = Date.now();
  const list = listing(tick, signal);
  const ranged = { run_after_gte: time(from), order_by: "-run_after" };
  const tasks = (params) => list(TASKS, "task_instances", { ...ranged, ...params });

  const [landed, copies, newest, waits] = await Promise.all([
    readEvents(list, from, before),
    tasks(whole ? COPY : { ...COPY, state: UNSUCCESSFUL }),
    // Instances in any state, because they contain the event types and destinations of the tasks.
    whole ? [] : ask(TASKS, { params: { ...COPY, limit: PAGE, order_by: "-run_after" }, signal }),
    tasks({ operator: "AylaExportHourSensor", state: UNSUCCESSFUL }),
  ]);
  const examples = (newest.task_instances ?? []).filter(({ run_after }) => Date.parse(run_after) >= from);
  const found = { ...landed, copies: unique([...copies, ...examples]), waits };
  // Only DAGs whose runs copy one event type each. The reconcile DAG isn't one of them.
  const { dags } = names(found);
  found.runs = dags.length ? await readRuns(dags, from, tick, signal) : [];
  // Operators that inherit from ours have another name, so the list above lacks their instances.
  const more = await Promise.all(
    unproven(found).map(({ dag, task, from: first, to: last }) => {
      const params = { task_id: task, run_after_gte: first, run_after_lte: last, order_by: "-run_after" };
      return list(`dags/${encodeURIComponent(dag)}/dagRuns/~/taskInstances`, "task_instances", params);
    }),
  );
  return { ...found, copies: unique([...found.copies, ...more.flat()]), at };
}

/** Read all copies of the runs of a day, including those that succeeded. */
export function readDay(day, { signal } = {}) {
  const ranged = { run_after_gte: time(day), run_after_lte: time(day + DAY + HOUR) };
  return listing(() => {}, signal)(TASKS, "task_instances", { ...COPY, ...ranged, order_by: "-run_after" });
}

const time = (moment) => new Date(moment).toISOString();

const listing = (tick, signal) => (path, key, params) =>
  all((offset) => ask(path, { params: { ...params, limit: PAGE, offset }, signal }), key, tick);

function readRuns(dag_ids, from, tick, signal) {
  const body = { dag_ids, run_after_gte: time(from), order_by: "run_after", page_limit: PAGE };
  return all((page_offset) => ask("dags/~/dagRuns/list", { body: { ...body, page_offset }, signal }), "dag_runs", tick);
}

/** Read the assets that are event types of archives, and their events. */
async function readEvents(list, from, before) {
  let assets;
  try {
    assets = await list("assets", "assets", { uri_pattern: "/event_type=", only_active: false });
  } catch (error) {
    if (error.status !== 403) throw error;
    return { assets: [], events: [], blind: true };
  }
  assets = assets.filter(({ uri }) => destinationOf(uri));
  const old = before?.from <= from && !before.blind ? before : undefined;
  const since = old ? old.at - SLACK : from;
  const lists = await Promise.all(
    assets.map(({ id }) =>
      // The oldest first, so that new events don't shift the pages that aren't read yet.
      list("assets/events", "asset_events", { asset_id: id, timestamp_gte: time(since), order_by: "timestamp" }),
    ),
  );
  return { assets, events: unique([...(old?.events ?? []), ...lists.flat()]), from, blind: false };
}

export const unique = (items) => [...new Map(items.map((item) => [item.id, item])).values()];
