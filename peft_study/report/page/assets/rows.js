// The rows of the report: one a cell, kept by column, distinct texts once.

class Rows {
  constructor(packed) {
    this.count = packed.count;
    // A map and no object: names of metrics are data, and "__proto__" is a name.
    this.columns = new Map(Object.entries(packed.columns));
    this.byCell = new Map();
    for (let row = 0; row < this.count; row += 1) {
      const id = this.get(row, "cell_id");
      if (!this.byCell.has(id)) this.byCell.set(id, row);
    }
  }

  has(name) {
    return this.columns.has(name);
  }

  /** A value, null where there is none. */
  get(row, name) {
    const column = this.columns.get(name);
    if (column === undefined) return null;
    if (column.codes === undefined) return column.values[row];
    const code = column.codes[row];
    return code < 0 ? null : column.values[code];
  }

  /** The distinct values of a column, sorted. */
  distinct(name) {
    const found = new Set();
    for (let row = 0; row < this.count; row += 1) {
      const value = this.get(row, name);
      if (value !== null) found.add(value);
    }
    return [...found].sort(compareValues);
  }

  /** The method with its quantization, as in "lora, nf4". */
  methodOf(row) {
    const quantization = this.get(row, "quantization");
    const method = this.get(row, "method") ?? "";
    return quantization && quantization !== "none" ? `${method}, ${quantization}` : method;
  }

  /** A cell in words, without its hash. */
  nameOf(row) {
    const parts = [this.get(row, "model"), this.methodOf(row), this.get(row, "dataset")];
    const examples = this.get(row, "num_examples");
    if (examples) parts.push(`${examples} examples`);
    const seed = this.get(row, "seed");
    if (seed !== null) parts.push(`seed ${seed}`);
    return parts.filter(Boolean).join(" · ") || String(this.get(row, "cell_id"));
  }
}

/** Order for sorting: numbers by size, texts by the alphabet with their numbers by size. */
function compareValues(one, other) {
  if (typeof one === "number" && typeof other === "number") return one - other;
  return String(one).localeCompare(String(other), "en", { numeric: true });
}
