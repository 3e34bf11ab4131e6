// The states of an hour on the page, in the order of the legend.
//
// A state whose name comes from constants.js means the same as in the provider's reports. The others exist on the page
// only: they describe Airflow's tasks and what comes after the copy, which the reports don't know.

import {
  CHANGED,
  EMPTY,
  LANDED,
  LOST,
  MISSING,
  OPEN,
  PATIENCE,
  SHORTEST_WAIT,
  STUCK_AFTER,
  LOADED_WITHIN,
  UNPROVEN,
  WAITING,
} from "./constants.js";
import { HOUR, MINUTE } from "./hours.js";
import { t } from "./i18n.js";

/**
 * The sign repeats what the colour says, for people who can't distinguish the colours. A rank orders the problems: the
 * first one is the most urgent one. `heals` is true of a problem that a later run of a DAG fixes.
 */
export const STATES = {
  [LANDED]: { sign: "" },
  [EMPTY]: { sign: "○" },
  [WAITING]: { sign: "…" },
  [OPEN]: { sign: "~" },
  loading: { sign: "↓" },
  planned: { sign: "·" },
  [LOST]: { sign: "L", rank: 1 },
  failed: { sign: "×", rank: 2 },
  [UNPROVEN]: { sign: "U", rank: 3 },
  stuck: { sign: "!", rank: 4 },
  never: { sign: "?", rank: 5 },
  unloaded: { sign: "W", rank: 6 },
  incomplete: { sign: "≠", rank: 7 },
  damaged: { sign: "#", rank: 8, heals: true },
  [MISSING]: { sign: "M", rank: 9, heals: true },
  [CHANGED]: { sign: "C", rank: 10, heals: true },
  delayed: { sign: "D", rank: 11, heals: true },
  unasked: { sign: "" },
};

/** The problems, the ones that need a person first. */
export const RANKED = Object.keys(STATES)
  .filter((state) => STATES[state].rank)
  .sort((left, right) => STATES[left].rank - STATES[right].rank);
export const PROBLEMS = new Set(RANKED);
export const DONE = new Set([LANDED, EMPTY]);

/** Return whether an hour needs a person, and no task is working on it. */
export const needsPerson = ({ state, underWay }) => PROBLEMS.has(state) && !STATES[state].heals && !underWay;

/** Return a state's name and meaning in the page's language. In English, the name is the report's word. */
export const labelOf = (state) => t(`state.${state}`);
export const descriptionOf = (state) =>
  t(`state.${state}.is`, { patience: PATIENCE / MINUTE, stuck: STUCK_AFTER / HOUR, loaded: LOADED_WITHIN / HOUR });

/** Return what to do about a problem, in the page's language. */
export const adviceOn = (state) => t(`state.${state}.do`);

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
