// Airflow's public API, from the same origin and with the user's session: Airflow decides what the user can see.

import { DIGESTS, FRESHNESS, VOLUMES } from "./constants.js";
import { digestedArchive, digestsOf } from "./digests.js";
import { isAddressable } from "./format.js";
import { DAY, HOUR, MINUTE } from "./hours.js";
import { t } from "./i18n.js";
import { measuredArchive } from "./measures.js";
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
const WAIT = { operator: "AylaExportHourSensor" };

/** Long ranges: from this time before now on, events and tasks are read. The digests say what was before. */
const LIVE = 48 * HOUR;
/** The events and tasks of an archive without digests are read for this time at most. */
const UNDIGESTED = 90 * DAY;
/** How many pages of daily digests are read at most. */
const DIGEST_PAGES = 4;

const SUBJECTS = ["clearTaskInstances", "taskInstances", "dagRuns", "assets"];

/** Return what a request is about, as users know it. */
export const subject = (path) => t(`subject.${SUBJECTS.find((part) => path.includes(part)) ?? "dags"}`);

const sentence = (text) => (/[.!?]$/.test(text) ? text : `${text}.`);

export class ApiError extends Error {
  constructor(status, path, detail) {
    const answer = t("error.answer", { subject: subject(path), status: String(status) });
    super(sentence(detail ? `${answer}: ${detail.slice(0, 300)}` : answer));
    this.status = status;
    this.path = path;
  }
}

/** Return the path of the API for a DAG. */
export function dagPath(dag) {
  if (!isAddressable(dag)) throw new ApiError(404, "dags", t("error.address", { dag }));
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
    if (timeout.aborted) throw new ApiError(t("error.nothing"), path, t("error.timeout", { seconds: TIMEOUT / 1000 }));
    throw error;
  }
  const json = parsed(content);
  if (answer.ok && json) return json;
  if (answer.ok) throw new ApiError(answer.status, path, t("error.json"));
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

/**
 * Return the items of the list at a path, page by page; `tick(done, of)` reports the progress.
 *
 * `most` is the number of pages that are read at most.
 */
async function all(path, askPage, key, tick, most = Infinity) {
  const page = async (offset) => {
    const answer = await askPage(offset);
    if (Array.isArray(answer[key])) return answer;
    throw new ApiError(200, path, t("error.key", { key }));
  };
  const first = await page(0);
  const offsets = [];
  for (let offset = PAGE; offset < Math.min(first.total_entries, most * PAGE); offset += PAGE) offsets.push(offset);
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
  const known = await readDigests(list, signal);
  const since = (time) => Math.max(from, Math.floor((now - time) / HOUR) * HOUR);
  const live = whole ? from : since(known.digested.size ? LIVE : UNDIGESTED);
  const ranged = { run_after_gte: time(live), order_by: "-run_after" };
  const tasks = (params) => list(TASKS, "task_instances", { ...ranged, ...params });

  const [landed, copies, newest, waits] = await Promise.all([
    readEvents(list, known, { live, all: whole ? from : since(UNDIGESTED) }, before),
    tasks(whole ? COPY : { ...COPY, state: UNSUCCESSFUL }),
    // Instances in any state, because they contain the event types and destinations of the tasks.
    whole ? [] : ask(TASKS, { params: { ...COPY, limit: PAGE, order_by: "-run_after" }, signal }),
    tasks({ ...WAIT, state: UNSUCCESSFUL }),
  ]);
  const examples = (newest.task_instances ?? []).filter(({ run_after }) => Date.parse(run_after) >= live);
  const found = { ...landed, digests: known.digests, measures: known.measures, live, copies: unique([...copies, ...examples]), waits };
  // Only DAGs whose runs copy one event type each. The reconcile DAG isn't one of them.
  const { dags } = names(found);
  [found.runs, found.dags] = await Promise.all([
    dags.length ? readRuns(dags, live, tick, signal) : [],
    Promise.all(dags.map((dag) => readDag(dag, signal))),
  ]);
  // Operators that inherit from ours have another name, so the list above lacks their instances.
  const more = await Promise.all(
    unproven(found, { from: live, now }).filter(({ dag }) => isAddressable(dag)).map(({ dag, task, from: first, to: last }) => {
      const params = { task_id: task, run_after_gte: first, run_after_lte: last, order_by: "-run_after" };
      return list(`${dagPath(dag)}/dagRuns/~/taskInstances`, "task_instances", params);
    }),
  );
  return { ...found, copies: unique([...found.copies, ...more.flat()]), at };
}

