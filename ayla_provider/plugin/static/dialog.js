// The dialog that confirms a retry of hours and shows the result of each.

import { readDag } from "./api.js";
import { counted, hourText } from "./format.js";
import { backfill, clear, plan } from "./retry.js";
import { placeText } from "./views.js";

const { createElement: h, useEffect, useRef, useState } = globalThis.React;

/**
 * @param {object} props
 * @param {object[]} props.cells the selected hours
 * @param {(cell: object) => string | undefined} props.dagOf
 * @param {string} props.zone
 * @param {(again: boolean) => void} props.onClose called with whether Airflow cleared any task
 */
export function RetryDialog({ cells, dagOf, zone, onClose }) {
  const dialog = useRef(null);
  const closeButton = useRef(null);
  // Keep the plan while the page behind the dialog reads new data.
  const [{ runs, underWay, never, without }] = useState(() => plan(cells, dagOf));
  const [answers, setAnswers] = useState(new Map());
  const [busy, setBusy] = useState(false);
  useEffect(() => dialog.current.showModal(), []);

  const hours = runs.flatMap((run) => run.cells.map((cell) => ({ ...cell, runKey: run })));
  hours.sort((left, right) => left.hour - right.hour || left.eventType.localeCompare(right.eventType));
  const [paused, setPaused] = useState([]);
  useEffect(() => {
    const dags = [...new Set(runs.map(({ dag }) => dag))];
    const read = dags.map((dag) => readDag(dag).catch(() => ({})));
    Promise.all(read).then((found) => setPaused(found.filter(({ is_paused }) => is_paused).map(({ dag_id }) => dag_id)));
  }, [runs]);
  const archives = [...new Set(hours.map(({ archive }) => archive))];
  const days = runs.filter((run) => run.hours > 1);
  const finished = answers.size === runs.length && runs.length > 0;
  // The button "Retry" had the focus, and is gone.
  useEffect(() => {
    if (finished) closeButton.current.focus();
  }, [finished]);
  const close = () => onClose([...answers.values()].some(({ done }) => done));
  const confirm = async () => {
    if (busy) return;
    setBusy(true);
    await Promise.all(
      runs.map(async (run) => {
        const answer = await clear(run);
        setAnswers((present) => new Map(present).set(run, answer));
      }),
    );
    setBusy(false);
  };
  return h(
    "dialog",
    { ref: dialog, className: "ayla-dialog", "aria-labelledby": "ayla-retry", onClose: close },
    h("h2", { id: "ayla-retry" }, "Retry these hours"),
    runs.length > 0 &&
      h(
        "p",
        null,
        `This runs the copies of ${counted(hours.length, "hour")} in ${counted(runs.length, "run")} again, together with ` +
          "waits that didn't succeed and all downstream tasks. A copy transfers only files that the archive lacks.",
      ),
    paused.length > 0 &&
      h("p", { className: "ayla-bad" }, `Paused: ${paused.join(", ")}. Unpause it, or its tasks won't run.`),
    days.length > 0 &&
      h("p", null, `${counted(days.length, "run")} of these cover more than one hour. All of their hours run again.`),
    archives.map((name) =>
      h(Hours, { key: name, archive: name, hours: hours.filter(({ archive }) => archive === name), zone, answers }),
    ),
    underWay.length > 0 && h("p", null, `${counted(underWay.length, "hour")} left out, because tasks are working on them.`),
    without.length > 0 &&
      h("p", null, `${counted(without.length, "hour")} left out, because no task in this range covers them.`),
    never.length > 0 && h(Backfills, { never }),
    h(
      "footer",
      null,
      h(
        "button",
        { ref: closeButton, type: "button", onClick: () => dialog.current.close() },
        finished || !runs.length ? "Close" : "Cancel",
      ),
      runs.length > 0 &&
        !finished &&
        h(
          "button",
          // A disabled button would lose the focus.
          { type: "button", className: "ayla-primary", "aria-disabled": busy, onClick: confirm },
          busy ? "Clearing…" : "Retry",
        ),
    ),
  );
}

/** The hours of one archive, with its name as a heading, because a selection can span several archives. */
function Hours({ archive, hours, zone, answers }) {
  const line = (cell) => {
    const answer = answers.get(cell.runKey);
    const works = answer?.done && !answer.paused;
    return h(
      "li",
      { key: cell.key },
      h("b", null, cell.eventType),
      ` ${hourText(cell.hour, zone)}`,
      h("small", null, placeText({ ...cell.again, tries: undefined })),
      answer && h("span", { className: works ? "ayla-good" : "ayla-bad" }, `${works ? "✓" : "×"} ${answer.text}`),
    );
  };
  return h(
    "section",
    { "aria-label": archive },
    h("h3", null, archive),
    h("ul", { className: "ayla-answers", "aria-live": "polite" }, hours.map(line)),
  );
}

function Backfills({ never }) {
  return h(
    "div",
    null,
    h(
      "p",
      null,
      "Hours that never ran have no task to clear. To create their runs, use these commands on a machine with Airflow's settings:",
    ),
    h("pre", null, never.map(backfill).join("\n")),
  );
}
