// The leaderboard's lines: a cell or a set of replicates each, and the value of a line in a column.

const MANY_TEXTS = 3;
/** Settings, which all cells of a line share whether they succeeded or not. */
const SETTINGS = new Set(["num_examples", "test_samples"]);

class Lines {
  constructor({ rows, replicates }) {
    this.rows = rows;
    this.setOf = replicates.lines;
    this.others = new Map(Object.entries(replicates.others).map(([line, text]) => [Number(line), text]));
    this.intervals = replicates.intervals;
    this.sizes = new Map();
    for (const set of this.setOf) this.sizes.set(set, (this.sizes.get(set) ?? 0) + 1);
    this.several = new Set(this.setOf).size < rows.count;
  }

  /** Make a line of each row, or of each set of replicates. */
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

  /** The value of a line in a column: the text of its cells, or the mean score or median cost of the cells that succeeded. */
  value(line, column) {
    const { name, kind } = column;
    if (name === "method") return this.rows.methodOf(line.rows[0]);
    if (kind === "text" || name === "status") return this.textOf(line, name);
    if (name === "seed") return line.rows.length === 1 ? this.rows.get(line.rows[0], name) : this.seeds(line);
    if (SETTINGS.has(name)) return this.values(line, name)[0] ?? null;
    const numbers = this.numbers(line, name);
    return column.score ? mean(numbers) : median(numbers);
  }

  /** The ends of a score's 95 % interval; null if they are unknown or a filter hides some of the cells. */
  interval(line, name) {
    const set = this.setOf[line.rows[0]];
    if (line.rows.length > 1) {
      const intervals = line.rows.length === this.sizes.get(set) ? this.intervals[set] ?? {} : {};
      // A metric may have the name of a property that every object has, such as "constructor".
      return Object.hasOwn(intervals, name) ? intervals[name] : null;
    }
    const ends = ["low", "high"].map((end) => this.rows.get(line.rows[0], `${name}_${end}`));
    return ends.every(isNumber) ? ends : null;
  }

  /** The numbers of the cells that succeeded, because the time until a failure is not a cost of the method. */
  numbers(line, name) {
    return line.rows.filter((row) => this.rows.get(row, "status") === "ok").map((row) => this.rows.get(row, name)).filter(isNumber);
  }

  values(line, name) {
    return line.rows.map((row) => this.rows.get(row, name)).filter((value) => value !== null);
  }

  textOf(line, name) {
    const texts = [...new Set(this.values(line, name))].sort(compareValues);
    if (texts.length < 2) return texts[0] ?? null;
    const more = texts.length - MANY_TEXTS;
    return texts.slice(0, MANY_TEXTS).join(", ") + (more > 0 ? ` and ${more} more` : "");
  }

  seeds(line) {
    return this.values(line, "seed").sort(compareValues).join(", ");
  }

  /** Map each line to `same`, a key shared by lines with comparable scores, and `note`, the line's data if they are unusual. */
  data(lines) {
    const data = new Map();
    for (const [dataset, beside] of grouped(lines, (line) => this.rows.get(line.rows[0], "dataset"))) {
      const samples = this.sharedBy(beside, "test_samples");
      const prints = this.sharedBy(beside, "data_fingerprint");
      for (const line of beside) {
        const [many, print] = [samples.of(line), prints.of(line)];
        const note = samples.differs(many) ? `on ${plainNumber(many)} test samples`
          : prints.differs(print) ? `on data ${String(print).slice(0, 8)}` : null;
        data.set(line, { same: JSON.stringify([dataset, many, print]), note });
      }
    }
    return data;
  }

  /** Find the usual value of a column, which lines without a value are assumed to have. */
  sharedBy(lines, name) {
    const values = new Map(lines.map((line) => [line, this.values(line, name)[0]]));
    const counts = [...grouped(lines, (line) => values.get(line))].filter(([value]) => value !== undefined)
      .map(([value, group]) => [value, group.length]).sort(([, first], [, second]) => second - first);
    const usual = counts[0]?.[0];
    // Without a majority, every line gets a note.
    const isTied = counts.length > 1 && counts[0][1] === counts[1][1];
    return {
      of: (line) => values.get(line) ?? usual,
      differs: (value) => counts.length > 1 && (isTied || value !== usual),
    };
  }
}

function grouped(values, keyOf) {
  const groups = new Map();
  for (const value of values) {
    const key = keyOf(value);
    if (groups.has(key)) groups.get(key).push(value);
    else groups.set(key, [value]);
  }
  return groups;
}

function mean(numbers) {
  return numbers.length === 0 ? null : numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
}

function median(numbers) {
  if (numbers.length === 0) return null;
  const sorted = [...numbers].sort((first, second) => first - second);
  const half = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

// The files beside the page follow the same rule (outward.py), with the characters of OWASP's page "CSV Injection".
const FORMULA = /^[=+\-@\t\r\n]/;

/** Format a field; an apostrophe marks a text that a spreadsheet would evaluate as a formula. */
function csvField(value) {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" && FORMULA.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
