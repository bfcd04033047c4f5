// The details of a cell, in a dialog.

const DETAIL_GROUPS = [
  ["Settings", [
    ["study", "Study", "text"], ["model", "Model", "text"], ["family", "Family", "text"], ["method", "Method", "text"],
    ["quantization", "Quantization", "text"], ["dataset", "Data set", "text"], ["num_examples", "Examples in the prompt", "number"],
    ["seed", "Seed", "whole"], ["learning_rate", "Learning rate", "number"], ["epochs", "Epochs", "number"],
    ["sampled", "Sampled candidates", "text"], ["test_samples", "Test samples", "number"],
  ]],
  ["Cost", [
    ["trainable_parameters", "Trained parameters", "number"], ["total_parameters", "Parameters", "number"],
    ["load_seconds", "Loading", "seconds"], ["train_seconds", "Training", "seconds"], ["generate_seconds", "Generation", "seconds"],
    ["score_seconds", "Scoring", "seconds"], ["train_peak_bytes", "Peak of training, GB", "bytes"],
    ["generate_peak_bytes", "Peak of generation, GB", "bytes"], ["memory_kind", "Kind of memory", "text"],
  ]],
  ["Provenance", [
    ["device", "Device", "text"], ["precision", "Precision", "text"], ["data_fingerprint", "Fingerprint of the data", "text"],
    ["leakage_share", "Test samples similar to training samples, %", "share"], ["execution_level", "Sandbox level", "text"],
    ["best_validation_loss", "Best validation loss", "number"], ["commit", "Commit", "text"], ["dirty", "With uncommitted changes", "text"],
    ["started_at", "Started", "text"], ["finished_at", "Finished", "text"], ["folder", "Folder", "text"], ["source", "Source", "text"],
    ["schema_version", "Result schema", "number"],
  ]],
];

/** Show the cells of these rows below each other. */
function showCells(report, rows) {
  const dialog = byId("details");
  const close = make("button", { type: "button", class: "close", "aria-label": "Close", text: "×", click: () => dialog.close() });
  dialog.replaceChildren(close, ...rows.slice(0, 20).map((row) => cellDetails(report, row)));
  if (rows.length > 20) dialog.append(make("p", { class: "muted", text: `and ${rows.length - 20} more cells` }));
  dialog.showModal();
  dialog.scrollTop = 0;
}

function cellDetails(report, row) {
  const { rows } = report;
  const status = rows.get(row, "status");
  const part = make("article", { class: "cell" },
    make("h3", {}, make("span", shortProperties(rows.nameOf(row), OPTION_CHARACTERS)), " ", statusBadge(status)),
    make("p", { class: "muted mono", text: rows.get(row, "cell_id") }));
  const reason = rows.get(row, "reason");
  if (reason) part.append(make("pre", { class: "reason", text: reason }));
  if (Object.hasOwn(report.explorer, String(row)))
    part.append(make("button", {
      type: "button", text: "Read its samples",
      click: () => { byId("details").close(); report.explore(row); },
    }));
  part.append(scoresOf(report, row));
  for (const [title, fields] of DETAIL_GROUPS) part.append(fieldsOf(rows, row, title, fields));
  return part;
}

function scoresOf({ rows, metrics }, row) {
  const scored = metrics.filter((metric) => isNumber(rows.get(row, metric.name)));
  if (scored.length === 0) return make("p", { class: "muted", text: "No scores." });
  const list = make("dl", { class: "facts" });
  for (const metric of scored) {
    const [low, high] = ["low", "high"].map((end) => rows.get(row, `${metric.name}_${end}`));
    const interval = isNumber(low) && isNumber(high) ? ` (${percent(low)}–${percent(high)})` : "";
    list.append(make("div", {}, make("dt", { text: metric.title }), make("dd", { text: `${percent(rows.get(row, metric.name))} %${interval}` })));
  }
  return make("section", {}, make("h4", { text: "Scores, with 95 % intervals over samples" }), list);
}

function fieldsOf(rows, row, title, fields) {
  const list = make("dl", { class: "facts" });
  for (const [name, label, kind] of fields) {
    const value = rows.get(row, name);
    if (value === null || value === "") continue;
    const text = typeof value === "boolean" ? (value ? "yes" : "no") : FORMATS[typeof value === "string" ? "text" : kind](value);
    list.append(make("div", {}, make("dt", { text: label }), make("dd", { text })));
  }
  return make("section", {}, make("h4", { text: title }), list);
}
