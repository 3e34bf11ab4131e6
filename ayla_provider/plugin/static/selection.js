// The selected cells, by their keys.

const NONE = new Set();
export const NOTHING_SELECTED = { keys: NONE, base: NONE };

/**
 * Return the selection after a step.
 *
 * @param {{keys: Set<string>, base: Set<string>}} present `base` is what was selected when the range began
 * @param {string[]} keys the cells of the step
 * @param {"toggle" | "begin" | "extend"} step "begin" adds a range of cells, "extend" puts another range in its place
 */
export function selectionAfter(present, keys, step) {
  if (step === "toggle") {
    const next = new Set(present.keys);
    const isWhole = keys.every((key) => next.has(key));
    for (const key of keys) isWhole ? next.delete(key) : next.add(key);
    return { keys: next, base: next };
  }
  const base = step === "begin" ? present.keys : present.base;
  return { keys: new Set([...base, ...keys]), base };
}
