// The panel of a cell: what is known of an hour, layer by layer, with links and retries.

import { EMPTY } from "./constants.js";
import { count, fullDate, fullMoment, hourText, size, span } from "./format.js";
import { DAY } from "./hours.js";
import { LOCALES, parts, t } from "./i18n.js";
import { adviceOn, descriptionOf, labelOf, PROBLEMS, STATES } from "./states.js";
import { pathOf, placeText, urlOf } from "./views.js";

const { createElement: h, useEffect, useRef } = globalThis.React;

/**
 * @param {object} props
 * @param {object} props.cell from model.js
 * @param {object} props.archive the cell's archive
 * @param {string} props.zone
 * @param {(option?: string) => void} props.onRetry called with the layer to retry
 * @param {(path: string) => void} props.onOpen opens a page of Airflow
 * @param {() => void} props.onClose
 */
export function Panel({ cell, archive, zone, onRetry, onOpen, onClose }) {
  const heading = useRef(null);
  useEffect(() => heading.current.focus(), [cell.key]);
  const { eventType, hour, state } = cell;
  const meaning = cell.expired ? t("state.expired.is") : descriptionOf(state);
  return h(
    "aside",
    { className: "ayla-panel", "aria-labelledby": "ayla-panel" },
    h(
      "header",
      null,
      h("h2", { id: "ayla-panel", ref: heading, tabIndex: -1 }, `${eventType}, ${hourText(hour, zone)}`),
      h("button", { type: "button", onClick: onClose, "aria-label": t("panel.close") }, "×"),
    ),
    h("p", { className: "ayla-quiet" }, archive.label),
    h(
      "p",
      { className: "ayla-state" },
      h("span", { className: `ayla-cell ayla-${state} ayla-shade-3`, "aria-hidden": true }, STATES[state].sign),
      h("span", null, parts("panel.is", { state: h("b", null, labelOf(state)), meaning })),
    ),
    cell.note && h("p", { className: "ayla-note" }, cell.note),
    cell.anomaly && h("p", { className: "ayla-note" }, cell.anomaly),
    PROBLEMS.has(state) && h("p", null, adviceOn(state)),
    h(Layers, { cell, archive, zone, onRetry, onOpen }),
    h(Figures, { cell, archive }),
    h(Links, { cell, archive, onOpen }),
  );
}

/** Return what is known of a layer in words. A word that the page doesn't know is shown as it is. */
function wordOf(layer, state) {
  const key = `layer.${layer}.${state}`;
  return Object.hasOwn(LOCALES.en, key) ? t(key) : state;
}

export const nameOf = ({ layer, where, documents }) =>
  layer === "loaded" ? t("layer.loaded.in", { warehouse: documents[0].facts.name ?? where }) : t(`layer.${layer}`);

/** A link to a task, which doesn't load Airflow's UI again. */
function TaskLink({ source, text, onOpen }) {
  const path = source && pathOf(source);
  if (!path) return text;
  const open = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    onOpen(path);
  };
  return h("a", { href: urlOf(path), title: placeText(source), onClick: open }, text);
}

function Layers({ cell, archive, zone, onRetry, onOpen }) {
  const { eventType, hour, underWay } = cell;
  const others = (archive.digests?.all ?? []).filter(({ layer }) => layer !== "copied");
  const line = (layer) => {
    const fact = layer.of(eventType, hour);
    const again = layer.source && layer;
    return h(
      "tr",
      { key: `${layer.layer} ${layer.where}` },
      h("th", { scope: "row" }, nameOf(layer)),
      h("td", null, fact ? wordOf(layer.layer, fact.state) : t("layer.unknown"), fact?.note && h("small", null, fact.note)),
      h("td", null, h(TaskLink, { source: layer.source, text: fullMoment(layer.at, zone), onOpen })),
      h("td", null, again && h("button", { type: "button", onClick: () => onRetry(optionOf(again)) }, t(`panel.retry.${again.layer}`))),
    );
  };
  const copiedAt = cell.at ?? archive.digests?.named("copied")[0]?.of(eventType, hour)?.at;
  return h(
    "table",
    { className: "ayla-layers" },
    h("caption", null, t("panel.layers")),
    h(
      "thead",
      null,
      h(
        "tr",
        null,
        ["layer", "state", "seen", "retry"].map((name) => h("th", { key: name, scope: "col" }, t(`panel.${name}`))),
      ),
    ),
    h(
      "tbody",
      null,
      h(
        "tr",
        null,
        h("th", { scope: "row" }, t("layer.copied")),
        h("td", null, cell.files === undefined ? labelOf(cell.state) : t(cell.state === EMPTY ? "layer.copied.empty" : "layer.copied.is")),
        h("td", null, copiedAt ? fullMoment(copiedAt, zone) : ""),
        h("td", null, cell.again && !underWay && h("button", { type: "button", onClick: () => onRetry("copy") }, t("panel.retry.copied"))),
      ),
      others.map(line),
    ),
  );
}

/** Return the name of a layer as a choice of the retry. */
export const optionOf = ({ layer, where }) => `${layer}\n${where}`;

function Figures({ cell, archive }) {
  const { digests } = archive;
  const { eventType, hour } = cell;
  const facts = (name) => (digests?.named(name) ?? []).map((layer) => layer.of(eventType, hour)).find(Boolean);
  const rows = facts("loaded")?.rows === undefined ? facts("typed") : facts("loaded");
  const compared = facts("compared");
  const days = digests?.retention(eventType);
  const figures = [
    ["files", cell.files, count],
    ["bytes", cell.bytes, size],
    ["lines", cell.rows, count],
    ["rows", rows?.rows, count],
    // A digest leaves a figure out that is 0 everywhere.
    ["duplicates", rows && (rows.duplicates ?? 0), count],
    ["quarantined", rows && (rows.quarantined ?? 0), count],
    ["erased", facts("verified")?.erased, count],
    ["only_stream", compared?.only_stream, count],
    ["only_export", compared?.only_export, count],
    ["revision", cell.revision, count],
    ["lag", cell.lag, span],
    ["expires", days && hour + days * DAY, (time) => fullDate(time, "UTC")],
  ];
  const known = figures.filter(([, value]) => value !== undefined);
  if (!known.length) return null;
  return h(
    "dl",
    { className: "ayla-figures" },
    known.map(([name, value, text]) => h("div", { key: name }, h("dt", null, t(`figure.${name}`)), h("dd", null, text(value)))),
  );
}

function Links({ cell, archive, onOpen }) {
  const { eventType, hour, task } = cell;
  const path = task && pathOf(task);
  const addresses = ["files", "manifest", "table"].map((name) => [name, archive.digests?.link(name, eventType, hour)]);
  const found = addresses.filter(([, address]) => address);
  if (!path && !found.length) return null;
  return h(
    "ul",
    { className: "ayla-links", "aria-label": t("panel.links") },
    path && h("li", null, h(TaskLink, { source: task, text: t("panel.task"), onOpen }), h("small", null, placeText(task))),
    found.map(([name, address]) =>
      h("li", { key: name }, h("a", { href: address, target: "_blank", rel: "noreferrer" }, t(`panel.${name}`))),
    ),
  );
}
