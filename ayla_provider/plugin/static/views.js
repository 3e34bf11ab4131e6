// Turns cells into what a heat map shows: totals of days, shades and texts.

import { EMPTY, EXPIRED, LANDED, LOST, OPEN, WAITING } from "./constants.js";
import { count, counted, fullMoment, hourText, isAddressable, size, span, weekday } from "./format.js";
import { DAY, HOUR } from "./hours.js";
import { DONE, PROBLEMS, STATES } from "./states.js";

/** The figures that a shade can show. */
export const MEASURES = {
  files: { label: "files", text: count },
  bytes: { label: "bytes", text: size },
  rows: { label: "rows", text: count },
  lag: { label: "lag", text: span },
};
const SHADES = 5;

/** Return sums over cells: the number of hours in each state, and their known files, bytes, rows and longest lag. */
export function totals(cells) {
  const sum = { states: {}, hours: 0, problems: 0, done: 0 };
  for (const { state, files, bytes, rows, lag } of cells) {
    if (state === "unasked") continue;
    sum.hours += 1;
    sum.states[state] = (sum.states[state] ?? 0) + 1;
    if (PROBLEMS.has(state)) sum.problems += 1;
    if (DONE.has(state)) sum.done += 1;
    if (files !== undefined) sum.files = (sum.files ?? 0) + files;
    if (bytes !== undefined) sum.bytes = (sum.bytes ?? 0) + bytes;
    if (rows !== undefined) sum.rows = (sum.rows ?? 0) + rows;
    if (lag !== undefined) sum.lag = Math.max(sum.lag ?? 0, lag);
  }
  return sum;
}

/** Return the days of a row, in UTC, each with its hours and their totals. */
export function days({ eventType, cells }) {
  const byDay = new Map();
  for (const cell of cells) {
    const day = Math.floor(cell.hour / DAY) * DAY;
    if (!byDay.has(day)) byDay.set(day, []);
    byDay.get(day).push(cell);
  }
  return [...byDay].map(([day, hours]) => {
    const sum = totals(hours);
    return { ...sum, day, eventType, state: worst(sum.states), key: `${hours[0].key}\nday`, cells: hours };
  });
}

/** A day has the worst state of its hours. An hour that is empty, waiting or open doesn't hide one that landed. */
function worst(states) {
  const order = [LOST, "failed", "stuck", "never", "delayed", LANDED, EMPTY, WAITING, OPEN, "planned"];
  return order.find((state) => states[state]) ?? "unasked";
}

/**
 * Return a function from a cell to its shade: 1 to 5, from the least to the most of the cells; 0 without a figure.
 *
 * Days that aren't complete, such as the current one, have less than others and don't count.
 *
 * @param {object[]} cells all hours or all days of an event type in the range, however many of them the page shows
 */
export function shades(cells, measure) {
  const isPartial = ({ hours, done }) => hours !== undefined && done < DAY / HOUR;
  const whole = cells.filter((cell) => !isPartial(cell));
  const measured = whole.filter(({ state }) => state !== EMPTY);
  const values = measured.map((cell) => cell[measure]);
  const known = values.filter((value) => value !== undefined);
  const [least, most] = [Math.min(...known), Math.max(...known)];
  return (cell) => {
    const value = cell[measure];
    if (value === undefined || cell.state !== LANDED) return 0;
    if (most === least || !known.length) return 3;
    const step = Math.floor((SHADES * (value - least)) / (most - least));
    return 1 + Math.max(0, Math.min(SHADES - 1, step));
  };
}

/** Return what is known about an hour, in words. */
export function hourFacts(cell, zone) {
  const { state, files, bytes, rows, lag, task } = cell;
  const landed = files !== undefined;
  return [
    hourText(cell.hour, zone),
    stateText(cell),
    ...(landed && files ? [counted(files, "file"), size(bytes)] : []),
    ...(cell.lost ? [`${cell.lost} of them lost`] : []),
    ...(rows !== undefined && files ? [counted(rows, "row")] : []),
    ...(lag !== undefined ? [`lag ${span(lag)}`] : []),
    ...(state === LANDED && !landed ? ["no figures: Airflow has no asset event for it"] : []),
    ...(cell.revision > 1 ? [`revision ${cell.revision}`] : []),
    ...(cell.failedSince ? ["a later run failed"] : []),
    ...(landed && cell.underWay ? ["runs again now"] : []),
    ...(cell.by ? [`according to ${cell.by}, another DAG than that of most hours`] : []),
    ...(task ? [placeText(task)] : []),
  ];
}

function stateText({ state, expired }) {
  if (expired) return `${EXPIRED}: Ayla no longer keeps files of this time`;
  const { label, description } = STATES[state];
  return state === LANDED ? label : `${label}: ${description}`;
}

/** Return where a task instance is, in words. */
export function placeText({ dag, task, mapIndex, run, tries }) {
  return `${dag} › ${task}${mapIndex >= 0 ? ` [${mapIndex}]` : ""} › ${run}${tries ? ` › try ${tries}` : ""}`;
}

/** Return what is known about a day, in words. */
export function dayFacts(day) {
  const states = Object.keys(STATES).filter((state) => day.states[state] && state !== "unasked");
  return [
    `${weekday(day.day, "UTC")} UTC`,
    day.hours ? `${day.done} of ${counted(day.hours, "hour")} complete` : STATES.unasked.label,
    ...(day.problems ? [counted(day.problems, "problem")] : []),
    ...states.map((state) => `${day.states[state]} ${STATES[state].label}`),
    ...(day.files ? [counted(day.files, "file"), size(day.bytes)] : []),
    ...(day.rows !== undefined ? [counted(day.rows, "row")] : []),
    ...(day.lag !== undefined ? [`longest lag ${span(day.lag)}`] : []),
  ];
}

/** Return the path of a task instance's page, relative to Airflow's base URL; undefined if no URL can address it. */
export function pathOf({ dag, run, task, mapIndex }) {
  if (![dag, run, task].every(isAddressable)) return undefined;
  const [d, r, t] = [dag, run, task].map(encodeURIComponent);
  return `dags/${d}/runs/${r}/tasks/${t}${mapIndex >= 0 ? `/mapped/${mapIndex}` : ""}`;
}

/** Return a gap of a stream, in words: which records were lost. */
export function gapText({ shard, from, to, lost }, zone) {
  const begin = from === undefined ? "its beginning" : fullMoment(from, zone);
  const records = lost === undefined ? "" : `, ${counted(lost, "record")}`;
  return `shard ${shard}, from ${begin} to ${fullMoment(to, zone)}${records}`;
}
