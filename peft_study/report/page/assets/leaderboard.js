// The leaderboard: cells or configurations, filtered, sorted and compared.

const FILTERS = [
  ["study", "Study"], ["model", "Model"], ["method", "Method"], ["dataset", "Data set"], ["status", "State"], ["source", "Source"],
];
const PAGE_ROWS = 100;
// A browser draws a thousand rows in about a second.
const MANY_ROWS = 1000;

class Leaderboard {
  constructor(report) {
    this.rows = report.rows;
    this.report = report;
    this.search = "";
    this.chosen = {};
    this.onlyCells = null;
    this.shown = PAGE_ROWS;
    this.columns = this.allColumns(report.metrics);
    this.visible = new Set(this.columns.filter((column) => column.first).map((column) => column.name));
    const best = this.columns.find((column) => column.kind === "share" && column.first);
    this.sort = { name: best ? best.name : "model", down: Boolean(best) };
    this.lines = new Lines(report);
    this.means = this.lines.several;
    this.draw();
  }

  allColumns(metrics) {
    const has = (name) => this.rows.has(name);
    const varied = (name) => has(name) && this.rows.distinct(name).length > 1;
    const columns = [
      { name: "model", title: "Model", kind: "text", first: true },
      { name: "method", title: "Method", kind: "text", first: true },
      { name: "dataset", title: "Data set", kind: "text", first: varied("dataset") },
      { name: "study", title: "Study", kind: "text", first: false },
      { name: "source", title: "Source", kind: "text", first: varied("source") },
      ...metrics.map((metric) => ({ ...metric, kind: "share", score: true })),
      { name: "status", title: "State", kind: "text", first: true },
      { name: "num_examples", title: "Examples", kind: "number", first: varied("num_examples") },
      { name: "seed", title: "Seed", kind: "whole", first: true },
      { name: "trainable_parameters", title: "Trained", kind: "count", first: true },
      { name: "peak_bytes", title: "Peak", kind: "bytes", first: true },
      { name: "train_seconds", title: "Training", kind: "seconds", first: true },
      { name: "generate_seconds", title: "Generation", kind: "seconds", first: true },
      { name: "best_validation_loss", title: "Validation loss", kind: "number" },
      { name: "test_samples", title: "Test samples", kind: "number" },
      { name: "leakage_share", title: "Leakage", kind: "share" },
      { name: "device", title: "Device", kind: "text" },
      { name: "precision", title: "Precision", kind: "text" },
      { name: "commit", title: "Commit", kind: "text" },
      { name: "finished_at", title: "Finished", kind: "text" },
    ];
    return columns.filter((column) => has(column.name));
  }

