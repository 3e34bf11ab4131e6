// Months of a made-up export that replace Airflow's answers, for pictures and tests of the coverage page.
// Airflow's own pages don't use fetch().
(() => {
  const HOUR = 3_600_000;
  const DAG = "ayla_export_to_bucket";
  const REPAIRS = "ayla_export_reconcile";
  const DESTINATION = "gs://your-bucket/ayla";
  const SIZES = { connection: 9e5, datapoint: 4e7, datapoint_ack: 2.4e7, location: 2e5, registration: 6e3 };
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
    const night = new Date(hour).getUTCHours() < 6;
    if (type === "registration" && chance("empty", hour) < (night ? 0.6 : 0.1)) return "empty";
    return "landed";
  }

  const assets = Object.keys(SIZES).map((type, index) => ({ id: index + 1, uri: `${DESTINATION}/event_type=${type}` }));
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
    copies.push(task("copy", outcome === "failed" ? "failed" : "success", outcome === "failed" ? { try_number: 5 } : {}));
    if (outcome === "failed") return;
    const wave = 0.55 + 0.45 * Math.sin(((new Date(hour).getUTCHours() - 8) / 24) * 2 * Math.PI);
    const files = outcome === "empty" ? 0 : 1 + Math.floor(2.6 * wave * chance("files", type, hour));
    const day = 0.4 + 0.6 * chance("day", type, Math.floor(hour / (24 * HOUR)));
    const bytes = files && Math.round(SIZES[type] * day * (0.25 + wave) * (0.8 + 0.4 * chance("bytes", type, hour)));
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
    if (path === "assets") return page(assets, "assets", offset);
    if (path === "assets/events") {
      const asset = Number(params.get("asset_id"));
      const from = params.get("timestamp_gte");
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
