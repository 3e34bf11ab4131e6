// The dialog that confirms a retry of hours, and shows the result of each.

import { readDag } from "./api.js";
import { hourText, moment } from "./format.js";
import { t } from "./i18n.js";
import { nameOf, optionOf } from "./panel.js";
import { backfill, clear, plan, start, typing } from "./retry.js";
import { placeText } from "./views.js";

const { createElement: h, useEffect, useMemo, useRef, useState } = globalThis.React;

const TYPED = { layer: "typed", where: "" };

/** The layers whose DAGs plan from an hour on. */
const PLANNED = new Set(["typed", "loaded"]);

/**
 * @param {object} props
 * @param {object[]} props.cells the selected hours
 * @param {object[]} props.archives those of the hours, from model.js
 * @param {string} [props.option] the layer to begin with: "copy", or that of `optionOf`
 * @param {(cell: object) => string | undefined} props.dagOf
 * @param {string} props.zone
 * @param {(again: boolean) => void} props.onClose called with whether Airflow cleared any task
 */
export function RetryDialog({ cells, archives, option = "copy", dagOf, zone, onClose }) {
  const dialog = useRef(null);
  const closeButton = useRef(null);
  const [chosen, setChosen] = useState(option);
  const [ended, setEnded] = useState(false);
  const [some, setSome] = useState(false);
  useEffect(() => dialog.current.showModal(), []);
  const layers = useMemo(() => layersOf(archives), []);
  const end = (answers) => {
    setEnded(true);
    setSome(answers.some(({ done }) => done));
    // The button "Retry" had the focus, and is gone.
    closeButton.current.focus();
  };
  const shared = { cells, zone, ended, onEnd: end, closeButton, onCancel: () => dialog.current.close() };
  const layer = layers.get(chosen);
  const ways = { typed: Types, undefined: Copies };
  return h(
    "dialog",
    { ref: dialog, className: "ayla-dialog", "aria-labelledby": "ayla-retry", onClose: () => onClose(some) },
    h("h2", { id: "ayla-retry" }, t("retry")),
    layers.size > 0 &&
      h(
        "p",
        null,
        h(
          "label",
          null,
          `${t("retry.layer")} `,
          h(
            "select",
            { value: chosen, disabled: ended, onChange: (event) => setChosen(event.target.value) },
            h("option", { value: "copy" }, t("retry.copy")),
            [...layers].map(([value, { name }]) => h("option", { key: value, value }, name)),
          ),
        ),
      ),
    h(ways[layer?.layer] ?? Runs, { key: chosen, ...shared, layer, dagOf }),
  );
}

/** Return what can be run again after the copy: option to its name and the DAGs that do it. */
function layersOf(archives) {
  const all = archives.flatMap(({ digests }) => digests?.all ?? []).filter(({ layer }) => layer !== "copied");
  const found = new Map();
  for (const layer of all.filter(({ source }) => source)) {
    const option = optionOf(layer);
    if (!found.has(option)) found.set(option, { name: nameOf(layer), layer: layer.layer, dags: new Set() });
    found.get(option).dags.add(layer.source.dag);
  }
  // What looks at typed rows doesn't make them: a load makes those that it needs.
  const loads = [...found.values()].filter(({ layer }) => layer === "loaded");
  const typed = { name: nameOf(TYPED), layer: TYPED.layer, dags: new Set(loads.flatMap(({ dags }) => [...dags])) };
  if (found.size) found.set(optionOf(TYPED), typed);
  return found;
}

/** Types the rows again: with the tasks that do only that, or else with the loads. */
function Types({ cells, layer, ...shared }) {
  const [found, setFound] = useState();
  const [error, setError] = useState();
  useEffect(() => {
    typing(cells).then(setFound, setError);
  }, []);
  if (error) return h(Without, { ...shared, text: error.message });
  if (!found) return h(Without, { ...shared, text: t("reading") });
  if (found.some(({ again }) => again)) {
    return h(Copies, { ...shared, cells: found, what: "retry.types", dagOf: () => undefined });
  }
  return layer.dags.size ? h(Runs, { ...shared, cells, layer }) : h(Without, { ...shared, text: t("retry.types.none") });
}

/** Says why there is nothing to confirm. */
function Without({ text, closeButton, onCancel }) {
  return [h("p", { key: "text" }, text), h(Footer, { key: "footer", closeButton, onCancel, ended: true })];
}

