// Hours in UTC. An hour is the time of its start, in milliseconds.

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
export const WEEK = 7 * DAY;

/** The first Monday after the epoch, which is a Thursday. */
const MONDAY = 4 * DAY;

/** Return the hours from the one that contains `start` to the last one that begins before `end`. */
export function hoursIn(start, end) {
  const hours = [];
  for (let hour = Math.floor(start / HOUR) * HOUR; hour < end; hour += HOUR) hours.push(hour);
  return hours;
}

/** Return the start of the day, or of the week from Monday on, in UTC that contains a time. */
export function startOfUnit(time, unit) {
  const origin = unit === WEEK ? MONDAY : 0;
  return Math.floor((time - origin) / unit) * unit + origin;
}

/** Return the start of a range of hours, or of whole days or weeks in UTC. The range includes the current one. */
export function startOf({ hours, units, unit }, now) {
  return hours ? Math.floor(now / HOUR) * HOUR - (hours - 1) * HOUR : startOfUnit(now, unit) - (units - 1) * unit;
}

/** Return the hours of a range that an interval covers. The interval may have any length: it comes from outside. */
export function hoursWithin(interval, { from, now }) {
  return interval ? hoursIn(Math.max(interval.start, from), Math.min(interval.end, now)) : [];
}

/** Return the interval of a run: its data interval or its partition. A partition without a zone is in UTC. */
export function intervalOfRun(run) {
  const { data_interval_start: start, data_interval_end: end, partition_key: key } = run ?? {};
  if (start && start !== end) return intervalOf(start, end);
  const partition = /(Z|[+-]\d\d:?\d\d)$/.test(key) ? key : `${key}Z`;
  return intervalOf(partition);
}

/** Return the interval between two texts, or of one hour, and undefined if a text isn't a time. */
export function intervalOf(startText, endText) {
  const start = Date.parse(startText);
  const end = endText ? Date.parse(endText) : start + HOUR;
  return Number.isNaN(start) || Number.isNaN(end) ? undefined : { start, end };
}
