// The rows of the report, one for each cell. They are stored by column, with each distinct text once.

class Rows {
  constructor(packed) {
    this.count = packed.count;
    // Names of metrics are data and can be "__proto__", so this is a map and not an object.
    this.columns = new Map(Object.entries(packed.columns));
    this.numbers = Array.from({ length: this.count }, (_, row) => row);
    this.byCell = new Map();
    for (const row of this.numbers) {
      const id = this.get(row, "cell_id");
      if (!this.byCell.has(id)) this.byCell.set(id, row);
    }
  }

  /** The numbers of the rows that have a value in a column. */
  where(name, value) {
    return this.numbers.filter((row) => this.get(row, name) === value);
  }

  has(name) {
    return this.columns.has(name);
  }

  /** A value, or null if it is missing. */
  get(row, name) {
    const column = this.columns.get(name);
    if (column === undefined) return null;
    if (column.codes === undefined) return column.values[row];
    const code = column.codes[row];
    return code < 0 ? null : column.values[code];
  }

  /** The distinct values of a column, sorted. */
  distinct(name) {
    const values = new Set(this.numbers.map((row) => this.get(row, name)));
    values.delete(null);
    return [...values].sort(compareValues);
  }

  /** The method with its quantization, as in "lora, nf4". */
  methodOf(row) {
    const quantization = this.get(row, "quantization");
    const method = this.get(row, "method") ?? "";
    return quantization && quantization !== "none" ? `${method}, ${quantization}` : method;
  }

  /** Name a cell by its settings, without its hash. */
  nameOf(row) {
    const parts = [this.get(row, "model"), this.methodOf(row), this.get(row, "dataset")];
    const examples = this.get(row, "num_examples");
    if (examples) parts.push(`${examples} examples`);
    const seed = this.get(row, "seed");
    if (seed !== null) parts.push(`seed ${seed}`);
    return parts.filter(Boolean).join(" · ") || String(this.get(row, "cell_id"));
  }
}

/** Compare numbers by size, and texts by the alphabet with the numbers in them by size. */
function compareValues(first, second) {
  if (typeof first === "number" && typeof second === "number") return first - second;
  return String(first).localeCompare(String(second), "en", { numeric: true });
}
