// The states of an hour on the page, in the order of the legend.
//
// A state whose name comes from constants.js means the same as in the provider's reports. The others exist on the page
// only: they describe Airflow's tasks, which the reports don't know.

import { EMPTY, LANDED, LOST, OPEN, PATIENCE, SHORTEST_WAIT, STUCK_AFTER, WAITING } from "./constants.js";
import { count } from "./format.js";
import { HOUR, MINUTE } from "./hours.js";

const patience = `${count(PATIENCE / MINUTE)} minutes`;
const stuckAfter = `${count(STUCK_AFTER / HOUR)} hours`;

/** The sign repeats what the colour says, for people who can't distinguish the colours. */
export const STATES = {
  [LANDED]: { sign: "", label: LANDED, description: "its files are in the archive" },
  [EMPTY]: { sign: "○", label: EMPTY, description: "it has no events" },
  [WAITING]: { sign: "…", label: WAITING, description: "the hour isn't over, or its files may still come" },
  [OPEN]: { sign: "~", label: OPEN, description: "not every shard of the stream was read past its end and one hour further" },
  delayed: {
    sign: "D",
    label: "delayed",
    description: `not in the archive ${patience} after the end of the hour and the start of its tasks`,
  },
  stuck: {
    sign: "!",
    label: "stuck",
    description: `no files ${stuckAfter} after the end of the hour, or the wait timed out`,
  },
  [LOST]: { sign: "L", label: LOST, description: "files of it are no longer in the archive, and Ayla has deleted them" },
  planned: { sign: "·", label: "not run yet", description: "its DAG is catching up, and creates or starts the run later" },
  failed: { sign: "×", label: "failed", description: "a task failed" },
  never: { sign: "?", label: "never run", description: "no DAG run covers it" },
  unasked: { sign: "", label: "not requested", description: "before the first hour that a DAG run covers" },
};

export const PROBLEMS = new Set(["delayed", "stuck", "failed", "never", LOST]);
export const DONE = new Set([LANDED, EMPTY]);

const ENDED = new Set(["success", "failed", "upstream_failed", "skipped", "removed"]);

export const isUnderWay = (task) => !ENDED.has(task.state);

/**
 * Return the state of an hour for which there is no asset event.
 *
 * @param {object[]} attempts the copies of the hour, each `{copy, wait, run}`, as the API returns task instances and
 *   runs; `wait` and `run` may be undefined
 * @param {number} hour its start, in milliseconds
 * @param {object} when times in milliseconds, and what the scheduler does
 * @param {number} when.now
 * @param {number} [when.first] the first hour that a DAG run covers
 * @param {number} [when.next] the hour of the next DAG run, if the scheduler is creating runs
 * @param {boolean} [when.active] whether tasks of the DAG work
 * @returns {{state: string, attempt?: object}} the state, and the attempt that it comes from
 */
export function stateOf(attempts, hour, when) {
  const sinceEnd = when.now - (hour + HOUR);
  if (!attempts.length) return { state: withoutAttempt(hour, sinceEnd, when) };

  const succeeded = attempts.find(({ copy }) => copy.state === "success");
  if (succeeded) return { state: LANDED, attempt: succeeded };
  const skipped = attempts.find(({ copy }) => copy.state === "skipped");
  if (skipped) return { state: EMPTY, attempt: skipped };

  const running = attempts.find(({ copy }) => isUnderWay(copy));
  if (running) return { state: stateWhileRunning(running, sinceEnd, when), attempt: running };

  const attempt = attempts[0];
  return { state: timedOut(attempt.wait, hour) ? "stuck" : "failed", attempt };
}

function withoutAttempt(hour, sinceEnd, { first, next }) {
  if (hour >= next && sinceEnd >= PATIENCE) return "planned";
  if (hour < first) return "unasked";
  return sinceEnd < PATIENCE ? WAITING : "never";
}

function stateWhileRunning({ copy, wait, run }, sinceEnd, { now, active }) {
  const isWaiting = wait && isUnderWay(wait);
  // A wait that started just now, as in a backfill, isn't stuck, however old its hour is.
  if (sinceEnd >= STUCK_AFTER && isWaiting && now - Date.parse(wait.start_date) > SHORTEST_WAIT) return "stuck";
  if (active && run?.state === "queued") return "planned";
  // Hours that a backfill or a catch-up copies have ended long ago. Give their tasks the same time. A task that runs again
  // has a new start, but its run doesn't: tries that fail all the time don't hide that the hour is delayed.
  const runsAgain = [copy, wait].some((task) => task && (task.state === "up_for_retry" || task.try_number > 1));
  const ofTasks = [wait?.start_date, copy.start_date];
  const ofRun = [run?.start_date, run?.queued_at];
  const starts = (runsAgain ? [...ofRun, ...ofTasks] : [...ofTasks, ...ofRun]).map((text) => Date.parse(text));
  const start = starts.find((time) => !Number.isNaN(time)) ?? 0;
  return Math.min(sinceEnd, now - start) >= PATIENCE ? "delayed" : WAITING;
}

function timedOut(wait, hour) {
  if (wait?.state !== "failed") return false;
  const [start, end] = [Date.parse(wait.start_date), Date.parse(wait.end_date)];
  return end - start > SHORTEST_WAIT && end - hour > STUCK_AFTER;
}
