// A grid of cells that can be focused, opened and selected with a mouse, by touch and with keys.

import { STATES } from "./states.js";

const { createElement: h, memo, useEffect, useLayoutEffect, useRef, useState } = globalThis.React;

/** How long the pointer rests on a cell before the details change, in milliseconds: others are on its way to the link. */
const REST = 150;

/** Up to this number of columns, cells are wide and each column has a text. */
export const FEW = 16;

/** Up to this number of columns, all fit on a screen. More of them scroll. */
const DENSEST = 120;

/** A group of fewer columns than this is narrower than its heading, or not much wider. */
const NARROW = 8;

/**
 * @param {object} props
 * @param {string} props.label what the grid is, for a screen reader
 * @param {string} props.zone the time zone of the columns
 * @param {{key: number, group: string, text: string}[]} props.columns adjacent columns of a group share a heading
 * @param {{name: string, note: string, cells: object[]}[]} props.rows a cell is `{key, state, shade, mark, label, href}`
 * @param {Set<string>} props.selected keys
 * @param {boolean} props.selecting whether a click selects, rather than opens
 * @param {(row: number, column: number) => void} props.onShow
 * @param {(row: number, column: number, link: boolean) => boolean} props.onOpen returns whether it opened the cell
 * @param {(from: number[], to: number[], step: string) => void} props.onSelect selects the cells between two corners
 */
export const Heatmap = memo(function Heatmap({ label, zone, columns, rows, selected, selecting, onShow, onOpen, onSelect }) {
  const [at, setAt] = useState([0, columns.length - 1]);
  const grid = useRef(null);
  const anchor = useRef(null);
  const rest = useRef(undefined);
  /** The kind of the pointer that touched the grid last, and the cell that a finger tapped last. */
  const pointer = useRef(undefined);
  const tapped = useRef(undefined);
  useEffect(() => () => clearTimeout(rest.current), []);
  // Show the newest columns first.
  useLayoutEffect(() => {
    grid.current.parentNode.scrollLeft = grid.current.scrollWidth;
  }, [columns.length]);
  // The focused cell may be outside the grid after rows or columns disappeared.
  const [row, column] = [Math.min(at[0], rows.length - 1), Math.min(at[1], columns.length - 1)];

  const go = (r, c) => {
    const to = [clamp(r, rows.length), clamp(c, columns.length)];
    grid.current.querySelector(`[data-at="${to}"]`)?.focus();
    return to;
  };
  // A range goes from its anchor, which stays, to the cell that the user moves to or clicks.
  const toggle = (to) => {
    anchor.current = to;
    onSelect(to, to, "toggle");
  };
  const extend = (from, to) => {
    const step = anchor.current ? "extend" : "begin";
    anchor.current ??= from;
    onSelect(anchor.current, to, step);
  };
  const onKeyDown = (event) => {
    const here = placeOf(event);
    if (!here) return;
    const [r, c] = here;
    const moves = {
      ArrowUp: [r - 1, c],
      ArrowDown: [r + 1, c],
      ArrowLeft: [r, c - 1],
      ArrowRight: [r, c + 1],
      Home: [event.ctrlKey ? 0 : r, 0],
      End: [event.ctrlKey ? rows.length - 1 : r, columns.length - 1],
      PageUp: [0, c],
      PageDown: [rows.length - 1, c],
    };
    if (event.key in moves) {
      const to = go(...moves[event.key]);
      if (event.shiftKey) extend(here, to);
      else anchor.current = null;
    } else if (event.key === " ") event.shiftKey ? extend(here, here) : toggle(here);
    else if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) {
      if (!onOpen(r, c)) return;
    } else return;
    event.preventDefault();
  };
  const onClick = (event) => {
    const here = placeOf(event);
    const isFirstTap = pointer.current === "touch" && tapped.current !== String(here);
    tapped.current = pointer.current === "touch" ? String(here) : undefined;
    // A click without a pointer, such as that of a screen reader, is the next one's default.
    pointer.current = undefined;
    // With Ctrl or Cmd, the browser opens the link in a new tab.
    if (!here || event.ctrlKey || event.metaKey) return;
    if (event.shiftKey) extend(here, here);
    else if (selecting) toggle(here);
    // A finger can't point: its first tap shows the cell, and the second one opens it.
    else if (isFirstTap) onShow(...here);
    else if (!onOpen(...here)) return;
    event.preventDefault();
  };
  const show = (event) => {
    const here = placeOf(event);
    if (!here) return;
    setAt(here);
    onShow(...here);
  };
  const showAtRest = (event) => {
    clearTimeout(rest.current);
    const here = placeOf(event);
    if (here) rest.current = setTimeout(() => onShow(...here), REST);
  };
  const pointed = {
    onMouseMove: showAtRest,
    onMouseLeave: () => clearTimeout(rest.current),
    onPointerDown: ({ pointerType }) => (pointer.current = pointerType),
  };
  const density = columns.length > 50 && columns.length <= DENSEST ? "ayla-dense" : columns.length <= FEW ? "ayla-few" : undefined;
  const events = { onKeyDown, onClick, onFocus: show, ...pointed };
  return h(
    "div",
    { className: "ayla-scroll" },
    h(
      "table",
      { ref: grid, className: density, role: "grid", "aria-label": label, "aria-multiselectable": true, ...events },
      h(Heads, { columns, zone }),
      h(
        "tbody",
        null,
        rows.map(({ name, note, cells }, r) =>
          h(
            "tr",
            { key: name },
            h("th", { scope: "row" }, name, note && h("small", null, note)),
            cells.map((cell, c) =>
              h(Cell, {
                key: c,
                cell,
                at: `${r},${c}`,
                tab: r === row && c === column,
                selected: selected.has(cell.key),
                edge: columns[c].edge,
              }),
            ),
          ),
        ),
      ),
    ),
  );
});

