// Texts for figures and times.

import { HOUR, MINUTE } from "./hours.js";
import { dateLanguage, numberLanguage, t } from "./i18n.js";

const numbers = new Map();

/** Return a number in the page's language. */
function numberText(value, options) {
  const key = numberLanguage() + JSON.stringify(options);
  if (!numbers.has(key)) numbers.set(key, new Intl.NumberFormat(numberLanguage(), options));
  return numbers.get(key).format(value);
}

export const percent = (share) => numberText(share, { style: "percent", maximumFractionDigits: 1 });
export const count = (value) => numberText(value, {});

/** Return a number of bytes as the reports write it: domain/units.py. */
export function size(bytes) {
  if (bytes < 999.5) return `${Math.round(bytes)} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let [unit, value] = [0, bytes / 1000];
  for (; value >= 999.95 && unit < units.length - 1; unit += 1) value /= 1000;
  const tenths = { minimumFractionDigits: 1, maximumFractionDigits: 1 };
  return `${numberText(Math.floor(value * 10 + 0.5) / 10, tenths)} ${units[unit]}`;
}

export function span(milliseconds) {
  const minutes = Math.round(milliseconds / MINUTE);
  if (minutes < 100) return t("span.minutes", { number: minutes });
  return t("span.hours", { number: numberText(milliseconds / HOUR, { maximumSignificantDigits: 3 }) });
}

/** Return whether a URL can have an id as a part of its path. A browser resolves "." and "..", which Airflow allows. */
export const isAddressable = (id) => !/^\.{1,2}$/.test(id);

const formats = new Map();

/** Return a time in a time zone, with the parts that `options` names. */
export function inZone(time, zone, options) {
  const key = dateLanguage() + zone + JSON.stringify(options);
  if (!formats.has(key))
    formats.set(key, new Intl.DateTimeFormat(dateLanguage(), { timeZone: zone, hourCycle: "h23", ...options }));
  return formats.get(key).format(time);
}

export const clock = (time, zone) => inZone(time, zone, { hour: "2-digit", minute: "2-digit" });
export const date = (time, zone) => inZone(time, zone, { day: "numeric", month: "short" });
export const fullDate = (time, zone) => inZone(time, zone, { day: "numeric", month: "short", year: "numeric" });
export const weekday = (time, zone) => inZone(time, zone, { weekday: "short", day: "numeric", month: "short" });
export const month = (time) => inZone(time, "UTC", { month: "long" });
export const moment = (time, zone) => `${date(time, zone)} ${clock(time, zone)}`;
export const fullMoment = (time, zone) => `${fullDate(time, zone)} ${clock(time, zone)}`;

/** Return the difference of a time zone to UTC at a time, such as "GMT+2". */
const offset = (time, zone) => {
  const options = { timeZone: zone, timeZoneName: "shortOffset" };
  return new Intl.DateTimeFormat("en", options).formatToParts(time).find(({ type }) => type === "timeZoneName").value;
};
const clockWithOffset = (time, zone) => `${clock(time, zone)} ${offset(time, zone)}`;

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