  draw() {
    const root = byId("leaderboard-body");
    if (this.rows.count === 0) {
      root.append(make("p", { class: "empty", text: "No cell was read. Provenance lists the sources, and States the unreadable results." }));
      return;
    }
    this.summary = make("p", { class: "muted", id: "leaderboard-count", "aria-live": "polite" });
    this.table = make("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Leaderboard" });
    this.more = make("div", { class: "more" });
    root.append(this.controls(), this.summary, this.table, this.more);
    this.update();
  }

  controls() {
    const search = make("input", {
      type: "search", id: "leaderboard-search", placeholder: "All of these words", autocomplete: "off",
      input: afterTyping(() => { this.search = search.value; this.restart(); }),
    });
    const bar = make("div", { class: "controls" }, make("label", { class: "field wide" }, make("span", { text: "Search" }), search));
    for (const [name, title] of FILTERS) {
      const values = name === "method" ? this.methods() : this.rows.distinct(name);
      if (values.length < 2) continue;
      const options = [{ value: "", title: "all" }, ...values.map((value) => ({ value: String(value), title: String(value) }))];
      bar.append(choice(`filter-${name}`, title, options, "", (value) => { this.chosen[name] = value; this.restart(); }));
    }
    if (this.lines.several) {
      const options = [{ value: "means", title: "over seeds" }, { value: "cells", title: "every cell" }];
      bar.append(choice("leaderboard-rows", "Rows", options, "means", (value) => { this.means = value === "means"; this.restart(); }));
    }
    bar.append(this.columnChooser(), make("button", { type: "button", text: "Save as CSV", click: () => this.save() }));
    this.narrowed = make("button", { type: "button", class: "chip", hidden: true, click: () => { this.onlyCells = null; this.restart(); } });
    bar.append(this.narrowed);
    return bar;
  }

  columnChooser() {
    const list = make("div", { class: "choices" });
    for (const column of this.columns)
      list.append(make("label", {}, make("input", {
        type: "checkbox", checked: this.visible.has(column.name),
        change: (event) => { this.visible[event.target.checked ? "add" : "delete"](column.name); this.update(); },
      }), make("span", shortProperties(` ${column.title}`))));
    return make("details", { class: "chooser" }, make("summary", { text: "Columns" }), list);
  }

  methods() {
    return [...new Set(this.rows.numbers.map((row) => this.rows.methodOf(row)))].sort(compareValues);
  }

  /** Show only the cells with these ids. */
  showCells(ids, what) {
    this.onlyCells = new Set(ids);
    this.narrowed.textContent = `only ${what} ×`;
    this.restart();
    byId("leaderboard").scrollIntoView();
  }

  restart() {
    this.shown = PAGE_ROWS;
    this.update();
  }

  matching() {
    const words = this.search.toLowerCase().split(/\s+/).filter(Boolean);
    return this.rows.numbers.filter((row) => {
      if (this.onlyCells && !this.onlyCells.has(this.rows.get(row, "cell_id"))) return false;
      const differs = FILTERS.some(([name]) => {
        if (!this.chosen[name]) return false;
        const value = name === "method" ? this.rows.methodOf(row) : this.rows.get(row, name);
        return String(value) !== this.chosen[name];
      });
      return !differs && (words.length === 0 || this.contains(row, words));
    });
  }

  contains(row, words) {
    const fields = ["cell_id", "study", "status", "reason"].map((name) => this.rows.get(row, name) ?? "");
    const text = [this.rows.nameOf(row), ...fields].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  }

  sorted(lines) {
    const column = this.columns.find(({ name }) => name === this.sort.name) ?? this.columns[0];
    const keyed = lines.map((line, place) => ({ line, place, value: this.lines.value(line, column) }));
    const missing = (value) => value === null || value === undefined || value === "";
    keyed.sort((first, second) => {
      // Missing values stay last in both directions.
      if (missing(first.value) || missing(second.value)) return missing(first.value) - missing(second.value) || first.place - second.place;
      const order = compareValues(first.value, second.value);
      return (this.sort.down ? -order : order) || first.place - second.place;
    });
    return keyed.map(({ line }) => line);
  }

  update() {
    const rows = this.matching();
    const lines = this.lines.of(rows, this.means);
    this.data = this.lines.data(lines);
    this.current = this.sorted(lines);
    this.narrowed.hidden = this.onlyCells === null;
    const columns = this.columns.filter((column) => this.visible.has(column.name));
    const best = this.bestOf(this.current, columns);
    const head = columns.map((column) => this.heading(column));
    const body = this.current.slice(0, this.shown).map((line) => columns.map((column) => this.cell(line, column, best)));
    this.table.replaceChildren(...tableOf("Leaderboard", head, body).childNodes);
    this.summary.textContent = this.means
      ? `${this.current.length.toLocaleString("en")} rows of ${rows.length.toLocaleString("en")} cells: scores are means and costs medians over the seeds that succeeded`
      : `${rows.length.toLocaleString("en")} of ${this.rows.count.toLocaleString("en")} cells`;
    this.more.replaceChildren(...this.moreButtons());
  }

  moreButtons() {
    const left = this.current.length - this.shown;
    if (left <= 0) return [];
    const button = (text, rows) => make("button", { type: "button", text, click: () => { this.shown += rows; this.update(); } });
    return [button(`Show ${Math.min(left, PAGE_ROWS)} more`, PAGE_ROWS), left > PAGE_ROWS ? button(`Show ${Math.min(left, MANY_ROWS).toLocaleString("en")} more`, MANY_ROWS) : null]
      .filter(Boolean);
  }

  heading(column) {
    const sorted = this.sort.name === column.name;
    const title = shortened(column.title);
    const unit = UNITS[column.kind] ? `${title} ${UNITS[column.kind]}` : title;
    const button = make("button", {
      type: "button", class: "sort", title: column.about ?? `Sort by ${column.title}`,
      click: () => {
        this.sort = sorted ? { name: column.name, down: !this.sort.down } : { name: column.name, down: column.kind !== "text" };
        this.restart();
      },
    }, unit, make("span", { class: "arrow", "aria-hidden": "true", text: sorted ? (this.sort.down ? "▼" : "▲") : "" }));
    return make("th", {
      scope: "col", class: column.kind === "text" ? null : "number", "data-column": column.name,
      "aria-sort": sorted ? (this.sort.down ? "descending" : "ascending") : null,
    }, button);
  }

  /** Find the best score of each column and data, because scores on different data do not compare. */
  bestOf(lines, columns) {
    const best = new Map();
    for (const column of columns.filter(({ score }) => score))
      for (const line of lines) {
        const value = this.lines.value(line, column);
        const key = this.rankedWith(line, column);
        if (isNumber(value) && value > (best.get(key) ?? -Infinity)) best.set(key, value);
      }
    return best;
  }

  rankedWith(line, column) {
    return `${column.name}\n${this.data.get(line).same}`;
  }

  cell(line, column, best) {
    const value = this.lines.value(line, column);
    if (column.name === "model") return this.name(line, value);
    if (column.name === "status") {
      const states = line.rows.map((row) => this.rows.get(row, "status"));
      return make("td", {}, ...[...new Set(states)].sort().map((state) => {
        const badge = statusBadge(state);
        const many = states.filter((name) => name === state).length;
        if (line.rows.length > 1) badge.textContent = `${many} ${badge.textContent}`;
        return badge;
      }));
    }
    if (column.score) return this.score(line, column, value, isNumber(value) && best.get(this.rankedWith(line, column)) === value);
    const shown = column.name === "commit" && value ? String(value).slice(0, 10) : value;
    const text = typeof shown === "string" ? shown : FORMATS[column.kind](shown);
    return make("td", {
      class: column.kind === "text" ? null : "number", title: this.range(line, column), ...shortProperties(text === "" ? MISSING : text),
    });
  }

  name(line, value) {
    const { note } = this.data.get(line);
    return make("th", { scope: "row" }, make("button", {
      type: "button", class: "link", title: "Show details", ...shortProperties(FORMATS.text(value)),
      click: () => showCells(this.report, line.rows),
    }),
    line.other && make("span", {
      class: "badge", text: "other settings",
      title: `The tables show another set of runs of this configuration, with more finished cells. Difference: ${line.other}`,
    }),
    note && make("span", { class: "badge", text: note, title: "Other rows of this data set use other test samples, so their scores do not compare" }));
  }

  /** Describe the costs behind a median. */
  range(line, column) {
    if (line.rows.length < 2 || !["count", "bytes", "seconds"].includes(column.kind)) return null;
    const numbers = this.lines.numbers(line, column.name);
    if (numbers.length < 2) return null;
    const [low, high] = [Math.min(...numbers), Math.max(...numbers)].map(FORMATS[column.kind]);
    return `median of ${numbers.length} cells, from ${low} to ${high}`;
  }

  score(line, column, value, isBest) {
    const cell = make("td", { class: `number score${isBest ? " best" : ""}` }, make("span", { class: "value", text: percent(value) }));
    const range = make("span", { class: "range" });
    cell.append(" ", range);
    if (!isNumber(value)) return cell;
    cell.style.setProperty("--share", String(Math.min(1, Math.max(0, value))));
    const interval = this.lines.interval(line, column.name);
    const over = line.rows.length > 1 ? "seeds and samples" : "samples";
    if (interval !== null)
      range.append(make("span", { text: interval.map((end) => percent(end)).join("–"), title: `95 % interval over ${over}` }));
    return cell;
  }

  save() {
    const columns = this.columns.filter((column) => this.visible.has(column.name));
    const others = this.current.some((line) => line.other);
    const head = [...columns.map((column) => column.name), ...(others ? ["other_settings"] : [])];
    const fields = this.current.map((line) => [
      ...columns.map((column) => this.lines.value(line, column)), ...(others ? [line.other ?? null] : []),
    ]);
    const text = [head, ...fields].map((line) => line.map(csvField).join(",")).join("\r\n");
    const link = make("a", { download: "leaderboard.csv", href: URL.createObjectURL(new Blob([`${text}\r\n`], { type: "text/csv" })) });
    link.click();
    URL.revokeObjectURL(link.href);
  }
}
