// The asset events that prove what landed. Anyone who writes a DAG, or may create asset events, can write any content
// into them. The page uses only events that fit their asset.

import { HOUR } from "./hours.js";

/** Return the destination and the event type of an asset that is an event type of an archive, else undefined. */
export function archiveOf(uri) {
  const [, destination, eventType] = /^(.+)\/event_type=([^/]+)$/.exec(uri) ?? [];
  return destination && !destination.endsWith("/_layouts") ? { destination, eventType } : undefined;
}

/**
 * Sort the asset events of archives, as the API returns them, into those that fit their asset and those that don't.
 *
 * @returns {{proofs: object[], odd: object[]}} `proofs` are the events with `destination`, `eventType`, `hour` in
 *   milliseconds and an `extra` with sound figures; `odd` are the events with the `uri` of their asset
 */
export function sortEvents({ assets, events }) {
  const archives = new Map(assets.map(({ id, uri }) => [id, { uri, archive: archiveOf(uri) }]));
  const [proofs, odd] = [[], []];
  for (const event of events) {
    const { uri, archive } = archives.get(event.asset_id) ?? {};
    if (!archive) continue;
    const extra = event.extra ?? {};
    const hour = timeOf(extra.hour);
    if (extra.event_type === archive.eventType && hour % HOUR === 0) {
      proofs.push({ ...event, ...archive, hour, extra: soundFigures(extra) });
    } else odd.push({ ...event, uri });
  }
  return { proofs, odd };
}

const timeOf = (text) => (typeof text === "string" ? Date.parse(text) : NaN);
const figure = (value) => (Number.isFinite(value) && value >= 0 ? value : undefined);

const text = (value) => (typeof value === "string" && value ? value : undefined);

function soundFigures(extra) {
  const newest = timeOf(extra.newest);
  return {
    state: extra.state,
    stream: text(extra.stream),
    gaps: Array.isArray(extra.gaps) ? extra.gaps.map(soundGap).filter(Boolean) : [],
    unacknowledged: figure(extra.unacknowledged_gaps) ?? 0,
    files: figure(extra.files) ?? 0,
    lost: figure(extra.lost) ?? 0,
    bytes: figure(extra.bytes) ?? 0,
    lines: figure(extra.lines),
    revision: figure(extra.revision),
    newest: Number.isNaN(newest) ? undefined : newest,
  };
}

/** Return a gap with sound values: `from` is undefined if nothing was read before, and `lost` if nobody knows. */
function soundGap(gap) {
  const [from, to] = [timeOf(gap?.from), timeOf(gap?.to)];
  if (!text(gap?.shard) || Number.isNaN(to)) return undefined;
  return { shard: gap.shard, from: Number.isNaN(from) ? undefined : from, to, lost: figure(gap.lost) };
}
