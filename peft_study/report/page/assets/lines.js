// The leaderboard's lines: each one cell, or the cells that differ in their seed alone; and what they show in a column.

const MANY_TEXTS = 3;
/** Set by a person and the same in all cells of a line, however they ended. */
const SETTINGS = new Set(["num_examples", "test_samples"]);

class Lines {
  constructor({ rows, repeats }) {
    this.rows = rows;
    this.setOf = repeats.lines;
    this.others = new Map(Object.entries(repeats.others).map(([line, text]) => [Number(line), text]));
    this.intervals = repeats.intervals;
    this.sizes = new Map();
    for (const set of this.setOf) this.sizes.set(set, (this.sizes.get(set) ?? 0) + 1);
    this.several = new Set(this.setOf).size < rows.count;
  }

  /** Lines of some rows: one for each, or one for each set of repeats. */
  of(rows, means) {
    if (!means) return rows.map((row) => ({ rows: [row], other: this.others.get(this.setOf[row]) }));
    const sets = new Map();
    for (const row of rows) {
      const set = this.setOf[row];
      if (sets.has(set)) sets.get(set).rows.push(row);
      else sets.set(set, { rows: [row], other: this.others.get(set) });
    }
    return [...sets.values()];
  }

  /** What a line shows in a column: a text that its cells share, or of those that ended well a score's mean or a cost's median. */
  value(line, column) {
    const { name, kind } = column;
    if (name === "method") return this.rows.methodOf(line.rows[0]);
    if (kind === "text" || name === "status") return this.textOf(line, name);
    if (name === "seed") return line.rows.length === 1 ? this.rows.get(line.rows[0], name) : this.seeds(line);
    if (SETTINGS.has(name)) return this.known(line, name)[0] ?? null;
    const numbers = this.numbers(line, name);
    return column.score ? mean(numbers) : median(numbers);
  }

  /** Both ends of a score's 95 % interval; null where they are not known, and where a filter hides some of the cells. */
  interval(line, name) {
    const set = this.setOf[line.rows[0]];
    if (line.rows.length > 1)
      return line.rows.length === this.sizes.get(set) ? this.intervals[set]?.[name] ?? null : null;
    const ends = ["low", "high"].map((end) => this.rows.get(line.rows[0], `${name}_${end}`));
    return ends.every(isNumber) ? ends : null;
  }

  /** Of the cells that ended well: how long another one ran until it failed is no cost of its method. */
  numbers(line, name) {
    return line.rows.filter((row) => this.rows.get(row, "status") === "ok").map((row) => this.rows.get(row, name)).filter(isNumber);
  }

  known(line, name) {
    return line.rows.map((row) => this.rows.get(row, name)).filter((value) => value !== null);
  }

  textOf(line, name) {
    const texts = [...new Set(this.known(line, name))].sort(compareValues);
    if (texts.length < 2) return texts[0] ?? null;
    const more = texts.length - MANY_TEXTS;
    return texts.slice(0, MANY_TEXTS).join(", ") + (more > 0 ? ` and ${more} more` : "");
  }

  seeds(line) {
    return this.known(line, "seed").sort(compareValues).join(", ");
  }

  /** Of each line: `same`, a key that it shares with the lines whose scores compare, and `note`, on what data it is where others are on other. */
  data(lines) {
    const found = new Map();
    for (const [dataset, beside] of grouped(lines, (line) => this.rows.get(line.rows[0], "dataset"))) {
      const samples = this.sharedBy(beside, "test_samples");
      const prints = this.sharedBy(beside, "data_fingerprint");
      for (const line of beside) {
        const [many, print] = [samples.of(line), prints.of(line)];
        const note = samples.differs(many) ? `on ${plainNumber(many)} test samples`
          : prints.differs(print) ? `on data ${String(print).slice(0, 8)}` : null;
        found.set(line, { same: JSON.stringify([dataset, many, print]), note });
      }
    }
    return found;
  }

  /** What most lines have in a column: lines that do not know it count as having that. */
  sharedBy(lines, name) {
    const values = new Map(lines.map((line) => [line, this.known(line, name)[0]]));
    const counts = [...grouped(lines, (line) => values.get(line))].filter(([value]) => value !== undefined)
      .map(([value, having]) => [value, having.length]).sort(([, one], [, other]) => other - one);
    const usual = counts[0]?.[0];
    // Where none is the usual one, each is worth a word.
    const equal = counts.length > 1 && counts[0][1] === counts[1][1];
    return {
      of: (line) => values.get(line) ?? usual,
      differs: (value) => counts.length > 1 && (equal || value !== usual),
    };
  }
}

function grouped(values, keyOf) {
  const found = new Map();
  for (const value of values) {
    const key = keyOf(value);
    if (found.has(key)) found.get(key).push(value);
    else found.set(key, [value]);
  }
  return found;
}

function mean(numbers) {
  return numbers.length === 0 ? null : numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
}

function median(numbers) {
  if (numbers.length === 0) return null;
  const sorted = [...numbers].sort((one, other) => one - other);
  const half = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

// Before its first letter may stand what a spreadsheet skips: white space, control characters, and what has no width. The
// files beside the page have the same rule (outward.py).
const FORMULA = /^(?:[\t\r\n]|[\s\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]*[=+\-@])/;

/** One field; a text that a spreadsheet would take for a formula is quoted by an apostrophe. */
function csvField(value) {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" && FORMULA.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
