// Hours in UTC. An hour is the time of its start, in milliseconds.

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** Return the hours from the one that contains `start` to the last one that begins before `end`. */
export function hoursIn(start, end) {
  const hours = [];
  for (let hour = Math.floor(start / HOUR) * HOUR; hour < end; hour += HOUR) hours.push(hour);
  return hours;
}

/** Return the start of a range of hours, or of whole days in UTC. The range includes the current hour or day. */
export function startOf({ hours, days }, now) {
  return hours ? Math.floor(now / HOUR) * HOUR - (hours - 1) * HOUR : Math.floor(now / DAY) * DAY - (days - 1) * DAY;
}

/** Return the hours of a run: those of its data interval or of its partition. A partition without a zone is in UTC. */
export function hoursOfRun(run) {
  const { data_interval_start: start, data_interval_end: end, partition_key: key } = run ?? {};
  if (start && start !== end) return hoursIn(Date.parse(start), Date.parse(end));
  const partition = Date.parse(/(Z|[+-]\d\d:?\d\d)$/.test(key) ? key : `${key}Z`);
  return Number.isNaN(partition) ? [] : hoursIn(partition, partition + HOUR);
}
