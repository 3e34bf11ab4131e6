// What the digests say of the cells: of hours whose asset events and tasks aren't read, and of what comes after the copy.

import {
  CHANGED,
  EMPTY,
  EXPIRED,
  LACKING,
  LANDED,
  LATE,
  LOADED_WITHIN,
  LOST,
  MISSING,
  OPEN,
  OVERDUE,
  PATIENCE,
  STUCK_AFTER,
  UNPROVEN,
  WAITING,
  WAREHOUSE_FORGOTTEN,
} from "./constants.js";
import { figureIn } from "./digests.js";
import { HOUR, MINUTE } from "./hours.js";
import { DONE } from "./states.js";

/** What the digests' words for a copied hour mean on the page. */
const COPIED_STATES = {
  [LANDED]: LANDED,
  [LATE]: LANDED,
  [EMPTY]: EMPTY,
  [EXPIRED]: EMPTY,
  [WAITING]: WAITING,
  [LOST]: LOST,
  [MISSING]: MISSING,
  [CHANGED]: CHANGED,
  [UNPROVEN]: UNPROVEN,
  failed: "failed",
};

/** The states in which a digest contradicts an older asset event. */
const SINCE = new Set([CHANGED, UNPROVEN, LOST, "failed"]);

const SOUND = new Set(["sound", EMPTY]);

/** Return a function that makes the cells of a row agree with the digests of their archive. */
export function layering(digests, eventType, hours, now) {
  if (!digests) return (cell) => cell;
  const rowOf = (layer) => ({ layer, row: layer.row(eventType, hours) });
  const [copied] = digests.named("copied").map(rowOf);
  const [verified] = digests.named("verified").map(rowOf);
  const [compared] = digests.named("compared").map(rowOf);
  const isCurrent = (layer) => now - layer.at < WAREHOUSE_FORGOTTEN;
  const loaded = digests.named("loaded").filter(isCurrent).map(rowOf);
  for (const each of loaded) each.first = each.row.findIndex(Boolean);

  return (cell, index) => {
    const known = withCopied(cell, copied?.row[index], verified?.row[index], now);
    if (known.state !== LANDED) return known;
    const state = later(known, index, { verified, compared, loaded, now });
    return state ? { ...known, state } : known;
  };
}

/** Return the first of some hours that the digests know as copied, or as one to copy; undefined if they know none. */
export function firstDigested(digests, eventType, hours) {
  const [copied] = digests?.named("copied") ?? [];
  return copied && hours[copied.row(eventType, hours).findIndex(Boolean)];
}

function withCopied(cell, copied, verified, now) {
  const fact = newestOf(copied, verified);
  // Of a stream's hours, its own asset events know more.
  if (!fact || cell.state === OPEN) return cell;
  const { document } = fact;
  const state = stateOfFact(fact, cell.hour, now);
  if (!state) return cell;
  const isProven = cell.at !== undefined;
  if (isProven && !(SINCE.has(state) && document.at > cell.at)) return cell;
  // Airflow's tasks know more of what isn't done than a task that looked at the archive.
  const isLive = cell.task || cell.state === "planned" || cell.underWay;
  if (!isProven && isLive && !DONE.has(state) && state !== LOST) {
    // A copy that has succeeded since then made the note out of date.
    return DONE.has(cell.state) ? cell : { ...cell, note: noteIn(document, cell) };
  }
  const figure = (name) => figureIn(document, name, cell.eventType, cell.hour);
  const lag = figure("lag");
  const isEmpty = state === EMPTY;
  return {
    ...cell,
    state,
    expired: fact.state === EXPIRED,
    files: isEmpty ? 0 : (figure("files") ?? cell.files),
    bytes: isEmpty ? 0 : (figure("bytes") ?? cell.bytes),
    rows: figure("lines") ?? cell.rows,
    lag: lag === undefined ? cell.lag : lag * MINUTE,
    revision: figure("revision") ?? cell.revision,
    lost: figure("lost") || undefined,
    note: noteIn(document, cell),
  };
}

const noteIn = ({ notes }, { eventType, hour }) => notes.get(`${eventType}\n${hour}`);

/** A verification that found the hour is newer proof than a comparison that missed it, and says nothing otherwise. */
function newestOf(copied, verified) {
  if (!verified || !SOUND.has(verified.state)) return copied;
  if (!copied) return verified;
  const wasMissing = [MISSING, WAITING, OVERDUE, "failed"].includes(copied.state);
  return wasMissing && verified.document.at > copied.document.at ? verified : copied;
}

function stateOfFact({ state }, hour, now) {
  if (state === "sound") return LANDED;
  if (state === OVERDUE) return now - (hour + HOUR) >= STUCK_AFTER ? "stuck" : "delayed";
  return Object.hasOwn(COPIED_STATES, state) ? COPIED_STATES[state] : undefined;
}

/** Return what is wrong with an hour that landed, or still to be done with it; undefined if nothing is. */
function later(cell, index, { verified, compared, loaded, now }) {
  const landedAt = cell.at ?? cell.hour + HOUR + PATIENCE;
  const check = verified?.row[index];
  if (check && !SOUND.has(check.state) && check.document.at > landedAt) return "damaged";
  const isLacking = loaded.some(({ row, first }) => {
    const fact = row[index];
    if (fact) return fact.state === "to_load";
    return cell.files > 0 && first >= 0 && index > first;
  });
  if (isLacking) return now - landedAt < LOADED_WITHIN ? "loading" : "unloaded";
  return LACKING.includes(compared?.row[index]?.state) ? "incomplete" : undefined;
}
