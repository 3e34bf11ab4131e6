// The event type, destination and connection of each task. What one instance of a task says is true of all of them.

import { EVENT_TYPE_BY_FOLDED_NAME, EVENT_TYPE_SEPARATOR, EVENT_TYPES } from "./constants.js";
import { intervalOf } from "./hours.js";
import { sortEvents } from "./proofs.js";

const SEPARATOR = new RegExp(EVENT_TYPE_SEPARATOR, "g");
const SEPARATORS = new RegExp(`${EVENT_TYPE_SEPARATOR}+`, "g");

/** Return the event type that a name means, as the provider spells it: "Datapoint Ack" is "datapoint_ack". */
export function eventTypeOf(name) {
  const folded = name.replace(SEPARATOR, "").toLowerCase();
  if (Object.hasOwn(EVENT_TYPE_BY_FOLDED_NAME, folded)) return EVENT_TYPE_BY_FOLDED_NAME[folded];
  const words = name.replace(SEPARATORS, "_");
  return words.replace(/^_|_$/g, "").toLowerCase();
}

// A template that Airflow hasn't rendered yet says nothing.
const plain = (text) => (typeof text === "string" && text && !text.includes("{{") ? text : undefined);
const keyOf = ({ dag_id, task_id }) => `${dag_id}\n${task_id}`;

/** Return what task instances and asset events, as the API returns them, say about tasks. */
export function names({ assets, events, copies, waits }) {
  const { proofs, odd } = sortEvents({ assets, events });
  const tasks = new Map();
  const task = (instance) => {
    const key = keyOf(instance);
    if (!tasks.has(key)) tasks.set(key, { dag: instance.dag_id, id: instance.task_id, types: new Set() });
    return tasks.get(key);
  };
  const copying = new Set();
  for (const copy of copies) copying.add(task(copy));
  for (const instance of [...copies, ...waits]) {
    const fields = instance.rendered_fields ?? {};
    const known = task(instance);
    if (plain(fields.event_type)) known.types.add(eventTypeOf(fields.event_type));
    known.destination ??= plain(fields.destination)?.replace(/\/+$/, "");
    known.connection ??= plain(fields.ayla_conn_id);
    known.mapped ||= instance.map_index >= 0;
  }
  for (const event of proofs) {
    // An event of a lost hour comes from the task that verifies the archive.
    if (!event.source_task_id || event.extra.lost) continue;
    const writer = task({ dag_id: event.source_dag_id, task_id: event.source_task_id });
    writer.types.add(event.eventType);
    // Airflow normalizes the URL of an asset. The task may spell it differently.
    writer.destination = event.destination;
    writer.mapped ||= event.source_map_index >= 0;
    // A run that drains a stream isn't about an hour, so that no run is missing for any.
    if (!event.extra.stream) copying.add(writer);
  }
  const all = [...tasks.values()];
  const types = [...new Set([...EVENT_TYPES, ...all.flatMap((known) => [...known.types])])];
  for (const known of all) {
    if (!known.types.size) addTypeFromTaskId(known, types);
    // Tasks of one DAG usually share a destination and a connection.
    const siblings = all.filter(({ dag }) => dag === known.dag);
    known.destination ??= siblings.find(({ destination }) => destination)?.destination;
    known.connection ??= siblings.find(({ connection }) => connection)?.connection;
  }
  const copiesOf = (dag) =>
    [...copying].filter((copy) => copy.dag === dag && !copy.mapped && copy.types.size === 1).map(({ id }) => id);
  return {
    /** The asset events that fit their asset, and the others: see proofs.js. */
    proofs,
    odd,
    /** The DAGs with tasks that copy one event type per run. */
    dags: [...new Set([...copying].map(({ dag }) => dag))].filter((dag) => copiesOf(dag).length).sort(),
    of(instance) {
      const name = plain(instance.rendered_fields?.event_type);
      const { types = new Set(), destination, connection } = tasks.get(keyOf(instance)) ?? {};
      const onlyType = types.size === 1 ? [...types][0] : undefined;
      return { eventType: name ? eventTypeOf(name) : onlyType, destination, connection };
    },
    /** The interval that an instance itself names. */
    intervalOf: ({ rendered_fields: fields }) => intervalOf(plain(fields?.start), plain(fields?.end)),
    /** The tasks of a DAG that copy one event type per run. */
    copiesOf,
  };
}

/** Take the longest event type in the task's id: "datapoint_ack.copy" also contains "datapoint". */
function addTypeFromTaskId(task, types) {
  const contained = types.filter((type) => task.id.includes(type));
  const [longest] = contained.sort((left, right) => right.length - left.length);
  if (longest) task.types.add(longest);
}
