// Numbers as text. Shares are from 0 to 1 in the data and in percent on the page. Sizes are decimal: 1 GB is 1e9 bytes.

const MISSING = "–";
const STATUSES = ["ok", "failed", "oom", "diverged", "infeasible", "preempted", "running"];

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const percent = (share, digits = 1) => (isNumber(share) ? (100 * share).toFixed(digits) : MISSING);
const gigabytes = (bytes) => (isNumber(bytes) ? (bytes / 1e9).toFixed(bytes < 1e11 ? 2 : 0) : MISSING);
const plainNumber = (value) =>
  !isNumber(value) ? MISSING : Number.isInteger(value) ? value.toLocaleString("en") : Number(value.toPrecision(4)).toString();

/** A p-value. Very small ones are not precise, so they have a lower bound. */
const probability = (value) =>
  !isNumber(value) ? MISSING : value < 1e-4 ? "< 0.0001" : Number(value.toPrecision(2)).toString();

function count(value) {
  if (!isNumber(value)) return MISSING;
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]])
    if (value >= size) return `${Number((value / size).toPrecision(3))}${unit}`;
  return String(value);
}

function duration(seconds) {
  if (!isNumber(seconds)) return MISSING;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${seconds.toFixed(0)} s`;
  if (seconds < 7200) return `${(seconds / 60).toFixed(0)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

const FORMATS = {
  share: (value) => percent(value), bytes: gigabytes, count, seconds: duration, number: plainNumber,
  whole: (value) => (isNumber(value) ? String(value) : MISSING),
  text: (value) => (value === null || value === undefined || value === "" ? MISSING : String(value)),
};

/** The unit of a kind of column, for its heading. */
const UNITS = { share: "%", bytes: "GB" };
