// The states of the cells, the results that could not be read, and the provenance.

const PROVENANCE = [
  ["device", "Devices", ""], ["precision", "Precisions", ""], ["memory_kind", "Memory", "Peaks of different kinds cannot be compared."],
  ["commit", "Commits", "Cells of different versions of the code."], ["schema_version", "Result schemas", ""],
  ["execution_level", "Sandbox levels", "Programs ran under different restrictions."],
];

function drawOverview(report) {
  const { rows, findings } = report;
  const done = rows.where("status", "ok").length;
  const seconds = ["load", "train", "generate", "score"]
    .flatMap((phase) => rows.numbers.map((row) => rows.get(row, `${phase}_seconds`) ?? 0))
    .reduce((sum, value) => sum + value, 0);
  const verdicts = (verdict) => findings.filter((finding) => finding.verdict === verdict).length;
  const tiles = [
    [`${done.toLocaleString("en")} / ${rows.count.toLocaleString("en")}`, "cells done", "#states"],
    [rows.distinct("model").length, "models", "#leaderboard"], [rows.distinct("dataset").length, "data sets", "#leaderboard"],
    [duration(seconds), "of computing", "#provenance"],
    [verdicts("confirmed"), "claims confirmed", "#claims"], [verdicts("refuted"), "claims refuted", "#claims"],
    [verdicts("not_decided"), "claims not decided", "#claims"],
  ];
  byId("overview-body").append(make("div", { class: "tiles" }, ...tiles.map(([value, label, target]) =>
    make("a", { class: "tile", href: target }, make("strong", { text: String(value) }), make("span", { text: label })))));
}

function drawStates(report) {
  const { rows, problems } = report;
  const root = byId("states-body");
  const states = rows.distinct("status");
  if (rows.count > 0) {
    const bar = make("div", { class: "statebar", role: "img", "aria-label": "Cells by state" });
    const legend = make("p", { class: "legend" });
    for (const state of STATUSES.filter((name) => states.includes(name)).concat(states.filter((name) => !STATUSES.includes(name)))) {
      const many = rows.where("status", state).length;
      const part = make("span", { class: `status-${STATUSES.includes(state) ? state : "other"}` });
      part.style.flexGrow = String(many);
      bar.append(part);
      legend.append(statusBadge(state), ` ${many.toLocaleString("en")}  `);
    }
    root.append(bar, legend);
  }
  root.append(unsuccessfulCells(report), problemList(problems));
}

function unsuccessfulCells(report) {
  const { rows } = report;
  const bad = rows.numbers.filter((row) => rows.get(row, "status") !== "ok");
  if (bad.length === 0)
    return make("p", { text: rows.count > 0 ? "All cells succeeded." : "No cell was read." });
  const part = make("div", {});
  const limit = 200;
  part.append(tableOf("Cells that did not succeed", ["Cell", "State", "Why"],
    bad.slice(0, limit).map((row) => [
      make("button", { type: "button", class: "link", ...shortProperties(rows.nameOf(row), OPTION_CHARACTERS), click: () => showCells(report, [row]) }),
      statusBadge(rows.get(row, "status")),
      make("td", { class: "why", text: rows.get(row, "reason") ?? (rows.get(row, "status") === "running" ? "the cell is running or was killed" : MISSING) }),
    ])));
  if (bad.length > limit) part.append(make("p", { class: "muted", text: `and ${bad.length - limit} more: choose a state in the leaderboard` }));
  return part;
}

function problemList(problems) {
  if (problems.length === 0) return make("p", { class: "muted", text: "All results could be read." });
  return make("div", {}, make("h3", { text: `Unreadable results: ${problems.length}` }),
    tableOf("Unreadable results", ["Where", "What"],
      problems.slice(0, 500).map((problem) => [make("td", { class: "mono", text: problem.where }), make("td", { class: "why", text: problem.what })])));
}

function drawProvenance(report) {
  const { rows, meta } = report;
  const root = byId("provenance-body");
  const facts = make("dl", { class: "facts" });
  const fact = (label, text) => facts.append(make("div", {}, make("dt", { text: label }), make("dd", { text })));
  fact("Written", meta.made_at);
  fact("By", meta.made_by);
  meta.sources.forEach((source, place) => fact(place === 0 ? "Read from" : "and from", source));
  if (meta.against) fact("Compared with", meta.against);
  const times = ["started_at", "finished_at"].map((name) => rows.distinct(name));
  if (times[0].length > 0) fact("First cell started", String(times[0][0]));
  if (times[1].length > 0) fact("Last cell finished", String(times[1].at(-1)));
  add(root, facts, distinctTable(report), dataTable(rows));
}

function distinctTable(report) {
  const { rows } = report;
  const lines = [];
  for (const [name, title, warning] of PROVENANCE) {
    const values = rows.distinct(name);
    if (values.length === 0) continue;
    const shown = values.slice(0, 8)
      .map((value) => `${String(value).slice(0, name === "commit" ? 10 : 60)} (${rows.where(name, value).length})`);
    const rest = values.length > 8 ? ` and ${values.length - 8} more` : "";
    lines.push([title, make("td", { class: "mono", text: shown.join(", ") + rest }),
      make("td", { class: "warning", text: values.length > 1 ? warning : "" })]);
  }
  const dirty = rows.where("dirty", true).length;
  if (dirty > 0)
    lines.push(["Uncommitted changes", `${dirty} cells`,
      make("td", { class: "warning", text: "The commit does not identify the code that ran." })]);
  if (lines.length === 0) return null;
  return tableOf("Environment of the cells", ["What", "Value (cells)", "Note"], lines);
}

/** List each data set with its fingerprints: cells are comparable only on the same data. */
function dataTable(rows) {
  const lines = rows.distinct("dataset").map((dataset) => {
    const cells = rows.where("dataset", dataset);
    const leaks = cells.map((row) => rows.get(row, "leakage_share")).filter(isNumber);
    const byPrint = grouped(cells.filter((row) => rows.get(row, "data_fingerprint") !== null), (row) => rows.get(row, "data_fingerprint"));
    const prints = [...byPrint].map(([print, group]) => `${String(print).slice(0, 12)} (${group.length})`).join(", ");
    const seen = leaks.length > 0 ? `${percent(Math.max(...leaks), 2)} %` : MISSING;
    return [String(dataset), make("td", { class: "mono", text: prints || MISSING }), seen,
      make("td", { class: "warning", text: byPrint.size > 1 ? "Cells on different data cannot be compared." : "" })];
  });
  if (lines.length === 0) return null;
  return tableOf("Data sets", ["Data set", "Fingerprint (cells)", "Test samples similar to training samples", "Note"], lines);
}
