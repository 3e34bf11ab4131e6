// One archive: its totals, its heat map, and the hours of an open day.

import { clock, count, counted, fullMoment, isAddressable, moment, month, size, span, weekday } from "./format.js";
import { FEW, Heatmap } from "./heatmap.js";
import { DAY, HOUR } from "./hours.js";
import { completeness, newestComplete } from "./model.js";
import { PROBLEMS, STATES } from "./states.js";
import { dayFacts, days, gapText, hourFacts, pathOf, shades, totals } from "./views.js";

const { createElement: h, memo, useCallback, useEffect, useMemo, useRef } = globalThis.React;

const urlOf = (path) => new URL(path, document.baseURI).pathname;

/**
 * @param {object} props
 * @param {object} props.archive an archive from model.js
 * @param {boolean} props.old whether the page is reading another range, and shows this one until then
 * @param {boolean} props.several whether the page shows several archives
 * @param {{range: {days?: number}, by: string, problems: boolean, day: number}} props.look the user's choices
 * @param {string} props.zone
 * @param {Set<string>} props.selected
 * @param {boolean} props.selecting
 * @param {object} props.act `show(facts, task)`, `open(task)`, `openDay(day)`, `filter(problems)`, `select(cells, step)`, whose step is one of selection.js
 */
export const Archive = memo(function Archive({ archive, old, several, look, zone, selected, selecting, act }) {
  const long = Boolean(look.range.days);
  const daily = useMemo(() => long && archive.rows.map((row) => ({ ...row, cells: days(row) })), [archive, long]);
  const opened = useMemo(() => long && look.day && ofDay(archive.rows, look.day), [archive, long, look.day]);
  const grid = { archive, several, look, zone, selected, selecting, act };
  const day = useRef(null);
  // On a small screen, the hours are below the end of the window.
  useEffect(() => {
    const isHere = day.current?.closest(".ayla-archive").contains(document.activeElement);
    if (isHere) day.current.scrollIntoView({ block: "nearest" });
  }, [look.day, long]);
  return h(
    "section",
    { className: old ? "ayla-archive ayla-old" : "ayla-archive", "aria-label": archive.label, "aria-busy": old },
    h(Title, { archive, zone }),
    archive.stream?.unacknowledged > 0 && h(Gaps, { stream: archive.stream, zone }),
    h(Verdict, { rows: archive.rows, problemsOnly: look.problems, zone, onFilter: act.filter }),
    h(Totals, { cells: archive.rows.flatMap((row) => row.cells) }),
    h(Grid, { ...grid, rows: daily || archive.rows, range: daily || archive.rows, daily: long, label: long ? "Days" : "Hours" }),
    opened?.[0]?.cells.length > 0 &&
      h(
        "div",
        { className: "ayla-day", ref: day },
        h("h3", null, `The hours of ${weekday(look.day, "UTC")} in UTC${zone === "UTC" ? "" : `, in columns of ${zone}`}`),
        h(Grid, { ...grid, rows: opened, range: archive.rows, daily: false, label: `Hours of ${weekday(look.day, "UTC")}` }),
      ),
  );
});

const ofDay = (rows, day) =>
  rows.map((row) => ({ ...row, cells: row.cells.filter(({ hour }) => hour >= day && hour < day + DAY) }));

function Title({ archive, zone }) {
  const { label, dags, connections, paused, next, stream } = archive;
  return h(
    "header",
    null,
    h("h2", null, label),
    h(
      "p",
      null,
      "by ",
      dags.map((dag, index) => [
        index ? ", " : "",
        isAddressable(dag) ? h("a", { key: dag, href: urlOf(`dags/${encodeURIComponent(dag)}`) }, dag) : dag,
      ]),
      connections.length ? ` · connection ${connections.join(", ")}` : "",
      stream ? ` · stream ${stream.url}` : "",
    ),
    paused.map((dag) => h("p", { key: dag, className: "ayla-bad" }, `${dag} is paused: it copies no hours, and runs no retries.`)),
    next !== undefined && h("p", null, `${dags[0]} is catching up. The hour of its next run is ${moment(next, zone)}.`),
  );
}