function Cell({ cell, at, tab, selected, edge }) {
  const classes = [
    "ayla-cell",
    `ayla-${cell.state}`,
    cell.shade && `ayla-shade-${cell.shade}`,
    cell.mark && "ayla-marked",
    cell.foreign && "ayla-foreign",
  ];
  return h(
    "td",
    { role: "gridcell", "aria-selected": selected, className: edge ? "ayla-edge" : undefined },
    h(
      cell.href ? "a" : "span",
      {
        className: classes.filter(Boolean).join(" "),
        href: cell.href,
        tabIndex: tab ? 0 : -1,
        "data-at": at,
        "data-key": cell.key,
        "aria-label": cell.label,
      },
      cell.sign ?? STATES[cell.state].sign,
    ),
  );
}

// A heading without a text would be an empty one for a screen reader.
const headOf = (text) => (text ? "th" : "td");

const Heads = memo(function Heads({ columns, zone }) {
  const groups = [];
  for (const { group } of columns) {
    if (groups.at(-1)?.group === group) groups.at(-1).span += 1;
    else groups.push({ group, span: 1 });
  }
  return h(
    "thead",
    null,
    h(
      "tr",
      { className: "ayla-groups" },
      h("td", null),
      groups.map(({ group, span }, index) => {
        // A date needs the room of a few columns: on its right or, above the last columns, on its left.
        const isLast = index === groups.length - 1 && span < NARROW && groups[index - 1]?.span >= NARROW;
        const text = isLast || span > 2 || columns.length <= FEW ? group : "";
        const className = isLast ? "ayla-last" : undefined;
        return h(headOf(text), { key: index, colSpan: span, scope: text ? "colgroup" : undefined, className }, h("span", null, text));
      }),
    ),
    h(
      "tr",
      null,
      h("th", { scope: "col" }, zone),
      columns.map(({ key, text, edge }) =>
        h(headOf(text), { key, scope: text ? "col" : undefined, className: edge ? "ayla-edge" : undefined }, h("span", null, text)),
      ),
    ),
  );
});

const clamp = (value, length) => Math.max(0, Math.min(length - 1, value));
const placeOf = ({ target }) => target.closest?.("[data-at]")?.dataset.at.split(",").map(Number);
