// Hours in UTC, as milliseconds of their start.

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** Return the starts of the hours that begin before an end. */
export function hoursIn(start, end) {
  const hours = [];
  for (let hour = Math.floor(start / HOUR) * HOUR; hour < end; hour += HOUR) hours.push(hour);
  return hours;
}

/** Return where a range starts: so many hours with the present one, or whole days in UTC with the present one. */
export function startOf({ hours, days }, now) {
  return hours ? Math.floor(now / HOUR) * HOUR - (hours - 1) * HOUR : Math.floor(now / DAY) * DAY - (days - 1) * DAY;
}

/** Return the hours of a run: of its data interval, or of its partition, which is in UTC without saying so. */
export function hoursOfRun(run) {
  const { data_interval_start: start, data_interval_end: end, partition_key: key } = run ?? {};
  if (start && start !== end) return hoursIn(Date.parse(start), Date.parse(end));
  const partition = Date.parse(/(Z|[+-]\d\d:?\d\d)$/.test(key) ? key : `${key}Z`);
  return Number.isNaN(partition) ? [] : hoursIn(partition, partition + HOUR);
}
