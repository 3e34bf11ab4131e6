// How old the newest complete hours are, and which hours have unusually few or many rows, as tasks published it. Pure.

import { FRESHNESS, VOLUMES } from "./constants.js";
import { count } from "./format.js";
import { t } from "./i18n.js";

/** Return the destination of an asset whose newest event has one of these documents, else undefined. */
export function measuredArchive(uri) {
  const [, destination, kind] = new RegExp(`^(.+)/(${FRESHNESS}|${VOLUMES})$`).exec(uri) ?? [];
  return destination && { destination, kind };
}

/**
 * Return what was measured of each archive, by its destination. Anyone who writes a DAG can write any content into an
 * asset event, so only what has the right form counts.
 *
 * @param {{assets: object[], measures: object[]}} read assets, and asset events as the API returns them
 * @returns {Map<string, {tracks: object[], anomalies: object[], at: number}>}
 */
export function measuresOf({ assets, measures = [] }) {
  const archives = new Map(assets.map(({ id, uri }) => [id, measuredArchive(uri)]));
  const found = new Map();
  for (const { asset_id, timestamp, extra } of measures) {
    const archive = archives.get(asset_id);
    if (!archive) continue;
    const before = found.get(archive.destination) ?? { tracks: [], anomalies: [] };
    const at = Date.parse(timestamp);
    const added =
      archive.kind === FRESHNESS
        ? { tracks: listOf(extra?.tracks).map(trackOf).filter(Boolean), at }
        : { anomalies: listOf(extra?.anomalies).map(anomalyOf).filter(Boolean) };
    found.set(archive.destination, { ...before, ...added });
  }
  return found;
}

const listOf = (value) => (Array.isArray(value) ? value.filter((item) => item !== null && typeof item === "object") : []);
const isText = (value) => typeof value === "string" && value !== "";
const figure = (value) => (Number.isFinite(value) && value >= 0 ? value : undefined);
const time = (value) => (isText(value) && !Number.isNaN(Date.parse(value)) ? Date.parse(value) : undefined);
const seconds = (value) => (figure(value) === undefined ? undefined : value * 1000);

function trackOf({ event_type: eventType, layer, state, ...track }) {
  if (![eventType, layer, state].every(isText)) return undefined;
  return {
    eventType,
    layer,
    state,
    isBreach: state === "breach",
    lag: seconds(track.lag),
    objective: seconds(track.objective),
    late: figure(track.late) ?? 0,
    hour: time(track.hour),
    since: time(track.since),
    mutedUntil: time(track.muted_until),
    share: figure(track.share),
    percentiles: [track.lag_p50, track.lag_p95, track.lag_p99].map(seconds),
  };
}

function anomalyOf({ event_type: eventType, model, direction, hour, last_hour, count: rows, expected, hours, over }) {
  const [first, last] = [time(hour), time(last_hour) ?? time(hour)];
  if (!isText(eventType) || first === undefined || !["low", "high"].includes(direction)) return undefined;
  return {
    eventType,
    model: isText(model) ? model : undefined,
    direction,
    first,
    last,
    rows: figure(rows),
    expected: figure(expected),
    hours: figure(hours),
    isOver: Boolean(over),
  };
}

/** Return the anomaly of an hour in words, undefined if it has none. */
export function anomalyText({ anomalies = [] } = {}, eventType, hour) {
  const found = anomalies.find((each) => each.eventType === eventType && hour >= each.first && hour <= each.last);
  return found && rowsText(found);
}

/** Return how unusual an hour is, in words. */
export function rowsText({ direction, rows, expected, model }) {
  const what = model ? t("volume.model", { model }) : "";
  const known = { rows: rows === undefined ? "?" : count(rows), expected: expected === undefined ? "?" : count(Math.round(expected)) };
  return t(direction === "low" ? "volume.low" : "volume.high", { ...known, what });
}
