// One archive: its totals, its heat map, and the hours of an open day.

import { OPEN, WAITING } from "./constants.js";
import { clock, count, fullMoment, isAddressable, moment, month, size, span, weekday } from "./format.js";
import { Anomalies, Freshness } from "./freshness.js";
import { FEW, Heatmap } from "./heatmap.js";
import { HOUR, WEEK } from "./hours.js";
import { parts, t } from "./i18n.js";
import { newestComplete } from "./model.js";
import { Activities, Problems, Progress } from "./problems.js";
import { labelOf, PROBLEMS } from "./states.js";
import { dayFacts, days, gapText, hourFacts, pathOf, periodText, shades, totals, urlOf } from "./views.js";

const { createElement: h, memo, useCallback, useEffect, useMemo, useRef } = globalThis.React;

/**
 * @param {object} props
 * @param {object} props.archive an archive from model.js
 * @param {boolean} props.old whether the page is reading another range, and shows this one until then
 * @param {boolean} props.several whether the page shows several archives
 * @param {{range: {days?: number}, by: string, problems: boolean, day: number}} props.look the user's choices
 * @param {string} props.zone
 * @param {Set<string>} props.selected
 * @param {boolean} props.selecting
 * @param {number} props.now when the page read the archive
 * @param {object} props.act `show(facts, task)`, `openCell(key)`, `openDay(day)`, `filter(problems)`, `select(cells, step)`, whose step is one of selection.js
 */
export const Archive = memo(function Archive({ archive, now, old, several, look, zone, selected, selecting, act }) {
  const { unit } = look.range;
  const long = Boolean(unit);
  const daily = useMemo(() => long && archive.rows.map((row) => ({ ...row, cells: days(row, unit) })), [archive, unit]);
  const opened = useMemo(() => long && look.day && ofDay(archive.rows, look.day, unit), [archive, unit, look.day]);
  const grid = { archive, several, look, zone, selected, selecting, act };
  const day = useRef(null);
  // On a small screen, the hours are below the end of the window.
  useEffect(() => {
    const isHere = day.current?.closest(".ayla-archive").contains(document.activeElement);
    if (isHere) day.current.scrollIntoView({ block: "nearest" });
  }, [look.day, long]);
  const period = look.day && periodText(look.day, unit);
  return h(
    "section",
    { className: old ? "ayla-archive ayla-old" : "ayla-archive", "aria-label": archive.label, "aria-busy": old },
    h(Title, { archive, now, zone }),
    archive.stream?.unacknowledged > 0 && h(Gaps, { stream: archive.stream, zone }),
    h(Grid, { ...grid, rows: daily || archive.rows, range: daily || archive.rows, daily: long, label: t(labelOfUnit(unit)) }),
    opened?.[0]?.cells.length > 0 &&
      h(
        "div",
        { className: "ayla-day", ref: day },
        h("h3", null, zone === "UTC" ? t("day.hours", { period }) : t("day.hours.zone", { period, zone })),
        h(Grid, { ...grid, rows: opened, range: archive.rows, daily: false, label: t("day.hours", { period }) }),
      ),
    h(Totals, { cells: archive.rows.flatMap((row) => row.cells) }),
    h(Problems, { archive, zone, act }),
    h(Anomalies, { measured: archive.measured, zone }),
    h(Freshness, { measured: archive.measured, zone }),
    h(Activities, { archive, zone }),
  );
});

const labelOfUnit = (unit) => (unit ? (unit === WEEK ? "grid.weeks" : "grid.days") : "grid.hours");

const ofDay = (rows, day, unit) =>
  rows.map((row) => ({ ...row, cells: row.cells.filter(({ hour }) => hour >= day && hour < day + unit) }));

function Title({ archive, now, zone }) {
  const { label, dags, connections, paused, next, stream } = archive;
  const links = dags.map((dag, index) => [
    index ? ", " : "",
    isAddressable(dag) ? h("a", { key: dag, href: urlOf(`dags/${encodeURIComponent(dag)}`) }, dag) : dag,
  ]);
  return h(
    "header",
    null,
    h("h2", null, label),
    h(
      "p",
      null,
      dags.length > 0 && parts("archive.by", { dags: links }),
      connections.length ? ` · ${t("archive.connection", { connections: connections.join(", ") })}` : "",
      stream ? ` · ${t("archive.stream", { url: stream.url })}` : "",
    ),
    paused.map((dag) => h("p", { key: dag, className: "ayla-bad" }, t("archive.paused", { dag }))),
    next !== undefined && h("p", null, t("archive.next", { dag: dags[0], moment: moment(next, zone) })),
    h(Progress, { archive, now }),
  );
}

/** What a stream lost, until somebody acknowledges it. */
function Gaps({ stream, zone }) {
  const { at, gaps, unacknowledged } = stream;
  const more = unacknowledged - gaps.length;
  return h(
    "section",
    { className: "ayla-bad", "aria-label": t("gaps") },
    h("p", null, t("gaps.expired", { moment: fullMoment(at, zone) })),
    h(
      "ul",
      null,
      gaps.map((gap, index) => h("li", { key: index }, gapText(gap, zone))),
      more > 0 && h("li", null, t("gaps.more", { count: more })),
    ),
    h("p", null, t("gaps.acknowledge")),
  );
}

