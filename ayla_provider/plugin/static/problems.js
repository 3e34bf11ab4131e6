// What is above and below the map: the verdict, the problems, what was done, and the progress of a history.

import { fullMoment, moment, span } from "./format.js";
import { HOUR } from "./hours.js";
import { t } from "./i18n.js";
import { adviceOn, labelOf, STATES } from "./states.js";
import { problemsOf, progressOf, verdictOf } from "./verdict.js";
import { pathOf, placeText, urlOf } from "./views.js";

const { createElement: h, useMemo } = globalThis.React;

const MOST_GROUPS = 10;
const MOST_ACTIVITIES = 15;
const MOST_TYPES = 3;

/** Whether anything needs attention, in one line. */
export function Verdict({ archives, now, zone, problemsOnly, onFilter }) {
  const { until, gaps, needing, healing, isStalled } = useMemo(() => verdictOf(archives, now), [archives, now]);
  const complete = until === undefined ? t("verdict.incomplete") : t("verdict.until", { moment: moment(until, zone) });
  const except = gaps ? t("verdict.except", { count: gaps }) : "";
  const needs = needing ? t("verdict.needs", { count: needing }) : t("verdict.nothing");
  const heals = healing ? t("verdict.heals", { count: healing }) : "";
  const open = problemsOnly ? t("verdict.all") : t("verdict.show");
  return h(
    "p",
    { className: `ayla-verdict ${needing ? "ayla-bad" : "ayla-good"}` },
    h("span", { className: "ayla-mark", "aria-hidden": true }, needing ? "!" : "✓"),
    h("strong", null, t("verdict", { complete, except, needs, heals })),
    isStalled && h("span", null, ` ${t("verdict.stalled")}`),
    needing + healing > 0 &&
      h("button", { type: "button", className: "ayla-link", onClick: () => onFilter(!problemsOnly) }, open),
  );
}

/** The problems of an archive, the ones that need a person first. */
export function Problems({ archive, zone, act }) {
  const groups = useMemo(() => problemsOf(archive), [archive]);
  if (!groups.length) return null;
  const item = ({ state, note, cells, needing, first, last, eventTypes }) => {
    const hours = first === last ? moment(first, zone) : `${moment(first, zone)} – ${moment(last + HOUR, zone)}`;
    const named = eventTypes.slice(0, MOST_TYPES).join(", ");
    const types = eventTypes.length > MOST_TYPES ? t("problems.types", { named, count: eventTypes.length - MOST_TYPES }) : named;
    return h(
      "li",
      { key: `${state}\n${note}`, className: needing ? "ayla-needing" : undefined },
      h("span", { className: `ayla-cell ayla-${state}`, "aria-hidden": true }, STATES[state].sign),
      h(
        "div",
        null,
        h("b", null, `${labelOf(state)}, ${t("count.hours", { count: cells.length })}`),
        ` ${types}, ${hours}`,
        note && h("p", { className: "ayla-note" }, note),
        h("p", null, needing ? adviceOn(state) : t("problems.heals", { advice: adviceOn(state) })),
      ),
      h("button", { type: "button", onClick: () => act.select(cells, "begin") }, t("problems.select")),
    );
  };
  const more = groups.length - MOST_GROUPS;
  return h(
    "section",
    { className: "ayla-problems", "aria-label": t("problems.of", { archive: archive.label }) },
    h("h3", null, t("problems")),
    h("ul", null, groups.slice(0, MOST_GROUPS).map(item)),
    more > 0 && h("p", null, t("problems.more", { count: more })),
  );
}

/** How far a history is. */
export function Progress({ archive, now }) {
  const progress = progressOf(archive, now);
  if (!progress) return null;
  const { done, of, left } = progress;
  const rest = left === undefined ? t("progress.unknown") : t("progress.left", { span: span(left) });
  return h(
    "p",
    { className: "ayla-progress" },
    h("progress", { value: done, max: of, "aria-label": t("progress") }),
    ` ${t("progress.text", { done, count: of })} ${rest}`,
  );
}

/** What tasks did to hours since their first copy, the newest first. */
export function Activities({ archive, zone }) {
  const listed = useMemo(() => activitiesOf(archive), [archive]);
  if (!listed.length) return null;
  const item = ({ what, eventType, hour, text, at, source }, index) => {
    const path = source && pathOf(source);
    return h(
      "li",
      { key: index },
      h("time", { dateTime: new Date(at).toISOString() }, fullMoment(at, zone)),
      " ",
      h("b", null, KNOWN.has(what) ? t(`activity.${what}`) : what),
      ` ${eventType} ${fullMoment(hour, zone)}${text ? `: ${text}` : ""} `,
      path && h("a", { href: urlOf(path), title: placeText(source) }, t("activity.task")),
    );
  };
  return h(
    "details",
    { className: "ayla-activities" },
    h("summary", null, t("activities", { count: listed.length })),
    h("ul", null, listed.slice(0, MOST_ACTIVITIES).map(item)),
    listed.length > MOST_ACTIVITIES && h("p", null, t("activities.more", { count: listed.length - MOST_ACTIVITIES })),
  );
}

const KNOWN = new Set(["repair", "load_again", "loss", "erasure", "copied_again"]);

/** Hours that were copied again, and what the digests list. */
function activitiesOf({ rows, digests }) {
  const again = rows
    .flatMap(({ cells }) => cells)
    .filter(({ revision, at }) => revision > 1 && at !== undefined)
    .map(({ eventType, hour, revision, at, task }) => {
      const text = t("hour.revision", { number: revision });
      return { what: "copied_again", eventType, hour, text, at, source: task };
    });
  return [...again, ...(digests?.activities ?? [])].sort((left, right) => right.at - left.at);
}