/** What a stream lost, until somebody acknowledges it. */
function Gaps({ stream, zone }) {
  const { at, gaps, unacknowledged } = stream;
  const more = unacknowledged - gaps.length;
  return h(
    "section",
    { className: "ayla-bad", "aria-label": "Lost records" },
    h("p", null, `Records expired in the stream before they were read, as of ${fullMoment(at, zone)}:`),
    h(
      "ul",
      null,
      gaps.map((gap, index) => h("li", { key: index }, gapText(gap, zone))),
      more > 0 && h("li", null, `and ${counted(more, "more gap")}`),
    ),
    h("p", null, "To acknowledge the loss, run the draining task once with accept_loss."),
  );
}

/** Whether anything needs attention, in one line. */
function Verdict({ rows, problemsOnly, zone, onFilter }) {
  const { until, gaps } = completeness(rows);
  const { problems } = totals(rows.flatMap(({ cells }) => cells));
  const text = until === undefined ? "Some event types have no complete hour in this range" : `Complete until ${moment(until, zone)}`;
  const except = gaps ? `, except for ${counted(gaps, "hour")}` : "";
  const open = problemsOnly ? "Show all hours" : `${counted(problems, "hour")} to look at`;
  return h(
    "p",
    { className: "ayla-verdict" },
    `${text}${except}. `,
    problems > 0 && h("button", { type: "button", className: "ayla-link", onClick: () => onFilter(!problemsOnly) }, open),
  );
}

function Totals({ cells }) {
  const sum = totals(cells);
  const { landed = 0, empty = 0, waiting = 0, open = 0, planned = 0 } = sum.states;
  const figures = [
    [count(landed), "hours landed"],
    [count(empty), "empty"],
    [count(waiting), "waiting"],
    ...(open ? [[count(open), STATES.open.label]] : []),
    ...(planned ? [[count(planned), STATES.planned.label]] : []),
    [count(sum.problems), sum.problems === 1 ? "problem" : "problems"],
    ...(sum.files !== undefined ? [[count(sum.files), "files"]] : []),
    ...(sum.bytes !== undefined ? [[size(sum.bytes), "in total"]] : []),
    ...(sum.rows !== undefined ? [[count(sum.rows), "rows"]] : []),
    ...(sum.lag !== undefined ? [[span(sum.lag), "longest lag"]] : []),
  ];
  return h(
    "dl",
    { className: "ayla-totals" },
    figures.map(([value, name]) =>
      h(
        "div",
        { key: name, className: /problem/.test(name) && sum.problems ? "ayla-bad" : undefined },
        h("dt", null, name),
        h("dd", null, value),
      ),
    ),
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
      else if (cell.task && pathOf(cell.task)) act.open(pathOf(cell.task));
      else return false;
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
  if (!view.length || !columns.length) return h("p", { className: "ayla-quiet" }, "No problems in this range.");
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
    const labelled = few || day === 1 || (day % 5 === 0 && day < 30);
    const edge = day === 1 && Boolean(before);
    return { key: cell.day, group: month(cell.day), text: labelled ? String(day) : "", edge };
  }
  const [group, text] = [weekday(cell.hour, zone), clock(cell.hour, zone)];
  const labelled = few || Number(text.slice(0, 2)) % 3 === 0;
  const edge = Boolean(before) && group !== weekday(before.hour, zone);
  return { key: cell.hour, group, text: labelled ? text.replace(":00", "") : "", edge };
}

const gapsText = (gaps) => (gaps ? `, ${counted(gaps, "gap")}` : "");

/** `range` has all cells of the range, from which the filter and the open day leave some. */
function viewOf(row, archive, range, daily, by, zone) {
  const cellsIn = (rows) => rows.find(({ eventType }) => eventType === row.eventType).cells;
  const shade = shades(cellsIn(range), by);
  const newest = newestComplete(cellsIn(archive.rows));
  return {
    name: row.eventType,
    note: newest.hour === undefined ? "" : `until ${moment(newest.hour + HOUR, zone)}${gapsText(newest.gaps)}`,
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