function Totals({ cells }) {
  const sum = totals(cells);
  const { landed = 0, empty = 0, ...others } = sum.states;
  const quiet = [WAITING, OPEN, "loading", "planned"].filter((state) => others[state]);
  const figures = [
    [count(landed), t("total.landed")],
    [count(empty), t("total.empty")],
    ...quiet.map((state) => [count(others[state]), labelOf(state)]),
    [count(sum.problems), t("total.problems", { count: sum.problems })],
    ...(sum.files !== undefined ? [[count(sum.files), t("figure.files")]] : []),
    ...(sum.bytes !== undefined ? [[size(sum.bytes), t("total.bytes")]] : []),
    ...(sum.rows !== undefined ? [[count(sum.rows), t("measure.rows")]] : []),
    ...(sum.lag !== undefined ? [[span(sum.lag), t("total.lag")]] : []),
  ];
  return h(
    "dl",
    { className: "ayla-totals" },
    figures.map(([value, name]) => h("div", { key: name }, h("dt", null, name), h("dd", null, value))),
  );
}

function Grid({ archive, several, rows, range, daily, look, zone, selected, selecting, act, label }) {
  const shown = useMemo(() => (look.problems ? problemsOf(rows) : rows), [rows, look.problems]);
  const columns = useMemo(
    () => shown[0]?.cells.map((cell, c, cells) => columnOf(cell, cells[c - 1], cells.length <= FEW, daily, zone)) ?? [],
    [shown, daily, zone],
  );
  const view = useMemo(
    () => shown.map((row) => viewOf(row, archive, range, daily, look.by, zone)),
    [shown, archive, range, daily, look.by, zone],
  );

  const whose = several ? [archive.label] : [];
  const facts = (cell) => [...whose, cell.eventType, ...(daily ? dayFacts(cell) : hourFacts(cell, zone))];
  const onShow = useCallback(
    (r, c) => act.show(facts(shown[r].cells[c]), shown[r].cells[c].task),
    [shown, several, zone, daily, act],
  );
  const onOpen = useCallback(
    (r, c) => {
      const cell = shown[r].cells[c];
      if (daily) act.openDay(cell.day);
      else act.openCell(cell.key);
      return true;
    },
    [shown, daily, act],
  );
  const onSelect = useCallback(
    ([r0, c0], [r1, c1], step) => {
      const [top, bottom, left, right] = [Math.min(r0, r1), Math.max(r0, r1), Math.min(c0, c1), Math.max(c0, c1)];
      const cells = shown.slice(top, bottom + 1).flatMap((row) => row.cells.slice(left, right + 1));
      act.select(daily ? cells.flatMap((day) => day.cells) : cells, step);
    },
    [shown, daily, act],
  );
  const marked = useMemo(() => (daily ? daysSelected(shown, selected) : selected), [daily, shown, selected]);
  if (!view.length || !columns.length) return h("p", { className: "ayla-quiet" }, t("grid.none"));
  return h(Heatmap, { label, zone: daily ? "UTC" : zone, columns, rows: view, selected: marked, selecting, onShow, onOpen, onSelect });
}

/** Return the rows and columns with at least one problem. */
function problemsOf(rows) {
  const bad = (cell) => (cell.problems ?? PROBLEMS.has(cell.state)) || cell.failedSince;
  const left = rows.filter((row) => row.cells.some(bad));
  const columns = left[0]?.cells.map((_, c) => left.some((row) => bad(row.cells[c]))) ?? [];
  return left.map((row) => ({ ...row, cells: row.cells.filter((_, c) => columns[c]) }));
}

function daysSelected(rows, selected) {
  const whole = (day) => day.cells.length > 0 && day.cells.every(({ key }) => selected.has(key));
  return new Set(rows.flatMap((row) => row.cells.filter(whole).map(({ key }) => key)));
}

function columnOf(cell, before, few, daily, zone) {
  if (daily) {
    const day = new Date(cell.day).getUTCDate();
    const isNewMonth = !before || month(before.day) !== month(cell.day);
    const labelled = few || cell.unit === WEEK || day === 1 || (day % 5 === 0 && day < 30);
    const edge = isNewMonth && Boolean(before);
    return { key: cell.day, group: month(cell.day), text: labelled ? String(day) : "", edge };
  }
  const [group, text] = [weekday(cell.hour, zone), clock(cell.hour, zone)];
  const labelled = few || Number(text.slice(0, 2)) % 3 === 0;
  const edge = Boolean(before) && group !== weekday(before.hour, zone);
  return { key: cell.hour, group, text: labelled ? text.replace(":00", "") : "", edge };
}

const gapsText = (gaps) => (gaps ? `, ${t("row.gaps", { count: gaps })}` : "");

/** `range` has all cells of the range, from which the filter and the open day leave some. */
function viewOf(row, archive, range, daily, by, zone) {
  const cellsIn = (rows) => rows.find(({ eventType }) => eventType === row.eventType).cells;
  const shade = shades(cellsIn(range), by);
  const newest = newestComplete(cellsIn(archive.rows));
  return {
    name: row.eventType,
    note: newest.hour === undefined ? "" : t("row.until", { moment: moment(newest.hour + HOUR, zone) }) + gapsText(newest.gaps),
    cells: row.cells.map((cell) => ({
      key: cell.key,
      state: cell.state,
      sign: daily && cell.problems ? String(cell.problems) : undefined,
      shade: shade(cell),
      mark: Boolean(cell.failedSince),
      foreign: Boolean(cell.by),
      label: [cell.eventType, ...(daily ? dayFacts(cell) : hourFacts(cell, zone))].join(", "),
      href: !daily && cell.task && pathOf(cell.task) ? urlOf(pathOf(cell.task)) : undefined,
    })),
  };
}
