// Which event type, destination and connection a task has: what one of its instances tells holds for all of them.

import { HOUR, hoursIn } from "./hours.js";

const DOCUMENTED = ["connection", "datapoint", "datapoint_ack", "location", "registration"];
const squash = (name) => name.replace(/[ _-]/g, "").toLowerCase();

/** Return the event type that a name means, as the provider spells it: "Datapoint Ack" is "datapoint_ack". */
export function eventTypeOf(name) {
  const documented = DOCUMENTED.find((one) => squash(one) === squash(name));
  return (
    documented ??
    name
      .replace(/[ _-]+/g, "_")
      .replace(/^_|_$/g, "")
      .toLowerCase()
  );
}

/** Return the destination of an asset that is an event type in an archive; undefined if it is something else. */
export function destinationOf(uri) {
  const [, destination] = /^(.+)\/event_type=[^/]+$/.exec(uri) ?? [];
  return destination?.endsWith("/_layouts") ? undefined : destination;
}

const plain = (text) => (typeof text === "string" && text && !text.includes("{{") ? text : undefined);
const keyOf = ({ dag_id, task_id }) => `${dag_id}\n${task_id}`;

/** Return what is known of tasks, from instances and asset events as the API has them. */
export function names({ assets, events, copies, waits }) {
  const destinations = new Map(assets.map(({ id, uri }) => [id, destinationOf(uri)]));
  const tasks = new Map();
  const task = (instance) => {
    const key = keyOf(instance);
    if (!tasks.has(key)) tasks.set(key, { dag: instance.dag_id, id: instance.task_id, types: new Set() });
    return tasks.get(key);
  };
  const copying = new Set();
  for (const copy of copies) copying.add(task(copy));
  for (const instance of [...copies, ...waits]) {
    const told = instance.rendered_fields ?? {};
    const it = task(instance);
    if (plain(told.event_type)) it.types.add(eventTypeOf(told.event_type));
    it.destination ??= plain(told.destination)?.replace(/\/+$/, "");
    it.connection ??= plain(told.ayla_conn_id);
    it.mapped ||= instance.map_index >= 0;
  }
  for (const event of events) {
    if (!event.source_task_id || !destinations.get(event.asset_id)) continue;
    const it = task({ dag_id: event.source_dag_id, task_id: event.source_task_id });
    it.types.add(event.extra?.event_type);
    // What Airflow has made of the URL is the asset's; a task may spell it differently.
    it.destination = destinations.get(event.asset_id);
    it.mapped ||= event.source_map_index >= 0;
    copying.add(it);
  }
  const all = [...tasks.values()];
  const types = [...new Set([...DOCUMENTED, ...all.flatMap((one) => [...one.types])])];
  for (const it of all) {
    if (!it.types.size) named(it, types);
    it.destination ??= all.find((one) => one.dag === it.dag && one.destination)?.destination;
    it.connection ??= all.find((one) => one.dag === it.dag && one.connection)?.connection;
  }
  const copiesOf = (dag) =>
    [...copying].filter((it) => it.dag === dag && !it.mapped && it.types.size === 1).map((it) => it.id);
  return {
    destinations,
    /** The DAGs that have such tasks. */
    dags: [...new Set([...copying].map((it) => it.dag))].filter((dag) => copiesOf(dag).length).sort(),
    of(instance) {
      const told = plain(instance.rendered_fields?.event_type);
      const it = tasks.get(keyOf(instance)) ?? { types: new Set() };
      const eventType = told ? eventTypeOf(told) : it.types.size === 1 ? [...it.types][0] : undefined;
      return { eventType, destination: it.destination, connection: it.connection };
    },
    hoursOf: ({ rendered_fields: told = {} }) => hoursBetweenTexts(plain(told.start), plain(told.end)),
    /** The tasks of a DAG that copy one event type per run. */
    copiesOf,
  };
}

/** The name of an event type stands in the task's id, the longest that does: "datapoint_ack.copy" isn't "datapoint". */
function named(it, types) {
  const [longest] = types.filter((type) => it.id.includes(type)).sort((one, other) => other.length - one.length);
  if (longest) it.types.add(longest);
}

function hoursBetweenTexts(start, end) {
  const first = Date.parse(start);
  const last = end ? Date.parse(end) : first + HOUR;
  return Number.isNaN(first) || Number.isNaN(last) ? undefined : hoursIn(first, last);
}
