// What an operator wants to know first: until when all is complete, and what needs a person. Pure.

import { PATIENCE } from "./constants.js";
import { DAY, HOUR } from "./hours.js";
import { completeness } from "./model.js";
import { DONE, needsPerson, PROBLEMS, STATES } from "./states.js";
import { totals } from "./views.js";

const NOTHING_COMES = new Set(["delayed", "stuck"]);

/**
 * Return the verdict on some archives.
 *
 * @returns {{until: number | undefined, gaps: number, needing: number, healing: number, isStalled: boolean}} until when
 *   every event type of every archive is complete, except for `gaps` hours; how many hours need a person, and how many
 *   problems a later run fixes; and whether nothing comes from the vendor, of any event type
 */
export function verdictOf(archives, now) {
  const rows = archives.flatMap((archive) => archive.rows);
  const { problems, needing } = totals(rows.flatMap(({ cells }) => cells));
  return { ...completeness(rows), needing, healing: problems - needing, isStalled: isStalled(rows, now) };
}

/** Return whether the newest hour that is due lacks files of all event types, of which there are several. */
function isStalled(rows, now) {
  const newest = rows.map(({ cells }) => cells.findLast(({ hour }) => now - (hour + HOUR) >= PATIENCE)?.state);
  return newest.length > 1 && newest.every((state) => NOTHING_COMES.has(state));
}

/**
 * Return the problems of an archive in groups of hours with the same state and the same error, the ones that need a
 * person first.
 *
 * @returns {{state: string, note: string, cells: object[], needing: number, first: number, last: number,
 *   eventTypes: string[]}[]}
 */
export function problemsOf({ rows }) {
  const groups = new Map();
  for (const cell of rows.flatMap(({ cells }) => cells)) {
    if (!PROBLEMS.has(cell.state)) continue;
    const key = `${cell.state}\n${cell.note ?? ""}`;
    if (!groups.has(key)) groups.set(key, { state: cell.state, note: cell.note ?? "", cells: [] });
    groups.get(key).cells.push(cell);
  }
  const order = ({ state, needing }) => STATES[state].rank + (needing ? 0 : 100);
  return [...groups.values()]
    .map((group) => {
      const hours = group.cells.map(({ hour }) => hour);
      return {
        ...group,
        needing: group.cells.filter(needsPerson).length,
        first: Math.min(...hours),
        last: Math.max(...hours),
        eventTypes: [...new Set(group.cells.map(({ eventType }) => eventType))],
      };
    })
    .sort((left, right) => order(left) - order(right) || right.cells.length - left.cells.length);
}

/**
 * Return how far a history is, undefined if none is being copied.
 *
 * @returns {{done: number, of: number, left: number | undefined}} hours, and for how many milliseconds it goes on at the
 *   pace of the last hour; undefined if nothing landed in it
 */
export function progressOf({ rows, next }, now) {
  const cells = rows.flatMap((row) => row.cells).filter(({ state }) => state !== "unasked");
  const old = cells.filter(({ hour }) => now - (hour + HOUR) >= DAY);
  const planned = old.filter(({ state }) => state === "planned").length;
  if (next === undefined && !planned) return undefined;
  const done = old.filter(({ state }) => DONE.has(state)).length;
  const lately = old.filter(({ at }) => now - at < HOUR).length;
  return { done, of: old.length, left: lately ? ((old.length - done) / lately) * HOUR : undefined };
}
