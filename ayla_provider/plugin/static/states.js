// What an hour can be, in the order in which a legend tells it. A sign says what a colour says, too.

import { HOUR, MINUTE } from "./hours.js";

export const STATES = {
  landed: { sign: "", label: "landed", says: "its files are in the archive" },
  empty: { sign: "○", label: "empty", says: "known to have no events" },
  waiting: { sign: "…", label: "waiting", says: "not over yet, or being brought home" },
  late: { sign: "L", label: "late", says: "not there 90 minutes after its end, or being tried again" },
  overdue: { sign: "!", label: "overdue", says: "waited for in vain: nothing came from Ayla" },
  failed: { sign: "×", label: "failed", says: "its task has failed" },
  never: { sign: "?", label: "never run", says: "no run was ever about it" },
  unasked: { sign: "", label: "not asked for", says: "before the first hour that was wanted" },
};

export const PROBLEMS = new Set(["late", "overdue", "failed", "never"]);
export const DONE = new Set(["landed", "empty"]);

/** Until then a missing hour is nothing unusual: the 95th percentile of Ayla's lags is 49 minutes. */
export const PATIENCE = 90 * MINUTE;
/** From then on a wait that goes on is more than a late file. */
export const OVERDUE = 6 * HOUR;
/** A wait that was given up sooner did not time out: something refused it. */
const GIVEN_UP = HOUR;

const OVER = new Set(["success", "failed", "upstream_failed", "skipped", "removed"]);

export const isUnderWay = (task) => !OVER.has(task.state);

/**
 * Return what an hour is for which no event tells that it landed.
 *
 * @param {object[]} attempts what was done for it, each `{copy, wait}`, task instances as the API has them or undefined
 * @param {number} hour its start, in milliseconds
 * @param {number} now
 * @param {number} first the first hour that was wanted
 * @returns {{state: string, attempt?: object}} the state, and the attempt that it comes from
 */
export function stateOf(attempts, hour, now, first) {
  const late = now - (hour + HOUR);
  if (!attempts.length) return { state: hour < first ? "unasked" : late < PATIENCE ? "waiting" : "never" };

  const done = attempts.find(({ copy }) => copy.state === "success");
  if (done) return { state: "landed", attempt: done };
  const skipped = attempts.find(({ copy }) => copy.state === "skipped");
  if (skipped) return { state: "empty", attempt: skipped };

  const going = attempts.find(({ copy }) => isUnderWay(copy));
  if (going) return { state: underWay(going, late, now), attempt: going };

  const attempt = attempts[0];
  return { state: timedOut(attempt.wait, hour) ? "overdue" : "failed", attempt };
}

function underWay({ copy, wait }, late, now) {
  if (late >= OVERDUE && wait && isUnderWay(wait) && now - Date.parse(wait.start_date) > GIVEN_UP) return "overdue";
  const again = [copy, wait].some((task) => task && (task.state === "up_for_retry" || task.try_number > 1));
  return late >= PATIENCE || again ? "late" : "waiting";
}

function timedOut(wait, hour) {
  if (wait?.state !== "failed") return false;
  const [start, end] = [Date.parse(wait.start_date), Date.parse(wait.end_date)];
  return end - start > GIVEN_UP && end - hour > OVERDUE;
}
