// The state of the page. The URL has the user's choices; this module keeps the data that was read.

import { read, readDay, unique } from "./api.js";
import { DAY, MINUTE, startOf, WEEK } from "./hours.js";
import { languageOf, applyLanguage } from "./i18n.js";
import { names } from "./names.js";

const { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } = globalThis.React;
const { useSearchParams } = globalThis.ReactRouterDOM;

/** The ranges: so many hours, or so many days or weeks, each of which is a column. */
export const RANGES = {
  "48h": { hours: 48 },
  "14d": { units: 14, unit: DAY },
  "90d": { units: 90, unit: DAY },
  "1y": { units: 53, unit: WEEK },
};

/** Within this time after the page went, a page that is mounted continues it. In milliseconds. */
const SOON = 2000;

/** State that outlives the component. Airflow mounts it again when its URL first changes and when the user returns. */
const memory = new Map();

/** Like useState, but keeps the value until the browser reloads Airflow's UI. */
export function useKept(name, initial) {
  const [value, set] = useState(() => memory.get(name) ?? initial);
  const keep = useCallback(
    (next) =>
      set((present) => {
        const value = typeof next === "function" ? next(present) : next;
        memory.set(name, value);
        return value;
      }),
    [name],
  );
  return [value, keep];
}

/**
 * Keep the focus when Airflow mounts the page again, which it does when its URL first changes. Otherwise the focus goes to
 * the start of the document.
 *
 * @param {object} page a reference to the page's element
 */
export function useKeptFocus(page) {
  useLayoutEffect(() => {
    const element = page.current;
    const candidates = () => [...element.querySelectorAll("button, input, select, [data-at]")];
    const { index = -1, at = 0 } = memory.get("focus") ?? {};
    if (document.activeElement === document.body && Date.now() - at < SOON) candidates()[index]?.focus();
    // React calls this before it removes the element.
    return () => memory.set("focus", { index: candidates().indexOf(document.activeElement), at: Date.now() });
  }, []);
}

/** Return the user's choices and a function that changes them. They are in the URL, so that a link shares them. */
export function useLook() {
  const [params, setParams] = useSearchParams();
  const text = params.toString();
  const look = useMemo(() => {
    const name = params.get("range");
    const chosen = Object.hasOwn(RANGES, name) ? name : "48h";
    const dayText = params.get("day");
    const day = /^\d{4}-\d\d-\d\d$/.test(dayText) ? Date.parse(dayText) : NaN;
    const by = ["files", "bytes", "rows", "lag"].find((measure) => measure === params.get("by")) ?? "bytes";
    return {
      name: chosen,
      range: RANGES[chosen],
      by,
      problems: params.has("problems"),
      day: Number.isNaN(day) ? undefined : day,
    };
  }, [text]);
  // The router's function changes the parameters that it was made with: an older one would undo later changes.
  const newest = useRef(setParams);
  newest.current = setParams;
  const change = useCallback(
    ({ name, by, problems, day }) =>
      newest.current(
        (present) => {
          const next = new URLSearchParams(present);
          if (name) next.set("range", name);
          if (name) next.delete("day");
          if (by) next.set("by", by);
          if (problems !== undefined) problems ? next.set("problems", "1") : next.delete("problems");
          const text = day && new Date(day).toISOString().slice(0, 10);
          // The open day closes.
          if (day === null || (day && next.get("day") === text)) next.delete("day");
          else if (day) next.set("day", text);
          return next;
        },
        { replace: true },
      ),
    [],
  );
  return [look, change];
}

/** Return the language that the user chose in Airflow, and use it for all texts. */
export function useLanguage() {
  const [language, setLanguage] = useState(chosenLanguage);
  useEffect(() => {
    // Airflow sets the document's language when the user chooses another one.
    const look = () => setLanguage(languageOf(document.documentElement.lang));
    const observer = new MutationObserver(look);
    observer.observe(document.documentElement, { attributes: true, attributeFilter: ["lang"] });
    return () => observer.disconnect();
  }, []);
  applyLanguage(language);
  return language;
}

