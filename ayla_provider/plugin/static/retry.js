// Hours done again, by clearing their tasks: with the permissions of the user.

import { ask } from "./api.js";
import { counted } from "./format.js";
import { HOUR } from "./hours.js";

/**
 * Return what has to be done so that hours run again.
 *
 * @param {object[]} cells
 * @param {(cell: object) => string | undefined} dagOf the DAG that should have run an hour which never ran
 * @returns {{runs: object[], underWay: object[], never: {dag: string, from: number, to: number}[], without: object[]}}
 *   the runs to clear, each with its tasks and cells; hours that are being worked on; those for a backfill; the rest
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
      const one = runs.get(key);
      for (const id of [wait, task].filter(Boolean)) {
        const told = mapIndex >= 0 && id === task ? [id, mapIndex] : id;
        one.tasks.set(String(told), told);
      }
      one.cells.push(cell);
    } else if (cell.state === "never" && dagOf(cell)) never.push({ dag: dagOf(cell), hour: cell.hour });
    else without.push(cell);
  }
  return { runs: [...runs.values()], underWay, never: spans(never), without };
}

/** Join hours that follow each other. */
function spans(hours) {
  const joined = [];
  for (const { dag, hour } of hours.sort((one, other) => one.dag.localeCompare(other.dag) || one.hour - other.hour)) {
    const last = joined.at(-1);
    if (last?.dag === dag && hour - last.to <= HOUR) last.to = hour;
    else joined.push({ dag, from: hour, to: hour });
  }
  return joined;
}

/** Return the command that makes the runs of hours which never ran, as docs/repair.md has it. */
export function backfill({ dag, from, to }) {
  const time = (hour) => new Date(hour).toISOString().replace(".000Z", "+00:00");
  const id = /^[\w.-]+$/.test(dag) ? dag : `'${dag.replaceAll("'", `'\\''`)}'`;
  return `airflow backfill create --dag-id ${id} --from-date ${time(from)} --to-date ${time(to)}`;
}

/** Clear the tasks of a run, and what comes after them; return what Airflow answered, in words if it refused. */
export async function clear({ dag, run, tasks }) {
  const body = {
    dry_run: false,
    dag_run_id: run,
    task_ids: [...tasks.values()],
    only_failed: false,
    include_downstream: true,
    reset_dag_runs: true,
  };
  try {
    const { task_instances } = await ask(`dags/${encodeURIComponent(dag)}/clearTaskInstances`, { body });
    return { done: true, text: `${counted(task_instances.length, "task")} will run` };
  } catch (error) {
    if (error.status === 403) return { done: false, text: "Your user may look at this DAG, not clear its tasks." };
    return { done: false, text: error.message };
  }
}
