// Airflow's public API, from the same origin and with the user's session: Airflow decides what the user can see.

import { isAddressable } from "./format.js";
import { DAY, HOUR, MINUTE } from "./hours.js";
import { unproven } from "./model.js";
import { names } from "./names.js";
import { archiveOf } from "./proofs.js";

const PAGE = 100; // [api] maximum_page_limit: Airflow silently reduces a larger limit to this
const AT_ONCE = 6;
const TIMEOUT = MINUTE;
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

const SUBJECTS = { clearTaskInstances: "a retry", taskInstances: "task instances", dagRuns: "DAG runs", assets: "assets" };

/** Return what a request is about, as users know it. */
export function subject(path) {
  const [, name = "DAGs"] = Object.entries(SUBJECTS).find(([part]) => path.includes(part)) ?? [];
  return name;
}

const sentence = (text) => (/[.!?]$/.test(text) ? text : `${text}.`);

export class ApiError extends Error {
  constructor(status, path, detail) {
    super(sentence(`Airflow answered the request for ${subject(path)} with ${status}${detail ? `: ${detail.slice(0, 300)}` : ""}`));
    this.status = status;
    this.path = path;
  }
}

/** Return the path of the API for a DAG. */
export function dagPath(dag) {
  if (!isAddressable(dag)) throw new ApiError(404, "dags", `A page can't address a DAG with the id "${dag}".`);
  return `dags/${encodeURIComponent(dag)}`;
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
  const timeout = AbortSignal.timeout(TIMEOUT);
  const options = {
    method: body ? "POST" : "GET",
    credentials: "same-origin",
    headers: { Accept: "application/json", ...(body && { "Content-Type": "application/json" }) },
    body: body && JSON.stringify(body),
    signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
  };
  let answer, content;
  try {
    answer = await fetch(url, options);
    content = await answer.text();
  } catch (error) {
    if (timeout.aborted) throw new ApiError("nothing", path, `no answer within ${TIMEOUT / 1000} seconds.`);
    throw error;
  }
  const json = parsed(content);
  if (answer.ok && json) return json;
  if (answer.ok) throw new ApiError(answer.status, path, "the answer isn't JSON. A proxy may have answered.");
  const { detail = "" } = json ?? {};
  throw new ApiError(answer.status, path, typeof detail === "string" ? detail : JSON.stringify(detail));
}

/** Return the object that a JSON text holds, and undefined for any other text. */
function parsed(text) {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === "object" ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Return all items of the list at a path, page by page; `tick(done, of)` reports the progress. */
async function all(path, askPage, key, tick) {
  const page = async (offset) => {
    const answer = await askPage(offset);
    if (Array.isArray(answer[key])) return answer;
    throw new ApiError(200, path, `the answer has no ${key}.`);
  };
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
 * @param {{from: number, now: number, whole: boolean}} range times in milliseconds; with `whole` it reads all copies, else only
 *   those that didn't succeed
 * @param {{tick?: Function, signal?: AbortSignal, before?: object}} options `before` is an earlier result for the same
 *   range, whose events aren't read again
 */
export async function read({ from, now, whole }, { tick = () => {}, signal, before } = {}) {
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
  [found.runs, found.dags] = await Promise.all([
    dags.length ? readRuns(dags, from, tick, signal) : [],
    Promise.all(dags.map((dag) => readDag(dag, signal))),
  ]);
  // Operators that inherit from ours have another name, so the list above lacks their instances.
  const more = await Promise.all(
    unproven(found, { from, now }).filter(({ dag }) => isAddressable(dag)).map(({ dag, task, from: first, to: last }) => {
      const params = { task_id: task, run_after_gte: first, run_after_lte: last, order_by: "-run_after" };
      return list(`${dagPath(dag)}/dagRuns/~/taskInstances`, "task_instances", params);
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
  all(path, (offset) => ask(path, { params: { ...params, limit: PAGE, offset }, signal }), key, tick);

function readRuns(dag_ids, from, tick, signal) {
  const body = { dag_ids, run_after_gte: time(from), order_by: "run_after", page_limit: PAGE };
  const path = "dags/~/dagRuns/list";
  return all(path, (page_offset) => ask(path, { body: { ...body, page_offset }, signal }), "dag_runs", tick);
}

/** Read whether a DAG is paused and which run comes next. Without an answer, the page shows the rest. */
export async function readDag(dag, signal) {
  try {
    return { ...(await ask(dagPath(dag), { signal })), dag_id: dag };
  } catch (error) {
    if (error instanceof ApiError) return { dag_id: dag };
    throw error;
  }
}

/** Read the assets that are event types of archives, and their events. */
async function readEvents(list, from, before) {
  try {
    return await readPermittedEvents(list, from, before);
  } catch (error) {
    if (error.status !== 403) throw error;
    return { assets: [], events: [], blind: true };
  }
}

async function readPermittedEvents(list, from, before) {
  const all = await list("assets", "assets", { uri_pattern: "/event_type=", only_active: false });
  const assets = all.filter(({ uri }) => archiveOf(uri));
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
