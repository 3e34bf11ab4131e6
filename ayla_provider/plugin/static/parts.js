// The parts around the heat maps: the toolbar, the legend, the details, and the first steps.

import { subject } from "./api.js";
import { LANDED } from "./constants.js";
import { counted, fullMoment, inZone } from "./format.js";
import { RANGES } from "./state.js";
import { STATES } from "./states.js";
import { MEASURES, pathOf } from "./views.js";

const { Component, createElement: h, memo } = globalThis.React;

const DOCS = "https://airflow-provider-ayla.github.io/airflow-provider-ayla/coverage/";
const POINT = "Point at a cell, or use the arrow keys. Enter opens a cell, Space selects it.";
const TAP = "Tap a cell to see its hour. Tap it again to open it.";

const urlOf = (path) => new URL(path, document.baseURI).pathname;

/** The toolbar: the user's choices, and when the page read its data. */
export function Bar({ look, change, zone, reading, selecting, onSelecting }) {
  return h(
    "div",
    { className: "ayla-bar" },
    h("h1", null, "Ayla export"),
    h(
      "div",
      { className: "ayla-group", role: "group", "aria-label": "Range" },
      Object.entries(RANGES).map(([name, { label }]) =>
        h(
          "button",
          { key: name, type: "button", "aria-pressed": look.name === name, onClick: () => change({ name }) },
          label,
        ),
      ),
    ),
    h(
      "label",
      null,
      "Shade by ",
      h(
        "select",
        { value: look.by, onChange: (event) => change({ by: event.target.value }) },
        Object.entries(MEASURES).map(([value, { label }]) => h("option", { key: value, value }, label)),
      ),
    ),
    h(
      "label",
      null,
      h("input", {
        type: "checkbox",
        checked: look.problems,
        onChange: (event) => change({ problems: event.target.checked }),
      }),
      " Problems only",
    ),
    h("button", { type: "button", className: "ayla-select", "aria-pressed": selecting, onClick: onSelecting }, "Select"),
    h(Reading, { ...reading, zone }),
  );
}

/** What to do with the selected hours. It is below the map, so that the map doesn't move. */
export function Selection({ chosen, onProblems, onRetry }) {
  return h(
    "div",
    { className: "ayla-bar" },
    h("button", { type: "button", onClick: onProblems }, "Select all problems"),
    h(
      "button",
      { type: "button", className: "ayla-primary", disabled: !chosen, onClick: onRetry },
      `Retry these hours (${chosen})`,
    ),
  );
}

