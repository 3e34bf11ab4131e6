// Turns cells into what a heat map shows: totals of days, shades and texts.

import { EMPTY, LANDED, OPEN, WAITING } from "./constants.js";
import { count, fullMoment, hourText, isAddressable, size, span, weekday } from "./format.js";
import { DAY, HOUR, startOfUnit } from "./hours.js";
import { t } from "./i18n.js";
import { DONE, descriptionOf, labelOf, needsPerson, PROBLEMS, RANKED, STATES } from "./states.js";

/** The figures that a shade can show, with the function that writes them. */
export const MEASURES = { files: count, bytes: size, rows: count, lag: span };
const SHADES = 5;

/** Return sums over cells: the number of hours in each state, and their known files, bytes, rows and longest lag. */
export function totals(cells) {
  const sum = { states: {}, hours: 0, problems: 0, needing: 0, done: 0 };
  for (const cell of cells) {
    const { state, files, bytes, rows, lag } = cell;
    if (state === "unasked") continue;
    sum.hours += 1;
    sum.states[state] = (sum.states[state] ?? 0) + 1;
    if (PROBLEMS.has(state)) sum.problems += 1;
    if (needsPerson(cell)) sum.needing += 1;
    if (DONE.has(state)) sum.done += 1;
    if (files !== undefined) sum.files = (sum.files ?? 0) + files;
    if (bytes !== undefined) sum.bytes = (sum.bytes ?? 0) + bytes;
    if (rows !== undefined) sum.rows = (sum.rows ?? 0) + rows;
    if (lag !== undefined) sum.lag = Math.max(sum.lag ?? 0, lag);
  }
  return sum;
}

/** Return the days or weeks of a row, in UTC, each with its hours and their totals. */
export function days({ eventType, cells }, unit = DAY) {
  const byDay = new Map();
  for (const cell of cells) {
    const day = startOfUnit(cell.hour, unit);
    if (!byDay.has(day)) byDay.set(day, []);
    byDay.get(day).push(cell);
  }
  return [...byDay].map(([day, hours]) => {
    const sum = totals(hours);
    return { ...sum, day, unit, eventType, state: worst(sum.states), key: `${hours[0].key}\nday`, cells: hours };
  });
}

/** A day has the worst state of its hours. An hour that is empty, waiting or open doesn't hide one that landed. */
function worst(states) {
  const order = [...RANKED, LANDED, "loading", EMPTY, WAITING, OPEN, "planned"];
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
  const isPartial = ({ hours, done, unit = DAY }) => hours !== undefined && done < unit / HOUR;
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
    ...(cell.note ? [cell.note] : []),
    ...(cell.anomaly ? [cell.anomaly] : []),
    ...(landed && files ? [t("count.files", { count: files }), size(bytes)] : []),
    ...(cell.lost ? [t("hour.lost", { count: cell.lost })] : []),
    ...(rows !== undefined && files ? [t("count.rows", { count: rows })] : []),
    ...(lag !== undefined ? [t("hour.lag", { lag: span(lag) })] : []),
    ...(state === LANDED && !landed ? [t("hour.unknown")] : []),
    ...(cell.revision > 1 ? [t("hour.revision", { number: cell.revision })] : []),
    ...(cell.failedSince ? [t("hour.failed.since")] : []),
    ...(landed && cell.underWay ? [t("hour.again")] : []),
    ...(cell.by ? [t("hour.by", { source: cell.by })] : []),
    ...(task ? [placeText(task)] : []),
  ];
}

export function stateText({ state, expired }) {
  if (expired) return t("state.expired.is");
  return state === LANDED ? labelOf(state) : `${labelOf(state)}: ${descriptionOf(state)}`;
}

/** Return where a task instance is, in words. */
export function placeText({ dag, task, mapIndex, run, tries }) {
  const place = `${dag} › ${task}${mapIndex >= 0 ? ` [${mapIndex}]` : ""} › ${run}`;
  return tries ? `${place} › ${t("hour.try", { number: tries })}` : place;
}

/** Return what is known about a day or a week, in words. */
export function dayFacts(day) {
  const states = Object.keys(STATES).filter((state) => day.states[state] && state !== "unasked");
  return [
    periodText(day.day, day.unit),
    day.hours ? t("day.complete", { done: day.done, count: day.hours }) : labelOf("unasked"),
    ...(day.problems ? [t("count.problems", { count: day.problems })] : []),
    ...states.map((state) => `${count(day.states[state])} ${labelOf(state)}`),
    ...(day.files ? [t("count.files", { count: day.files }), size(day.bytes)] : []),
    ...(day.rows !== undefined ? [t("count.rows", { count: day.rows })] : []),
    ...(day.lag !== undefined ? [t("day.lag", { lag: span(day.lag) })] : []),
  ];
}

/** Return the name of a day or a week in UTC. */
export function periodText(start, unit = DAY) {
  if (unit === DAY) return `${weekday(start, "UTC")} UTC`;
  return `${weekday(start, "UTC")} – ${weekday(start + unit - DAY, "UTC")} UTC`;
}

/** Return the path of a task instance's page, relative to Airflow's base URL; undefined if no URL can address it. */
export function pathOf({ dag, run, task, mapIndex }) {
  if (![dag, run, task].every(isAddressable)) return undefined;
  const [d, r, id] = [dag, run, task].map(encodeURIComponent);
  return `dags/${d}/runs/${r}/tasks/${id}${mapIndex >= 0 ? `/mapped/${mapIndex}` : ""}`;
}

/** Return the address of a path of Airflow's UI. */
export const urlOf = (path) => new URL(path, document.baseURI).pathname;

/** Return a gap of a stream, in words: which records were lost. */
export function gapText({ shard, from, to, lost }, zone) {
  const begin = from === undefined ? t("gap.beginning") : fullMoment(from, zone);
  const records = lost === undefined ? "" : `, ${t("count.records", { count: lost })}`;
  return `${t("gap", { shard, from: begin, to: fullMoment(to, zone) })}${records}`;
}
