// Runs hours again by clearing their tasks, with the user's permissions.

import { ask, dagPath, readDag } from "./api.js";
import { HOUR } from "./hours.js";
import { t } from "./i18n.js";

/**
 * Return what must be cleared so that hours run again.
 *
 * @param {object[]} cells
 * @param {(cell: object) => string | undefined} dagOf returns the DAG that must run an hour that never ran
 * @returns {{runs: object[], underWay: object[], never: {dag: string, from: number, to: number}[], without: object[]}}
 *   `runs`: the runs to clear, each with its tasks and cells; `underWay`: the hours that tasks are working on; `never`:
 *   the hours for a backfill; `without`: all others
 */
export function plan(cells, dagOf) {
  const runs = new Map();
  const [underWay, never, without] = [[], [], []];
  for (const cell of cells) {
    if (cell.underWay) underWay.push(cell);
    else if (cell.again) {
      const { dag, run, task, mapIndex, wait } = cell.again;
      const key = `${dag}\n${run}`;
      if (!runs.has(key)) runs.set(key, { dag, run, tasks: new Map(), cells: [], hours: cell.again.hours });
      const entry = runs.get(key);
      for (const id of [wait, task].filter(Boolean)) {
        // Airflow's API takes an instance of a mapped task as a pair.
        const instance = mapIndex >= 0 && id === task ? [id, mapIndex] : id;
        entry.tasks.set(String(instance), instance);
      }
      entry.cells.push(cell);
    } else if (cell.state === "never" && dagOf(cell)) never.push({ dag: dagOf(cell), hour: cell.hour });
    else without.push(cell);
  }
  return { runs: [...runs.values()], underWay, never: spans(never), without };
}

/** The operator that types rows, and does nothing else. */
const TYPES = "AylaExportToParquetOperator";

/**
 * Return hours with the tasks that type their rows, in place of their copies.
 *
 * An hour has such a task if it comes after the copy in the copy's DAG.
 *
 * @param {object[]} cells
 * @returns {Promise<object[]>} all cells, of which some have `again`
 */
export async function typing(cells) {
  const dags = [...new Set(cells.filter(({ again }) => again).map(({ again }) => again.dag))];
  const read = async (dag) => [dag, await readTasks(dag)];
  const tasks = new Map(await Promise.all(dags.map(read)));
  return cells.map((cell) => {
    const task = cell.again && typingAfter(cell.again.task, tasks.get(cell.again.dag));
    return { ...cell, again: task && { ...cell.again, task, mapIndex: -1, wait: undefined } };
  });
}

async function readTasks(dag) {
  const { tasks } = await ask(`${dagPath(dag)}/tasks`);
  return new Map((Array.isArray(tasks) ? tasks : []).map((task) => [task.task_id, task]));
}

/** Return the id of the nearest task that types rows after a task; undefined if there is none. */
function typingAfter(start, tasks) {
  const seen = new Set([start]);
  for (const id of seen) {
    const task = tasks.get(id);
    if (task?.operator_name === TYPES) return id;
    // The loop goes on with what is added here.
    for (const next of task?.downstream_task_ids ?? []) seen.add(next);
  }
  return undefined;
}

const byDagAndHour = (left, right) => left.dag.localeCompare(right.dag) || left.hour - right.hour;

/** Join consecutive hours of a DAG to spans. */
function spans(hours) {
  const joined = [];
  for (const { dag, hour } of hours.sort(byDagAndHour)) {
    const last = joined.at(-1);
    if (last?.dag === dag && hour - last.to <= HOUR) last.to = hour;
    else joined.push({ dag, from: hour, to: hour });
  }
  return joined;
}

/** Return the command that creates the runs of hours that never ran. docs/repair.md explains it. */
export function backfill({ dag, from, to }) {
  const time = (hour) => new Date(hour).toISOString().replace(".000Z", "+00:00");
  const id = /^[\w.-]+$/.test(dag) ? dag : `'${dag.replaceAll("'", `'\\''`)}'`;
  return `airflow backfill create --dag-id ${id} --from-date ${time(from)} --to-date ${time(to)}`;
}

/** Clear the tasks of a run and their downstream tasks, and return the result with a text for the user. */
export async function clear({ dag, run, tasks: ids }) {
  const body = {
    dry_run: false,
    dag_run_id: run,
    task_ids: [...ids.values()],
    only_failed: false,
    include_downstream: true,
    reset_dag_runs: true,
  };
  try {
    const { task_instances } = await ask(`${dagPath(dag)}/clearTaskInstances`, { body });
    const { is_paused: paused } = await readDag(dag);
    const tasks = { count: task_instances.length, dag };
    if (paused) return { done: true, paused, text: t("retry.paused", tasks) };
    return { done: true, text: t("retry.runs", tasks) };
  } catch (error) {
    return { done: false, text: error.status === 403 ? t("retry.forbidden") : error.message };
  }
}

/**
 * Start a run of the DAG that knows a layer, and return the result with a text for the user.
 *
 * A plan of loads compares from `since` on, and loads what differs. Other DAGs have their own range.
 */
export async function start({ dag, since }) {
  const conf = since === undefined ? {} : { since: new Date(since).toISOString() };
  try {
    await ask(`${dagPath(dag)}/dagRuns`, { body: { logical_date: null, conf } });
    const { is_paused: paused } = await readDag(dag);
    return { done: true, paused, text: t(paused ? "start.paused" : "start.runs", { dag }) };
  } catch (error) {
    return { done: false, text: error.status === 403 ? t("start.forbidden") : error.message };
  }
}
