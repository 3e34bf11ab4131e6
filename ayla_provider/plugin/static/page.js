// The page "Ayla export": connects the user's choices, the data and the parts that show them.

import { Archive } from "./archive.js";
import { Bar, Boundary, Details, Legend, Odd, Selection, Silent, Unread, Welcome } from "./parts.js";
import { RetryDialog } from "./dialog.js";
import { t } from "./i18n.js";
import { archives, silent } from "./model.js";
import { Panel } from "./panel.js";
import { Verdict } from "./problems.js";
import { sortEvents } from "./proofs.js";
import { NOTHING_SELECTED, selectionAfter } from "./selection.js";
import { PROBLEMS } from "./states.js";
import { RANGES, useKept, useKeptFocus, useLanguage, useLook, useReading, useZone } from "./state.js";

const { createElement: h, useCallback, useEffect, useMemo, useRef, useState } = globalThis.React;
const { useNavigate } = globalThis.ReactRouterDOM;

const style = document.createElement("link");
style.rel = "stylesheet";
style.href = new URL("style.css", import.meta.url).href;
document.head.append(style);

function Page() {
  const [look, change] = useLook();
  const zone = useZone();
  const reading = useReading(look);
  const [shown, setShown] = useState();
  const [{ keys: selected }, setSelected] = useKept("selected", NOTHING_SELECTED);
  const [selecting, setSelecting] = useKept("selecting", false);
  /** What the dialog is about: the cells, and the layer to begin with. */
  const [asking, setAsking] = useState();
  const [openKey, setOpenKey] = useKept("open cell", undefined);
  const navigate = useNavigate();
  const page = useRef(null);
  useKeptFocus(page);

  const found = useMemo(() => reading.data && archives(reading.data, reading.data.range), [reading.data]);
  // Until the page has read a range, it shows the one before.
  const read = reading.data?.range.name ?? look.name;
  const drawn = useMemo(() => ({ ...look, range: RANGES[read] }), [look, read]);
  const quiet = useMemo(() => (found ? silent(reading.data, found) : []), [found]);
  const odd = useMemo(() => (reading.data ? sortEvents(reading.data).odd : []), [reading.data]);
  const cells = useMemo(() => (found ?? []).flatMap(({ rows }) => rows.flatMap((row) => row.cells)), [found]);
  const chosen = useMemo(() => cells.filter(({ key }) => selected.has(key)), [cells, selected]);

  const select = useCallback((these, step) => {
    setSelecting(true);
    const keys = these.map(({ key }) => key);
    setSelected((present) => selectionAfter(present, keys, step));
  }, []);
  const act = useMemo(
    () => ({
      show: (facts, task) => setShown({ facts, task }),
      open: (path) => navigate(`/${path}`),
      openCell: setOpenKey,
      openDay: (day) => change({ day }),
      filter: (problems) => change({ problems }),
      select,
    }),
    [select],
  );
  const stop = () => {
    // The buttons of the selection go, and one of them may have the focus.
    if (document.activeElement.closest(".ayla-foot .ayla-bar")) page.current.querySelector(".ayla-select").focus();
    setSelecting(false);
    setSelected(NOTHING_SELECTED);
  };
  const selectProblems = () => {
    const problems = cells.filter(({ state, failedSince }) => PROBLEMS.has(state) || failedSince);
    select(problems, "begin");
  };
  const close = (again) => {
    setAsking(undefined);
    if (!again) return;
    stop();
    reading.refresh();
  };
  const archiveOf = (cell) => found.find(({ id }) => cell.key.startsWith(`${id}\n`));
  const opened = useMemo(() => cells.find(({ key }) => key === openKey), [cells, openKey]);
  const closeCell = () => {
    // The cell may have left the map, or be in an hour that a filter hides.
    const link = [...page.current.querySelectorAll("[data-key]")].find(({ dataset }) => dataset.key === openKey);
    (link ?? page.current.querySelector("[data-at][tabindex='0']"))?.focus();
    setOpenKey(undefined);
  };
  const closeDay = () => {
    const archive = document.activeElement.closest(".ayla-day")?.closest(".ayla-archive");
    archive?.querySelector("[data-at][tabindex='0']").focus();
    change({ day: null });
  };
  // Wherever the focus is. The dialog closes itself, as do Airflow's menus.
  useEffect(() => {
    const onKeyDown = (event) => {
      const isOther = event.defaultPrevented || event.target.closest?.("[role=dialog], [role=menu], [role=listbox]");
      if (event.key !== "Escape" || asking || isOther) return;
      if (opened) closeCell();
      else if (selecting) stop();
      else if (look.day) closeDay();
    };
    document.addEventListener("keydown", onKeyDown);
    return () => document.removeEventListener("keydown", onKeyDown);
  });
  const dagOf = (cell) => archiveOf(cell)?.exports[0];
  const retry = (these, option) => setAsking({ cells: these, option, archives: [...new Set(these.map(archiveOf))] });
  const now = reading.data?.range.now;

  return h(
    "div",
    { className: "ayla-page", ref: page },
    h(Bar, {
      look,
      change,
      zone,
      reading,
      selecting,
      onSelecting: () => (selecting ? stop() : setSelecting(true)),
    }),
    !reading.data && h(Unread, reading),
    reading.data?.blind &&
      h("p", null, t("blind")),
    found?.length > 0 &&
      h(Verdict, { archives: found, now, zone, problemsOnly: look.problems, onFilter: act.filter }),
    odd.length > 0 && h(Odd, { events: odd }),
    quiet.map((archive) => h(Silent, { key: archive.destination, ...archive, zone })),
    found?.length === 0 && !quiet.length && h(Welcome),
    found?.map((archive) =>
      h(Archive, { key: archive.id, archive, now, old: read !== look.name, several: found.length > 1, look: drawn, zone, selected, selecting, act }),
    ),
    found?.length > 0 && h(Legend, { by: look.by }),
    found?.length > 0 &&
      h(
        "div",
        { className: "ayla-foot" },
        h(Details, { shown, onOpen: act.open }),
        selecting && h(Selection, { chosen: chosen.length, onProblems: selectProblems, onRetry: () => retry(chosen) }),
      ),
    opened &&
      h(Panel, {
        cell: opened,
        archive: archiveOf(opened),
        zone,
        onRetry: (option) => retry([opened], option),
        onOpen: act.open,
        onClose: closeCell,
      }),
    asking && h(RetryDialog, { ...asking, dagOf, zone, onClose: close }),
  );
}

/** The page in the user's language. Another language draws it again. */
function Translated() {
  const language = useLanguage();
  return h(Page, { key: language });
}

globalThis["Ayla"] = () => h(Boundary, null, h(Translated));
