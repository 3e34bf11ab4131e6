// What tasks published about many hours: domain/digest.py describes the documents. Pure.
//
// Anyone who writes a DAG can write any content into an asset event, so nothing here trusts the form of a document.

import { DIGEST_FORMAT, DIGESTS, LAYERS } from "./constants.js";
import { HOUR } from "./hours.js";

const LONGEST = 400 * 24; // hours of one document
const FIGURES = ["files", "bytes", "lines", "rows", "duplicates", "quarantined", "revision", "lag", "lost", "erased"];
const COMPARED_FIGURES = ["only_stream", "only_export"];

/** Return the destination of an asset that digests of an archive are events of, else undefined. */
export function digestedArchive(uri) {
  const [, destination, name] = new RegExp(`^(.+)/${DIGESTS}/(daily|newest)$`).exec(uri) ?? [];
  return destination && { destination, isDaily: name === "daily" };
}

/**
 * Return what is known of each archive, by its destination.
 *
 * @param {{assets: object[], digests: object[]}} read assets and asset events, as the API returns them
 * @returns {Map<string, Digests>}
 */
export function digestsOf({ assets, digests = [] }) {
  const archives = new Map(assets.map(({ id, uri }) => [id, digestedArchive(uri)]));
  const found = new Map();
  for (const event of [...digests].sort(byTime)) {
    const archive = archives.get(event.asset_id);
    const document = archive && documentOf(event);
    if (!document) continue;
    if (!found.has(archive.destination)) found.set(archive.destination, new Digests());
    found.get(archive.destination).add(document);
  }
  return found;
}

const byTime = (left, right) => Date.parse(left.timestamp) - Date.parse(right.timestamp) || left.id - right.id;

/** What tasks know of one archive, layer by layer. */
export class Digests {
  constructor() {
    /** The documents of each layer and warehouse, the newest first. */
    this.layers = new Map();
  }

  add(document) {
    const key = `${document.layer}\n${document.where}`;
    if (!this.layers.has(key)) this.layers.set(key, new Layer(document.layer, document.where));
    this.layers.get(key).documents.unshift(document);
  }

  /** Return the layers in their order: one, or one for each warehouse. */
  get all() {
    const order = ({ layer, where }) => `${LAYERS.indexOf(layer)} ${where}`;
    return [...this.layers.values()].sort((left, right) => order(left).localeCompare(order(right)));
  }

  named(layer) {
    return this.all.filter((each) => each.layer === layer);
  }

  get eventTypes() {
    return [...new Set(this.all.flatMap(({ documents }) => documents.flatMap(({ types }) => [...types.keys()])))];
  }

  /** Return for how many days the vendor keeps files of an event type, undefined if nobody knows it. */
  retention(eventType) {
    const stated = this.all.flatMap(({ documents }) => documents).map(({ facts }) => facts.retention_days?.[eventType]);
    return stated.find((days) => Number.isFinite(days) && days > 0);
  }

  /** Return the address of what a document links to, undefined if there is none. */
  link(name, eventType, hour) {
    for (const { documents } of this.all) {
      const template = documents.find(({ facts }) => facts[name])?.facts[name];
      if (template) return addressOf(template, eventType, name === "table" ? undefined : hour);
    }
    return undefined;
  }

  /** Return what tasks did or found to do, the newest first. */
  get activities() {
    const listed = this.all.flatMap(({ documents }) => documents.flatMap((document) => activitiesOf(document)));
    // Each run repeats what isn't done yet, and what can't be undone.
    const once = new Map();
    for (const each of listed.sort((left, right) => left.at - right.at)) {
      const key = [each.what, each.eventType, each.hour, each.text].join("\n");
      if (!once.has(key)) once.set(key, each);
    }
    return [...once.values()].sort((left, right) => right.at - left.at);
  }
}

/** What tasks know of one layer of an archive; of one warehouse, if the layer is that of loads. */
export class Layer {
  constructor(layer, where) {
    this.layer = layer;
    this.where = where;
    this.documents = [];
  }

  get at() {
    return this.documents[0].at;
  }

  /** The task that published the newest document. */
  get source() {
    return this.documents[0].source;
  }

  /** Return the states of some hours in one pass: for each the state and its document, undefined where nobody knows. */
  row(eventType, hours) {
    const found = new Array(hours.length);
    const from = hours[0];
    // The oldest first, so that newer ones replace them.
    for (const document of this.documents.toReversed()) {
      for (const { state, first, length } of document.types.get(eventType)?.runs ?? []) {
        if (state === null) continue;
        const begin = (document.start - from) / HOUR + first;
        const end = Math.min(begin + length, hours.length);
        for (let index = Math.max(0, begin); index < end; index += 1) found[index] = { state, document };
      }
    }
    return found;
  }

