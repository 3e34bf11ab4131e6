// Texts for figures and times.

import { HOUR, MINUTE } from "./hours.js";

const number = new Intl.NumberFormat("en");
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

export const count = (value) => number.format(value);
export const counted = (value, word) => `${count(value)} ${word}${value === 1 ? "" : "s"}`;

/** Return a number of bytes as the reports write it: domain/units.py. */
export function size(bytes) {
  if (bytes < 999.5) return `${Math.round(bytes)} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let [unit, value] = [0, bytes / 1000];
  for (; value >= 999.95 && unit < units.length - 1; unit += 1) value /= 1000;
  return `${tenths.format(Math.floor(value * 10 + 0.5) / 10)} ${units[unit]}`;
}

export function span(milliseconds) {
  const minutes = Math.round(milliseconds / MINUTE);
  return minutes < 100 ? `${minutes} min` : `${short.format(milliseconds / HOUR)} h`;
}

/** Return whether a URL can have an id as a part of its path. A browser resolves "." and "..", which Airflow allows. */
export const isAddressable = (id) => !/^\.{1,2}$/.test(id);

const formats = new Map();

/** Return a time in a time zone, with the parts that `options` names. */
export function inZone(time, zone, options) {
  const key = zone + JSON.stringify(options);
  if (!formats.has(key))
    formats.set(key, new Intl.DateTimeFormat("en-GB", { timeZone: zone, hourCycle: "h23", ...options }));
  return formats.get(key).format(time);
}

export const clock = (time, zone) => inZone(time, zone, { hour: "2-digit", minute: "2-digit" });
export const date = (time, zone) => inZone(time, zone, { day: "numeric", month: "short" });
export const weekday = (time, zone) => inZone(time, zone, { weekday: "short", day: "numeric", month: "short" });
export const month = (time) => inZone(time, "UTC", { month: "long" });
export const moment = (time, zone) => `${date(time, zone)} ${clock(time, zone)}`;
export const fullMoment = (time, zone) => `${date(time, zone)} ${inZone(time, zone, { year: "numeric" })} ${clock(time, zone)}`;

/** Return the time of day in a time zone with the difference to UTC, such as "02:00 GMT+2". */
const clockWithOffset = (time, zone) =>
  inZone(time, zone, { hour: "2-digit", minute: "2-digit", timeZoneName: "shortOffset" });
const offset = (time, zone) => clockWithOffset(time, zone).split(" ")[1];

/** Return the hour in a time zone and, if the zone differs from UTC, also in UTC. */
export function hourText(hour, zone) {
  // During a clock change, the times alone would say that an hour is empty, or two hours long.
  const changes = offset(hour, zone) !== offset(hour + HOUR, zone);
  const at = changes ? clockWithOffset : clock;
  const text = (inside) => `${weekday(hour, inside)} ${at(hour, inside)}–${at(hour + HOUR, inside)}`;
  return clock(hour, zone) === clock(hour, "UTC") && date(hour, zone) === date(hour, "UTC")
    ? `${text("UTC")} UTC`
    : `${text(zone)} ${zone} (${moment(hour, "UTC")} UTC)`;
}