/** Read all copies of the runs of a day or a week, including those that succeeded, their waits, and the runs. */
export async function readDay(day, length, { dags = [], signal } = {}) {
  const [from, to] = [day, day + length + HOUR];
  const ranged = { run_after_gte: time(from), run_after_lte: time(to) };
  const tasks = (params) =>
    listing(() => {}, signal)(TASKS, "task_instances", { ...ranged, ...params, order_by: "-run_after" });
  const [copies, waits, runs] = await Promise.all([
    tasks(COPY),
    tasks({ ...WAIT, state: UNSUCCESSFUL }),
    dags.length ? readRuns(dags, from, () => {}, signal, to) : [],
  ]);
  return { copies, waits, runs };
}

const time = (moment) => new Date(moment).toISOString();

const listing = (tick, signal) => (path, key, params, most) =>
  all(path, (offset) => ask(path, { params: { ...params, limit: PAGE, offset }, signal }), key, tick, most);

function readRuns(dag_ids, from, tick, signal, to) {
  const body = { dag_ids, run_after_gte: time(from), order_by: "run_after", page_limit: PAGE };
  if (to) body.run_after_lte = time(to);
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

const BLIND = { assets: [], events: [], digests: [], measures: [], digested: new Set(), blind: true };

/** Read the assets of archives, and the newest digests of each archive. */
async function readDigests(list, signal) {
  try {
    return await readPermittedDigests(list, signal);
  } catch (error) {
    if (error.status !== 403) throw error;
    return BLIND;
  }
}

/** Read the assets of archives: event types, and what tasks publish for the page. */
async function readAssets(list) {
  const patterns = ["/event_type=", `/${DIGESTS}/`, `/${FRESHNESS}`, `/${VOLUMES}`];
  const read = (uri_pattern) => list("assets", "assets", { uri_pattern, only_active: false });
  const together = await read(patterns.join("|"));
  // An Airflow that doesn't know alternatives found nothing.
  const found = together.length ? together : unique((await Promise.all(patterns.map(read))).flat());
  const isKnown = ({ uri }) => archiveOf(uri) || digestedArchive(uri) || measuredArchive(uri);
  return found.filter(isKnown);
}

async function readPermittedDigests(list, signal) {
  const assets = await readAssets(list);
  const lists = assets
    .filter(({ uri }) => digestedArchive(uri))
    .map(async ({ id, uri }) => {
      const pages = digestedArchive(uri).isDaily ? DIGEST_PAGES : 1;
      const params = { asset_id: id, order_by: "-timestamp" };
      return list("assets/events", "asset_events", params, pages);
    });
  const newest = assets
    .filter(({ uri }) => measuredArchive(uri))
    .map(({ id }) => ask("assets/events", { params: { asset_id: id, order_by: "-timestamp", limit: 1 }, signal }));
  const digests = unique((await Promise.all(lists)).flat());
  const measures = (await Promise.all(newest)).flatMap(({ asset_events }) => asset_events ?? []);
  const found = [...digestsOf({ assets, digests })].filter(([, archive]) => archive.named("copied").length);
  return { assets, digests, measures, digested: new Set(found.map(([destination]) => destination)) };
}

async function readEvents(list, known, since, before) {
  if (known.blind) return BLIND;
  try {
    return await readPermittedEvents(list, known, since, before);
  } catch (error) {
    if (error.status !== 403) throw error;
    return BLIND;
  }
}

async function readPermittedEvents(list, known, { live, all }, before) {
  const from = known.digested.size ? live : all;
  const assets = known.assets.filter(({ uri }) => archiveOf(uri));
  const old = before?.from <= from && !before.blind ? before : undefined;
  const startOf = ({ uri }) => (known.digested.has(archiveOf(uri).destination) ? live : all);
  const since = (asset) => (old ? old.at - SLACK : startOf(asset));
  const lists = await Promise.all(
    assets.map((asset) =>
      // The oldest first, so that new events don't shift the pages that aren't read yet.
      list("assets/events", "asset_events", {
        asset_id: asset.id,
        timestamp_gte: time(since(asset)),
        order_by: "timestamp",
      }),
    ),
  );
  return { assets: known.assets, events: unique([...(old?.events ?? []), ...lists.flat()]), from, blind: false };
}

export const unique = (items) => [...new Map(items.map((item) => [item.id, item])).values()];