/** Runs the copies again, or what `what` says. */
function Copies({ cells, what = "retry.what", zone, dagOf, ended, onEnd, closeButton, onCancel }) {
  // Keep the plan while the page behind the dialog reads new data.
  const [{ runs, underWay, never, without }] = useState(() => plan(cells, dagOf));
  const [answers, setAnswers] = useState(new Map());
  const [busy, setBusy] = useState(false);
  const [paused, setPaused] = useState([]);
  useEffect(() => {
    const dags = [...new Set(runs.map(({ dag }) => dag))];
    const read = dags.map((dag) => readDag(dag).catch(() => ({})));
    Promise.all(read).then((found) => setPaused(found.filter(({ is_paused }) => is_paused).map(({ dag_id }) => dag_id)));
  }, [runs]);
  const hours = runs.flatMap((run) => run.cells.map((cell) => ({ ...cell, runKey: run })));
  hours.sort((left, right) => left.hour - right.hour || left.eventType.localeCompare(right.eventType));
  const archives = [...new Set(hours.map(({ archive }) => archive))];
  const days = runs.filter((run) => run.hours > 1);
  const confirm = async () => {
    if (busy) return;
    setBusy(true);
    const all = await Promise.all(
      runs.map(async (run) => {
        const answer = await clear(run);
        setAnswers((present) => new Map(present).set(run, answer));
        return answer;
      }),
    );
    onEnd(all);
  };
  return [
    runs.length > 0 && h("p", { key: "what" }, t(what, { hours: t("count.hours", { count: hours.length }), count: runs.length })),
    paused.length > 0 && h("p", { key: "paused", className: "ayla-bad" }, t("retry.is.paused", { dags: paused.join(", ") })),
    days.length > 0 && h("p", { key: "days" }, t("retry.days", { count: days.length })),
    archives.map((name) =>
      h(Hours, { key: name, archive: name, hours: hours.filter(({ archive }) => archive === name), zone, answers }),
    ),
    underWay.length > 0 && h("p", { key: "busy" }, t("retry.busy", { count: underWay.length })),
    without.length > 0 && h("p", { key: "without" }, t("retry.without", { count: without.length })),
    never.length > 0 && h(Backfills, { key: "never", never }),
    h(Footer, { key: "footer", closeButton, onCancel, busy, ended: ended || !runs.length, onConfirm: confirm }),
  ];
}

/** Starts a run of each DAG that knows a layer. */
function Runs({ cells, zone, layer, ended, onEnd, closeButton, onCancel }) {
  const [answers, setAnswers] = useState(new Map());
  const [busy, setBusy] = useState(false);
  const since = Math.min(...cells.map(({ hour }) => hour));
  const confirm = async () => {
    if (busy) return;
    setBusy(true);
    const all = await Promise.all(
      [...layer.dags].map(async (dag) => {
        const answer = await start({ dag, since: PLANNED.has(layer.layer) ? since : undefined });
        setAnswers((present) => new Map(present).set(dag, answer));
        return answer;
      }),
    );
    onEnd(all);
  };
  return [
    h("p", { key: "what" }, t(`start.${layer.layer}`, { hour: moment(since, zone) })),
    h(
      "ul",
      { key: "dags", className: "ayla-answers", "aria-live": "polite" },
      [...layer.dags].map((dag) => h("li", { key: dag }, h("b", null, dag), h(Answer, { answer: answers.get(dag) }))),
    ),
    h(Footer, { key: "footer", closeButton, onCancel, busy, ended, onConfirm: confirm }),
  ];
}

function Footer({ closeButton, onCancel, busy, ended, onConfirm }) {
  return h(
    "footer",
    null,
    h("button", { ref: closeButton, type: "button", onClick: onCancel }, t(ended ? "dialog.close" : "dialog.cancel")),
    !ended &&
      h(
        "button",
        // A disabled button would lose the focus.
        { type: "button", className: "ayla-primary", "aria-disabled": busy, onClick: onConfirm },
        t(busy ? "retry.sending" : "retry.confirm"),
      ),
  );
}

function Answer({ answer }) {
  if (!answer) return null;
  const works = answer.done && !answer.paused;
  return h("span", { className: works ? "ayla-good" : "ayla-bad" }, `${works ? "✓" : "×"} ${answer.text}`);
}

/** The hours of one archive, with its name as a heading, because a selection can span several archives. */
function Hours({ archive, hours, zone, answers }) {
  const line = (cell) =>
    h(
      "li",
      { key: cell.key },
      h("b", null, cell.eventType),
      ` ${hourText(cell.hour, zone)}`,
      h("small", null, placeText({ ...cell.again, tries: undefined })),
      h(Answer, { answer: answers.get(cell.runKey) }),
    );
  return h(
    "section",
    { "aria-label": archive },
    h("h3", null, archive),
    h("ul", { className: "ayla-answers", "aria-live": "polite" }, hours.map(line)),
  );
}

function Backfills({ never }) {
  return h("div", null, h("p", null, t("retry.backfill")), h("pre", null, never.map(backfill).join("\n")));
}
