// From cells to what a heat map shows of them: totals of days, shades, texts.

import { count, counted, hourText, size, span, weekday } from "./format.js";
import { DAY } from "./hours.js";
import { DONE, PROBLEMS, STATES } from "./states.js";

/** What a shade may stand for. */
export const MEASURES = {
  files: { label: "files", text: count },
  bytes: { label: "bytes", text: size },
  rows: { label: "rows", text: count },
  lag: { label: "lag", text: span },
};
const SHADES = 5;

/** Return the sums over cells: how many hours of each state, and their files, bytes, rows and worst lag. */
export function totals(cells) {
  const sum = { states: {}, hours: 0, problems: 0, done: 0, files: 0, bytes: 0 };
  for (const { state, files, bytes, rows, lag } of cells) {
    if (state === "unasked") continue;
    sum.hours += 1;
    sum.states[state] = (sum.states[state] ?? 0) + 1;
    if (PROBLEMS.has(state)) sum.problems += 1;
    if (DONE.has(state)) sum.done += 1;
    sum.files += files ?? 0;
    sum.bytes += bytes ?? 0;
    if (rows !== undefined) sum.rows = (sum.rows ?? 0) + rows;
    if (lag !== undefined) sum.lag = Math.max(sum.lag ?? 0, lag);
  }
  return sum;
}

/** Return the days of a row in UTC, each with its hours and their totals. */
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

/** A day looks like the worst of its hours; an hour still waited for, or an empty one, doesn't hide what landed. */
function worst(states) {
  const order = ["failed", "overdue", "never", "late", "landed", "empty", "waiting"];
  return order.find((state) => states[state]) ?? "unasked";
}

/** Return a function from a cell to its shade, 1 to 5 within what its row has; 0 if it has no such figure. */
export function shades(cells, measure) {
  const values = cells.filter(({ state }) => state !== "empty").map((cell) => cell[measure]);
  const known = values.filter((value) => value !== undefined);
  const [least, most] = [Math.min(...known), Math.max(...known)];
  return (cell) => {
    const value = cell[measure];
    if (value === undefined || cell.state !== "landed") return 0;
    return most > least ? 1 + Math.min(SHADES - 1, Math.floor((SHADES * (value - least)) / (most - least))) : 3;
  };
}

/** Return what is known of an hour, in words. */
export function hourFacts(cell, zone) {
  const { state, files, bytes, rows, lag, task } = cell;
  const landed = files !== undefined;
  return [
    hourText(cell.hour, zone),
    cell.expired
      ? "expired: older than what Ayla keeps"
      : `${STATES[state].label}${state === "landed" ? "" : `: ${STATES[state].says}`}`,
    ...(landed && files ? [counted(files, "file"), size(bytes)] : []),
    ...(rows !== undefined && files ? [counted(rows, "row")] : []),
    ...(lag !== undefined ? [`lag ${span(lag)}`] : []),
    ...(state === "landed" && !landed ? ["without figures: no asset event tells them"] : []),
    ...(cell.revision > 1 ? [`revision ${cell.revision}`] : []),
    ...(cell.failedSince ? ["a later run of it has failed"] : []),
    ...(landed && cell.underWay ? ["being done again"] : []),
    ...(task ? [placeText(task)] : []),
  ];
}

function placeText({ dag, task, mapIndex, run, tries }) {
  return `${dag} › ${task}${mapIndex >= 0 ? ` [${mapIndex}]` : ""} › ${run}${tries ? ` › try ${tries}` : ""}`;
}

/** Return what is known of a day, in words. */
export function dayFacts(day) {
  const states = Object.keys(STATES).filter((state) => day.states[state] && state !== "unasked");
  return [
    `${weekday(day.day, "UTC")} UTC`,
    day.hours ? `${day.done} of ${counted(day.hours, "hour")} complete` : STATES.unasked.label,
    ...states.map((state) => `${day.states[state]} ${STATES[state].label}`),
    ...(day.files ? [counted(day.files, "file"), size(day.bytes)] : []),
    ...(day.rows !== undefined ? [counted(day.rows, "row")] : []),
    ...(day.lag !== undefined ? [`worst lag ${span(day.lag)}`] : []),
  ];
}

/** Return where in Airflow a task instance is, below its address. */
export function pathOf({ dag, run, task, mapIndex }) {
  const [d, r, t] = [dag, run, task].map(encodeURIComponent);
  return `dags/${d}/runs/${r}/tasks/${t}${mapIndex >= 0 ? `/mapped/${mapIndex}` : ""}`;
}
