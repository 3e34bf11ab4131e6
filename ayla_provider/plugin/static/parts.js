// The parts around the heat maps: the toolbar, the legend, the details, and the first steps.

import { subject } from "./api.js";
import { LANDED } from "./constants.js";
import { fullMoment, inZone } from "./format.js";
import { parts, t } from "./i18n.js";
import { RANGES } from "./state.js";
import { descriptionOf, labelOf, STATES } from "./states.js";
import { MEASURES, pathOf, urlOf } from "./views.js";

const { Component, createElement: h, memo } = globalThis.React;

const DOCS = "https://airflow-provider-ayla.github.io/airflow-provider-ayla/coverage/";

/** The numbers of requests are worth showing only if reading takes a while. */
const FEW_REQUESTS = 12;

/** The toolbar: the user's choices, and when the page read its data. */
export function Bar({ look, change, zone, reading, selecting, onSelecting }) {
  return h(
    "div",
    { className: "ayla-bar" },
    h("h1", null, t("title")),
    h(
      "div",
      { className: "ayla-group", role: "group", "aria-label": t("bar.range") },
      Object.keys(RANGES).map((name) =>
        h(
          "button",
          { key: name, type: "button", "aria-pressed": look.name === name, onClick: () => change({ name }) },
          t(`range.${name}`),
        ),
      ),
    ),
    h(
      "label",
      null,
      `${t("bar.shade")} `,
      h(
        "select",
        { value: look.by, onChange: (event) => change({ by: event.target.value }) },
        Object.keys(MEASURES).map((value) => h("option", { key: value, value }, t(`measure.${value}`))),
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
      ` ${t("bar.problems")}`,
    ),
    h("button", { type: "button", className: "ayla-select", "aria-pressed": selecting, onClick: onSelecting }, t("bar.select")),
    h(Reading, { ...reading, zone }),
  );
}

/** What to do with the selected hours. It is below the map, so that the map doesn't move. */
export function Selection({ chosen, onProblems, onRetry }) {
  return h(
    "div",
    { className: "ayla-bar" },
    h("button", { type: "button", onClick: onProblems }, t("selection.problems")),
    h(
      "button",
      { type: "button", className: "ayla-primary", disabled: !chosen, onClick: onRetry },
      t("selection.retry", { count: chosen }),
    ),
  );
}

function Reading({ data, error, progress, refresh, zone }) {
  const at = data && inZone(data.at, zone, { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" });
  let status = data ? t("reading.at", { at }) : "";
  if (progress) status = progress.of > FEW_REQUESTS ? t("reading.of", progress) : t("reading");
  return h(
    "div",
    { className: "ayla-reading" },
    status && h("span", null, status),
    h("button", { type: "button", onClick: refresh, disabled: Boolean(progress), "aria-label": t("reading.again") }, "↻"),
    error && data && h("p", { role: "alert", className: "ayla-bad" }, explain(error), ` ${t("reading.old", { at })}`),
  );
}

/** In place of the map, until the page has read any data. */
export function Unread({ error, progress }) {
  if (error) {
    return h(
      "div",
      { className: "ayla-unread", role: "alert" },
      h("p", { className: "ayla-bad" }, explain(error)),
      h("p", null, t("reading.retries")),
    );
  }
  // Until it is known how much there is to read, the bar moves without a value.
  const known = progress?.of > FEW_REQUESTS ? { value: progress.done, max: progress.of } : {};
  return h(
    "div",
    { className: "ayla-unread" },
    h("p", null, t("reading.first")),
    h("progress", { ...known, "aria-label": t("reading.first") }),
  );
}

function explain(error) {
  if (error.status === 401) return t("error.session");
  if (error.status === 403) return t("error.permission", { subject: subject(error.path) });
  return error.status ? error.message : t("error.reach");
}

/** The meaning of colours and signs. */
export const Legend = memo(function Legend({ by }) {
  return h(
    "ul",
    { className: "ayla-legend", "aria-label": t("legend") },
    Object.entries(STATES).map(([state, { sign }]) =>
      h(
        "li",
        { key: state, title: descriptionOf(state) },
        h("span", { className: `ayla-cell ayla-${state} ayla-shade-3`, "aria-hidden": true }, sign),
        labelOf(state),
      ),
    ),
    h("li", null, h("span", { className: "ayla-cell ayla-landed", "aria-hidden": true }), t("legend.unknown", { landed: labelOf(LANDED) })),
    h(
      "li",
      null,
      h("span", { className: "ayla-cell ayla-landed ayla-shade-3 ayla-marked", "aria-hidden": true }),
      t("legend.failed", { landed: labelOf(LANDED) }),
    ),
    h(
      "li",
      { title: t("legend.foreign.example") },
      h("span", { className: "ayla-cell ayla-landed ayla-shade-3 ayla-foreign", "aria-hidden": true }),
      t("legend.foreign"),
    ),
    h(
      "li",
      null,
      `${t("legend.least")} `,
      [1, 2, 3, 4, 5].map((shade) =>
        h("span", { key: shade, className: `ayla-cell ayla-landed ayla-shade-${shade}`, "aria-hidden": true }),
      ),
      ` ${t("legend.most", { measure: t(`measure.${by}`) })}`,
    ),
    h("li", null, h("a", { href: DOCS, target: "_blank", rel: "noreferrer" }, t("help"))),
  );
});

/** What is known about the cell under the mouse or with the focus. A screen reader reads it from the cell itself. */
export function Details({ shown, onOpen }) {
  const hint = t(matchMedia("(hover: none)").matches ? "hint.tap" : "hint.point");
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
    path && h("a", { href: urlOf(path), onClick: open }, t("panel.task")),
  );
}

/** Asset events that the page doesn't use. */
export function Odd({ events }) {
  const { uri, source_dag_id: dag, source_run_id: run } = events.at(-1);
  const source = dag ? `${dag} › ${run}` : t("source.api");
  return h("p", null, t("odd", { count: events.length, uri, source }));
}

/** Shows what went wrong in the parts inside it, in place of these parts. */
export class Boundary extends Component {
  static getDerivedStateFromError(error) {
    return { error };
  }

  render() {
    const { error } = this.state ?? {};
    if (!error) return this.props.children;
    return h("p", { role: "alert", className: "ayla-bad" }, t("error.show", { message: error.message }));
  }
}

/** An archive without any run in the range, perhaps because its DAG is paused or copies to another destination. */
export function Silent({ destination, at, zone }) {
  return h(
    "p",
    null,
    parts("silent", { destination: h("b", { key: "name" }, destination), moment: fullMoment(at, zone) }),
  );
}

/** The first steps, on an Airflow without any export. */
export function Welcome() {
  const link = (path, key) => h("a", { key, href: urlOf(path) }, t(key));
  const code = (text) => h("code", { key: text }, text);
  const steps = {
    "welcome.create": { link: link("connections", "welcome.connection"), id: code("ayla_default") },
    "welcome.set": {
      link: link("variables", "welcome.variable"),
      id: code("ayla_export_destination"),
      url: code("gs://your-bucket/ayla"),
    },
    "welcome.make": { link: link("pools", "welcome.pool"), id: code("ayla_export") },
    "welcome.put": { link: link("dags", "welcome.unpause") },
  };
  return h(
    "section",
    { className: "ayla-welcome" },
    h("h2", null, t("welcome")),
    h("p", null, parts("welcome.start", { dag: code("ayla_export_to_bucket") })),
    h("ol", null, Object.entries(steps).map(([key, elements]) => h("li", { key }, parts(key, elements)))),
    h(
      "p",
      null,
      `${t("welcome.soon")} `,
      h("a", { href: DOCS, target: "_blank", rel: "noreferrer" }, t("help")),
    ),
  );
}
