// The freshness objectives of an archive, and its hours of unusual volume.

import { fullMoment, moment, percent, span } from "./format.js";
import { HOUR } from "./hours.js";
import { LOCALES, t } from "./i18n.js";
import { rowsText } from "./measures.js";

const { createElement: h } = globalThis.React;

const MOST_ANOMALIES = 20;

/** A state that the page doesn't know is shown as it is. */
const wordOf = (state) => (Object.hasOwn(LOCALES.en, `fresh.${state}`) ? t(`fresh.${state}`) : state);

/** The objectives of an archive, the missed ones first; open if one is missed. */
export function Freshness({ measured, zone }) {
  const { tracks = [], at } = measured ?? {};
  if (!tracks.length) return null;
  const missed = tracks.filter(({ isBreach }) => isBreach).length;
  const sorted = [...tracks].sort((left, right) => Number(right.isBreach) - Number(left.isBreach));
  const duration = (value) => (value === undefined ? "" : span(value));
  const row = ({ eventType, layer, state, isBreach, lag, objective, late, since, mutedUntil, share, percentiles }) =>
    h(
      "tr",
      { key: `${eventType} ${layer}`, className: isBreach ? "ayla-needing" : undefined },
      h("th", { scope: "row" }, `${eventType}, ${layer}`),
      h(
        "td",
        null,
        isBreach ? t("fresh.late", { count: late }) : wordOf(state),
        since !== undefined && isBreach && h("small", null, t("fresh.since", { moment: moment(since, zone) })),
        mutedUntil !== undefined && h("small", null, t("fresh.muted", { moment: moment(mutedUntil, zone) })),
      ),
      h("td", null, duration(lag)),
      h("td", null, duration(objective)),
      h("td", null, share === undefined ? "" : percent(share)),
      h("td", null, percentiles.every((value) => value === undefined) ? "" : percentiles.map(duration).join(" / ")),
    );
  return h(
    "details",
    { className: "ayla-fresh", open: missed > 0 },
    h("summary", null, missed ? t("fresh.missed", { count: missed }) : t("fresh.met", { count: tracks.length })),
    h(
      "div",
      { className: "ayla-wide", tabIndex: 0, role: "region", "aria-label": t("fresh.table") },
      h(
        "table",
        { className: "ayla-layers" },
        h("caption", null, t("fresh.caption", { moment: fullMoment(at, zone) })),
        h(
          "thead",
          null,
          h(
            "tr",
            null,
            ["track", "state", "lag", "objective", "share", "percentiles"].map((name) =>
              h("th", { key: name, scope: "col" }, t(`fresh.col.${name}`)),
            ),
          ),
        ),
        h("tbody", null, sorted.map(row)),
      ),
    ),
  );
}

/** The hours with unusually few or many rows. */
export function Anomalies({ measured, zone }) {
  const { anomalies = [] } = measured ?? {};
  const open = anomalies.filter(({ isOver }) => !isOver);
  if (!open.length) return null;
  const item = (anomaly, index) => {
    const { eventType, first, last } = anomaly;
    const hours = first === last ? moment(first, zone) : `${moment(first, zone)} – ${moment(last + HOUR, zone)}`;
    return h("li", { key: index }, h("b", null, eventType), ` ${hours}: ${rowsText(anomaly)}`);
  };
  return h(
    "section",
    { className: "ayla-anomalies", "aria-label": t("volume") },
    h("h3", null, t("volume")),
    h("ul", null, open.slice(0, MOST_ANOMALIES).map(item)),
  );
}