  /** Return what is known of an hour: its state, figures, note, and when and by which task; undefined if nothing is. */
  of(eventType, hour) {
    const document = this.documents.find((each) => stateIn(each, eventType, hour) !== null);
    if (!document) return undefined;
    const figures = {};
    for (const name of [...FIGURES, ...COMPARED_FIGURES]) {
      for (const each of this.documents) {
        const value = figureIn(each, name, eventType, hour);
        if (value === undefined) continue;
        figures[name] = value;
        break;
      }
    }
    return { state: stateIn(document, eventType, hour), at: document.at, source: document.source, ...figures, note: document.notes.get(`${eventType}\n${hour}`) };
  }
}

/** Return a figure of an hour in a document; 0 if the document leaves the figure out because it is 0 everywhere. */
export function figureIn(document, name, eventType, hour) {
  const type = document.types.get(eventType);
  const index = (hour - document.start) / HOUR;
  const column = type?.columns[name];
  const value = column?.values[index - column.first];
  return Number.isFinite(value) && value >= 0 ? value : undefined;
}

function stateIn({ start, types }, eventType, hour) {
  const index = (hour - start) / HOUR;
  const run = types.get(eventType)?.runs.find(({ first, length }) => index >= first && index < first + length);
  return run?.state ?? null;
}

const isText = (value) => typeof value === "string";
const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const listOf = (value) => (Array.isArray(value) ? value : []);

/** Return the document that an asset event has, undefined if it has none. */
function documentOf({ id, timestamp, extra, source_dag_id: dag, source_run_id: run, source_task_id: task, source_map_index: mapIndex }) {
  if (!isObject(extra) || extra.format !== DIGEST_FORMAT || !LAYERS.includes(extra.layer)) return undefined;
  const [start, at] = [Date.parse(extra.start), Date.parse(timestamp)];
  const whole = Math.floor(start / HOUR) * HOUR;
  if (Number.isNaN(start) || !Number.isInteger(extra.hours) || extra.hours < 0 || extra.hours > LONGEST) return undefined;
  const types = new Map();
  for (const [name, columns] of Object.entries(isObject(extra.event_types) ? extra.event_types : {})) {
    if (isObject(columns)) types.set(name, { runs: runsOf(columns.states), columns: columnsOf(columns) });
  }
  return {
    id,
    at,
    layer: extra.layer,
    where: isText(extra.where) ? extra.where : "",
    start: whole,
    hours: extra.hours,
    types,
    notes: notesOf(extra.notes),
    facts: isObject(extra.facts) ? extra.facts : {},
    activities: listOf(extra.activities).filter(isObject),
    source: dag && run && task ? { dag, run, task, mapIndex } : undefined,
  };
}

function runsOf(states) {
  const runs = [];
  let first = 0;
  for (const pair of listOf(states)) {
    const [state, length] = listOf(pair);
    if (!Number.isInteger(length) || length < 1 || first + length > LONGEST) break;
    runs.push({ state: isText(state) ? state : null, first, length });
    first += length;
  }
  return runs;
}

function columnsOf(columns) {
  const named = Object.entries(columns).filter(([, column]) => isObject(column) && Number.isInteger(column.first));
  return Object.fromEntries(named.map(([name, { first, values }]) => [name, { first, values: listOf(values) }]));
}

function notesOf(notes) {
  const sound = listOf(notes).filter((note) => isObject(note) && isText(note.event_type) && isText(note.text));
  return new Map(sound.map(({ event_type, hour, text }) => [`${event_type}\n${Date.parse(hour)}`, text]));
}

function activitiesOf({ activities, at, source, layer, where }) {
  return activities
    .map(({ what, event_type: eventType, hour, text }) => ({ what, eventType, hour: Date.parse(hour), text, at, source, layer, where }))
    .filter(({ what, eventType, hour, text }) => isText(what) && isText(eventType) && isText(text) && !Number.isNaN(hour));
}

/**
 * Return the address that a template means for an hour, or for a table, which has no hour. Only an address of the web is
 * one: an event can say anything.
 */
function addressOf(template, eventType, hour) {
  if (!isText(template) || !template.startsWith("https://")) return undefined;
  const address = withLast(template, "EVENT_TYPE", eventType);
  if (hour === undefined) return address;
  const [date, time] = new Date(hour).toISOString().split("T");
  return withLast(withLast(address, "DATE", date), "HOUR", time.slice(0, 2));
}

/** Replace the last one of a word: the name of an archive, which is in front of it, can have the same letters. */
function withLast(text, word, value) {
  const at = text.lastIndexOf(word);
  return at < 0 ? text : text.slice(0, at) + value + text.slice(at + word.length);
}