function chosenLanguage() {
  try {
    return languageOf(localStorage.getItem("i18nextLng") ?? navigator.language);
  } catch {
    return languageOf(navigator.language);
  }
}

/** Return the time zone that the user chose in Airflow. */
export function useZone() {
  const [zone, setZone] = useState(chosenZone);
  useEffect(() => {
    const look = () => setZone(chosenZone());
    // "storage" comes from other tabs. Airflow's UI sends "local-storage" within its own tab.
    const events = ["storage", "local-storage"];
    for (const name of events) addEventListener(name, look);
    return () => events.forEach((name) => removeEventListener(name, look));
  }, []);
  return zone;
}

function chosenZone() {
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  try {
    const stored = localStorage.getItem("timezone") ?? own;
    const zone = stored.startsWith('"') ? JSON.parse(stored) : stored;
    new Intl.DateTimeFormat("en", { timeZone: zone });
    return zone;
  } catch {
    return own;
  }
}

/** Read what the page shows: immediately, every minute while the page is visible, and on demand. */
export function useReading({ name, range, day }) {
  const [ranges, setRanges] = useKept("ranges", {});
  const [error, setError] = useState();
  const [progress, setProgress] = useState();
  const latest = useRef(ranges);
  const abort = useRef();

  const refresh = useCallback(async () => {
    abort.current?.abort();
    const controller = new AbortController();
    abort.current = controller;
    const now = Date.now();
    const asked = { from: startOf(range, now), now, whole: Boolean(range.hours), unit: range.unit, name };
    const before = latest.current[name];
    const total = { done: 0, of: 0 };
    // The lists of a request that failed or was replaced may go on for a while. They no longer count.
    const isCurrent = () => abort.current === controller && !controller.signal.aborted;
    const tick = (done, of) => {
      if (!isCurrent()) return;
      total.done += done;
      total.of += of;
      setProgress({ ...total });
    };
    tick(0, 0);
    try {
      const found = await read(asked, { before, tick, signal: controller.signal });
      if (!isCurrent()) return;
      latest.current = { ...latest.current, [name]: { ...found, range: asked } };
      setRanges(latest.current);
      setError(undefined);
    } catch (failure) {
      if (!isCurrent()) return;
      controller.abort();
      setError(failure);
    }
    setProgress(undefined);
  }, [name]);

  useEffect(() => {
    const fresh = () => Date.now() - latest.current[name]?.at < MINUTE;
    const due = () => document.visibilityState === "visible" && !fresh() && refresh();
    due();
    const timer = setInterval(due, MINUTE);
    document.addEventListener("visibilitychange", due);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", due);
      abort.current?.abort();
    };
  }, [refresh]);
  // Until the range is read, the page keeps the one that it showed.
  if (ranges[name]) memory.set("shown range", name);
  return { data: useDay(ranges[memory.get("shown range")], day, setError), error, progress, refresh };
}

const NOTHING = { copies: [], waits: [], runs: [] };

/** Add the copies of the open day or week, which a longer range leaves out: their tries, and what to clear. */
function useDay(data, day, fail) {
  const [opened, setOpened] = useState(NOTHING);
  useEffect(() => {
    if (!data || data.range.whole || !day) return;
    const controller = new AbortController();
    const { signal } = controller;
    // The answer for a day that was closed in the meantime would replace that of the open one.
    const ifOpen = (use) => (value) => signal.aborted || use(value);
    readDay(day, data.range.unit, { dags: names(data).dags, signal }).then(ifOpen(setOpened), ifOpen(fail));
    return () => controller.abort();
  }, [data, day]);
  return useMemo(() => {
    if (!data || data.range.whole) return data;
    const runs = new Map([...data.runs, ...opened.runs].map((run) => [`${run.dag_id}\n${run.dag_run_id}`, run]));
    const [copies, waits] = ["copies", "waits"].map((list) => unique([...data[list], ...opened[list]]));
    return { ...data, copies, waits, runs: [...runs.values()] };
  }, [data, opened]);
}