function Reading({ data, error, progress, refresh, zone }) {
  const at = data && inZone(data.at, zone, { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" });
  let status = data ? `Read at ${at}` : "";
  // The numbers are worth showing only if reading takes a while.
  if (progress) status = progress.of > 12 ? `Reading ${progress.done} of ${progress.of}…` : "Reading…";
  return h(
    "div",
    { className: "ayla-reading" },
    h("span", null, status),
    h("button", { type: "button", onClick: refresh, disabled: Boolean(progress), "aria-label": "Read again" }, "↻"),
    error &&
      h("p", { role: "alert", className: "ayla-bad" }, explain(error), data ? ` The page shows the data read at ${at}.` : ""),
  );
}

function explain(error) {
  if (error.status === 401) return "Your Airflow session has ended. Reload the page to sign in.";
  if (error.status === 403) return `Your Airflow user doesn't have permission to read ${subject(error.path)}.`;
  return error.status ? error.message : "Airflow can't be reached.";
}

/** The meaning of colours and signs. */
export const Legend = memo(function Legend({ by }) {
  return h(
    "ul",
    { className: "ayla-legend", "aria-label": "Legend" },
    Object.entries(STATES).map(([state, { sign, label, description }]) =>
      h(
        "li",
        { key: state, title: description },
        h("span", { className: `ayla-cell ayla-${state} ayla-shade-3`, "aria-hidden": true }, sign),
        label,
      ),
    ),
    h("li", null, h("span", { className: "ayla-cell ayla-landed", "aria-hidden": true }), `${LANDED}, figures unknown`),
    h(
      "li",
      null,
      h("span", { className: "ayla-cell ayla-landed ayla-shade-3 ayla-marked", "aria-hidden": true }),
      `${LANDED}, but a later run failed`,
    ),
    h(
      "li",
      { title: "for example by the reconcile DAG" },
      h("span", { className: "ayla-cell ayla-landed ayla-shade-3 ayla-foreign", "aria-hidden": true }),
      "copied by another DAG",
    ),
    h(
      "li",
      null,
      "least ",
      [1, 2, 3, 4, 5].map((shade) =>
        h("span", { key: shade, className: `ayla-cell ayla-landed ayla-shade-${shade}`, "aria-hidden": true }),
      ),
      ` most ${MEASURES[by].label} of the event type`,
    ),
    h("li", null, h("a", { href: DOCS, target: "_blank", rel: "noreferrer" }, "Help")),
  );
});

/** What is known about the cell under the mouse or with the focus. A screen reader reads it from the cell itself. */
export function Details({ shown, onOpen }) {
  const hint = matchMedia("(hover: none)").matches ? TAP : POINT;
  const { facts = [hint], task } = shown ?? {};
  const path = task && pathOf(task);
  const open = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    onOpen(path);
  };
  return h(
    "p",
    { className: "ayla-details", "aria-hidden": !path },
    facts.map((fact, index) => h("span", { key: index }, fact)),
    path && h("a", { href: urlOf(path), onClick: open }, "Task and log"),
  );
}

/** Asset events that the page doesn't use. */
export function Odd({ events }) {
  const { uri, source_dag_id: dag, source_run_id: run } = events.at(-1);
  const source = dag ? `${dag} › ${run}` : "a request to Airflow's API";
  return h(
    "p",
    null,
    `${counted(events.length, "asset event")} left out, because the event type or the hour doesn't fit the asset. The newest one is of ${uri}, from ${source}.`,
  );
}

/** Shows what went wrong in the parts inside it, in place of these parts. */
export class Boundary extends Component {
  static getDerivedStateFromError(error) {
    return { error };
  }

  render() {
    const { error } = this.state ?? {};
    if (!error) return this.props.children;
    return h("p", { role: "alert", className: "ayla-bad" }, `The page can't show what it read: ${error.message}`);
  }
}

/** An archive without any run in the range, perhaps because its DAG is paused or copies to another destination. */
export function Silent({ destination, at, zone }) {
  return h(
    "p",
    null,
    h("b", null, destination),
    `: no run in this range. The last copy was on ${fullMoment(at, zone)}. Check whether its DAG is paused or copies to another destination.`,
  );
}

/** The first steps, on an Airflow without any export. */
export function Welcome() {
  const to = (path, text) => h("a", { href: urlOf(path) }, text);
  const code = (text) => h("code", null, text);
  return h(
    "section",
    { className: "ayla-welcome" },
    h("h2", null, "No hours of the Ayla export in this range"),
    h("p", null, "To start with the sample DAG ", code("ayla_export_to_bucket"), ":"),
    h(
      "ol",
      null,
      h(
        "li",
        null,
        "Create a ",
        to("connections", "connection"),
        " of type Ayla Networks, ",
        code("ayla_default"),
        ", and test it.",
      ),
      h(
        "li",
        null,
        "Set the ",
        to("variables", "Variable"),
        " ",
        code("ayla_export_destination"),
        " to the destination, such as ",
        code("gs://your-bucket/ayla"),
        ".",
      ),
      h("li", null, "Create the ", to("pools", "pool"), " ", code("ayla_export"), " with 8 slots."),
      h("li", null, "Put the DAG in your DAGs folder, and ", to("dags", "unpause"), " it."),
    ),
    h(
      "p",
      null,
      "The hours appear here within a minute of the first runs. ",
      h("a", { href: DOCS, target: "_blank", rel: "noreferrer" }, "Help"),
    ),
  );
}
