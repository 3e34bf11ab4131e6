// Months of a made-up export that replace Airflow's answers, for pictures and tests of the coverage page.
// Airflow's own pages don't use fetch().
(() => {
  const HOUR = 3_600_000;
  const DAG = "ayla_export_to_bucket";
  const REPAIRS = "ayla_export_reconcile";
  const DESTINATION = "gs://your-bucket/ayla";
  const SIZES = { connection: 9e5, datapoint: 4e7, datapoint_ack: 2.4e7, location: 2e5, registration: 6e3 };
  // Whether tasks published digests. Tests of an archive without any replace the value.
  const WITH_DIGESTS = true;
  const now = Date.now();
  const present = Math.floor(now / HOUR) * HOUR;
  const first = present - 120 * 24 * HOUR;
  const time = (moment) => new Date(moment).toISOString();

  /** Return a number from 0 to 1 that depends on the words alone. */
  const chance = (...words) => {
    let hash = 2166136261;
    for (const letter of words.join()) hash = Math.imul(hash ^ letter.charCodeAt(0), 16777619);
    hash = Math.imul(hash ^ (hash >>> 15), 2246822507);
    return ((hash ^ (hash >>> 13)) >>> 0) / 2 ** 32;
  };
  const ago = (hour) => (present - hour) / HOUR;

  function outcomeOf(type, hour) {
    const age = ago(hour);
    if (age === 0) return "open";
    if (age === 1) return type === "connection" ? "landed" : "waiting";
    if (age === 2 && type === "datapoint") return "delayed";
    if ([9, 10].includes(age) && type === "location") return "stuck";
    if ((age === 17 && type === "datapoint") || (age > 700 && chance("failed", type, hour) < 0.0006)) return "failed";
    if ([30, 31].includes(age)) return "never";
    if (age > 990 && age < 996) return "stuck";
    if (age > 900 && age < 904 && type === "connection") return "changed";
    if (age === 800 && type === "location") return "lost";
    const night = new Date(hour).getUTCHours() < 6;
    if (type === "registration" && chance("empty", hour) < (night ? 0.6 : 0.1)) return "empty";
    return "landed";
  }

  const assets = Object.keys(SIZES).map((type, index) => ({ id: index + 1, uri: `${DESTINATION}/event_type=${type}` }));
  const DAILY = 11;
  const NEWEST = 12;
  const FRESHNESS = 13;
  const VOLUMES = 14;
  if (WITH_DIGESTS) {
    assets.push({ id: DAILY, uri: `${DESTINATION}/_digests/daily` }, { id: NEWEST, uri: `${DESTINATION}/_digests/newest` });
    assets.push({ id: FRESHNESS, uri: `${DESTINATION}/_freshness` }, { id: VOLUMES, uri: `${DESTINATION}/_volumes` });
  }
  const [events, copies, waits, runs] = [[], [], [], []];
  for (let hour = first; hour < present; hour += HOUR) {
    const end = hour + HOUR;
    const run = { dag_id: DAG, dag_run_id: `scheduled__${time(end)}`, run_after: time(end) };
    const outcomes = Object.keys(SIZES).map((type) => [type, outcomeOf(type, hour)]);
    if (outcomes.some(([, outcome]) => outcome !== "never"))
      runs.push({ ...run, data_interval_start: time(hour), data_interval_end: time(end), state: "success" });
    for (const [type, outcome] of outcomes) addHour(type, hour, run, outcome);
    addReconcile(end);
  }

  /** Add a run of the reconcile DAG that finds nothing to repair. */
  function addReconcile(at) {
    const run = { dag_id: REPAIRS, dag_run_id: `scheduled__${time(at + 2_400_000)}`, run_after: time(at + 2_400_000) };
    runs.push({ ...run, data_interval_start: run.run_after, data_interval_end: run.run_after, state: "success" });
    copies.push({
      id: run.dag_run_id,
      ...run,
      task_id: "repair",
      map_index: -1,
      state: "skipped",
      try_number: 0,
      operator: "AylaExportToBucketOperator",
      rendered_fields: {},
      start_date: run.run_after,
      end_date: run.run_after,
    });
  }

  function addHour(type, hour, run, outcome) {
    if (outcome === "never" || outcome === "open") return;
    const end = hour + HOUR;
    const lag = (15 + 30 * chance("lag", type, hour) ** 3) * 60_000;
    const task = (name, state, more) => ({
      id: `${run.dag_run_id}.${type}.${name}`,
      ...run,
      task_id: `${type}.${name}`,
      map_index: -1,
      state,
      try_number: 1,
      operator: name === "copy" ? "AylaExportToBucketOperator" : "AylaExportHourSensor",
      start_date: time(end + lag),
      end_date: time(end + lag + 40_000),
      rendered_fields: { event_type: type, destination: DESTINATION, ayla_conn_id: "ayla_default" },
      ...more,
    });
    const waiting = { waiting: "deferred", delayed: "deferred", stuck: "failed" }[outcome];
    if (waiting) {
      waits.push(
        task("wait", waiting, { start_date: time(end), end_date: outcome === "stuck" ? time(end + 24 * HOUR) : null }),
      );
      copies.push(task("copy", outcome === "stuck" ? "upstream_failed" : null, { start_date: null, end_date: null }));
      return;
    }
    if (outcome === "changed" || outcome === "lost") outcome = "landed";
    copies.push(task("copy", outcome === "failed" ? "failed" : "success", outcome === "failed" ? { try_number: 5 } : {}));
    if (outcome === "failed") return;
    const { files, bytes } = figuresOf(type, hour, outcome);
    events.push({
      id: events.length + 1,
      asset_id: Object.keys(SIZES).indexOf(type) + 1,
      timestamp: time(end + lag + 900_000),
      source_dag_id: DAG,
      source_run_id: run.dag_run_id,
      source_task_id: `${type}.copy`,
      source_map_index: -1,
      extra: {
        event_type: type,
        hour: time(hour),
        state: files ? "landed" : "empty",
        files,
        bytes,
        revision: 1,
        lines: Math.round(bytes / 130),
        newest: files ? time(end + lag) : null,
      },
    });
  }

  function figuresOf(type, hour, outcome) {
    const wave = 0.55 + 0.45 * Math.sin(((new Date(hour).getUTCHours() - 8) / 24) * 2 * Math.PI);
    const files = outcome === "empty" ? 0 : 1 + Math.floor(2.6 * wave * chance("files", type, hour));
    const day = 0.4 + 0.6 * chance("day", type, Math.floor(hour / (24 * HOUR)));
    const bytes = files && Math.round(SIZES[type] * day * (0.25 + wave) * (0.8 + 0.4 * chance("bytes", type, hour)));
    return { files, bytes, lines: Math.round(bytes / 130) };
  }

  const digests = WITH_DIGESTS ? madeUpDigests() : [];

  /** Return the asset events with digests, as domain/digest.py writes them. */
  function madeUpDigests() {
    const found = [];
    const publish = (asset_id, at, task, document) =>
      found.push({
        id: 1e6 + found.length,
        asset_id,
        timestamp: time(at),
        source_dag_id: task[0],
        source_run_id: `scheduled__${time(at)}`,
        source_task_id: task[1],
        source_map_index: -1,
        extra: { format: "ayla-digest/1", where: "", notes: [], facts: {}, ...document },
      });
    const facts = {
      retention_days: Object.fromEntries(Object.keys(SIZES).map((type) => [type, 365])),
      files: "https://console.cloud.google.com/storage/browser/your-bucket/ayla/event_type=EVENT_TYPE/date=DATE/hour=HOUR",
      manifest:
        "https://console.cloud.google.com/storage/browser/_details/your-bucket/ayla/_manifests/event_type=EVENT_TYPE/date=DATE/hour=HOUR.json",
    };
    const states = { stuck: "overdue", never: "missing", delayed: "waiting", open: "waiting" };
    const copiedOf = (type, hour) => {
      const outcome = outcomeOf(type, hour);
      return states[outcome] ?? outcome;
    };
    const RECONCILE = [REPAIRS, "reconcile"];
    const LOAD = ["ayla_export_to_duckdb", "plan"];
    const VERIFY = ["ayla_export_verify", "verify"];
    const warehouse = {
      layer: "loaded",
      where: "duckdb//data/ayla.duckdb/main/ayla_",
      facts: { name: "the DuckDB file /data/ayla.duckdb", table: "" },
    };
    const loadedOf = (type, hour) => {
      if (outcomeOf(type, hour) !== "landed") return null;
      const age = ago(hour);
      return age < 3 || ([7, 8].includes(age) && type === "location") ? "to_load" : "loaded";
    };
    const checkedOf = (type, hour) => {
      if (ago(hour) === 60 && type === "connection") return "damaged";
      const outcome = outcomeOf(type, hour);
      return outcome === "landed" ? "sound" : outcome === "empty" ? "empty" : null;
    };
    const comparedOf = (type, hour) => (ago(hour) === 100 && type === "datapoint" ? "missing_in_export" : "complete");
    const typedOf = (type, hour) => (outcomeOf(type, hour) === "landed" ? "typed" : null);
    const message = "datapoint: 1 of 3 files couldn't be copied: the checksum crc32c differs";
    const yearAgo = present - 365 * 24 * HOUR;
    for (let start = yearAgo; start < present; start += 30 * 24 * HOUR) {
      const end = Math.min(start + 30 * 24 * HOUR, present);
      const notes = [];
      for (let hour = start; hour < end; hour += HOUR)
        for (const type of Object.keys(SIZES))
          if (outcomeOf(type, hour) === "failed") notes.push({ event_type: type, hour: time(hour), text: message });
      publish(DAILY, now - 20 * 60_000, RECONCILE, {
        layer: "copied",
        facts,
        notes,
        ...span(start, end, copiedOf, ["files", "bytes", "lines", "lag"]),
      });
    }
    publish(DAILY, now - 19 * 60_000, LOAD, { ...warehouse, ...span(yearAgo, present, loadedOf, []) });
    publish(DAILY, now - 9 * HOUR, VERIFY, {
      layer: "verified",
      ...span(present - 168 * HOUR, present - 9 * HOUR, checkedOf, []),
      activities: [
        { what: "repair", event_type: "connection", hour: time(present - 60 * HOUR), text: "1 file damaged" },
        { what: "loss", event_type: "location", hour: time(present - 800 * HOUR), text: "event_type=location/date=2026-10-28/a.csv" },
      ],
    });
    publish(DAILY, now - 9 * HOUR, VERIFY, {
      layer: "typed",
      ...span(present - 168 * HOUR, present - 9 * HOUR, typedOf, ["rows"]),
    });
    publish(DAILY, now - 8 * HOUR, ["ayla_export_completeness", "compare"], {
      layer: "compared",
      where: "gs://your-bucket/ayla-stream",
      ...span(present - 168 * HOUR, present - 30 * HOUR, comparedOf, []),
    });
    publish(NEWEST, now - 10 * 60_000, LOAD, {
      ...warehouse,
      ...span(present - 168 * HOUR, present, loadedOf, ["rows", "duplicates", "quarantined"]),
      activities: [{ what: "load_again", event_type: "datapoint", hour: time(present - 40 * HOUR), text: "its files changed" }],
    });
    return found.reverse();
  }

  /** Return the hours of a digest in its compact form. */
  function span(start, end, stateOf, names) {
    const hours = [];
    for (let hour = start; hour < end; hour += HOUR) hours.push(hour);
    const event_types = {};
    for (const type of Object.keys(SIZES)) {
      const states = [];
      for (const hour of hours) {
        const state = stateOf(type, hour);
        if (states.at(-1)?.[0] === state) states.at(-1)[1] += 1;
        else states.push([state, 1]);
      }
      const figure = (name, hour) => {
        const outcome = outcomeOf(type, hour);
        if (!["landed", "empty", "changed", "lost"].includes(outcome)) return null;
        const { files, bytes, lines } = figuresOf(type, hour, outcome);
        const duplicates = Math.round(lines * 0.02 * chance("twice", type, hour));
        const quarantined = chance("bad", type, hour) < 0.02 ? 1 : 0;
        const lag = files ? Math.round(15 + 30 * chance("lag", type, hour) ** 3) : null;
        return { files, bytes, lines, lag, duplicates, quarantined, rows: lines - duplicates - quarantined }[name];
      };
      event_types[type] = { states };
      for (const name of names) event_types[type][name] = { first: 0, values: hours.map((hour) => figure(name, hour)) };
    }
    return { start: time(start), hours: hours.length, event_types };
  }

  const measure = (asset_id, extra) => ({ id: 2e6 + asset_id, asset_id, timestamp: time(now - 3 * 60_000), extra });

  function madeUpTracks() {
    const tracks = [];
    for (const event_type of Object.keys(SIZES)) {
      for (const [layer, objective] of Object.entries({ copied: 3 * 3600, loaded_duckdb: 4 * 3600 })) {
        const isBreach = event_type === "location" && layer === "copied";
        tracks.push({
          event_type,
          layer,
          state: isBreach ? "breach" : "ok",
          objective,
          lag: isBreach ? 10.4 * 3600 : 4200,
          late: isBreach ? 2 : 0,
          since: isBreach ? time(present - 6 * HOUR) : null,
          hour: isBreach ? time(present - 10 * HOUR) : null,
          muted_until: null,
          share: isBreach ? 0.9712 : 0.9986,
          lag_p50: 5040,
          lag_p95: 6600,
          lag_p99: isBreach ? 37_000 : 8220,
        });
      }
    }
    return tracks;
  }

  function madeUpAnomalies() {
    const hours = { hour: time(present - 14 * HOUR), last_hour: time(present - 13 * HOUR), hours: 2, over: false };
    return [{ event_type: "datapoint_ack", model: "LC-THERMO-2", direction: "low", count: 1204, expected: 12_900, ...hours }];
  }

  const page = (items, key, offset) => ({ [key]: items.slice(offset, offset + 100), total_entries: items.length });
  function answer(path, params, body) {
    const since = params.get("run_after_gte") ?? "";
    const until = params.get("run_after_lte") ?? "9";
    const states = params.getAll("state").map((state) => (state === "no_status" ? null : state));
    const ranged = (tasks) =>
      tasks
        .filter(
          (task) =>
            task.run_after >= since && task.run_after <= until && (!states.length || states.includes(task.state)),
        )
        .reverse();
    const offset = Number(params.get("offset"));
    if (path === "assets")
      return page(
        assets.filter(({ uri }) => params.get("uri_pattern").split("|").some((part) => uri.includes(part))),
        "assets",
        offset,
      );
    if (path === "assets/events") {
      const asset = Number(params.get("asset_id"));
      const from = params.get("timestamp_gte");
      if (asset === FRESHNESS) return page([measure(asset, { tracks: madeUpTracks() })], "asset_events", offset);
      if (asset === VOLUMES) return page([measure(asset, { anomalies: madeUpAnomalies() })], "asset_events", offset);
      if (asset === DAILY || asset === NEWEST)
        return page(
          digests.filter(({ asset_id }) => asset_id === asset),
          "asset_events",
          offset,
        );
      return page(
        events.filter((event) => event.asset_id === asset && event.timestamp >= from),
        "asset_events",
        offset,
      );
    }
    if (path.endsWith("taskInstances"))
      return page(ranged(params.get("operator") === "AylaExportHourSensor" ? waits : copies), "task_instances", offset);
    if (path === "dags/~/dagRuns/list")
      return page(
        runs.filter((run) => body.dag_ids.includes(run.dag_id) && run.run_after >= body.run_after_gte),
        "dag_runs",
        body.page_offset,
      );
    return {};
  }

  const real = globalThis.fetch;
  globalThis.fetch = async (url, options = {}) => {
    const path = new URL(url, location.href).pathname.split("/api/v2/")[1];
    if (!path) return real(url, options);
    globalThis.madeUpRequests = (globalThis.madeUpRequests ?? 0) + 1;
    const content = answer(path, new URL(url, location.href).searchParams, options.body && JSON.parse(options.body));
    return new Response(JSON.stringify(content), { headers: { "Content-Type": "application/json" } });
  };
})();
