// What two programs have in common, token by token: the longest common subsequence (Wagner and Fischer, 1974).

// 4 million steps take tens of milliseconds; longer programs are compared by their lines.
const MOST_STEPS = 4e6;
const TOKENS = /\r?\n|[^\S\n]+|[\p{L}\p{N}_]+|./gsu;
const LINES = /[^\n]*\n|[^\n]+/g;

/** Parts [{kind: "same" | "removed" | "added", text}] that turn `before` into `after`. */
function difference(before, after) {
  let [one, other] = [before.match(TOKENS) ?? [], after.match(TOKENS) ?? []];
  if (one.length * other.length > MOST_STEPS) [one, other] = [before.match(LINES) ?? [], after.match(LINES) ?? []];
  if (one.length * other.length > MOST_STEPS) return [{ kind: "removed", text: before }, { kind: "added", text: after }];
  let start = 0;
  while (start < one.length && start < other.length && one[start] === other[start]) start += 1;
  let end = 0;
  while (end < one.length - start && end < other.length - start && one.at(-1 - end) === other.at(-1 - end)) end += 1;
  const middle = align(one.slice(start, one.length - end), other.slice(start, other.length - end));
  const same = (tokens) => tokens.map((text) => ({ kind: "same", text }));
  return joined([...same(one.slice(0, start)), ...middle, ...same(one.slice(one.length - end))]);
}

function align(one, other) {
  const width = other.length + 1;
  const longest = new Uint32Array((one.length + 1) * width);
  for (let row = one.length - 1; row >= 0; row -= 1)
    for (let column = other.length - 1; column >= 0; column -= 1)
      longest[row * width + column] = one[row] === other[column]
        ? longest[(row + 1) * width + column + 1] + 1
        : Math.max(longest[(row + 1) * width + column], longest[row * width + column + 1]);
  const parts = [];
  let [row, column] = [0, 0];
  while (row < one.length || column < other.length) {
    if (row < one.length && column < other.length && one[row] === other[column]) {
      parts.push({ kind: "same", text: one[row] });
      row += 1;
      column += 1;
    } else if (column >= other.length || (row < one.length && longest[(row + 1) * width + column] >= longest[row * width + column + 1])) {
      parts.push({ kind: "removed", text: one[row] });
      row += 1;
    } else {
      parts.push({ kind: "added", text: other[column] });
      column += 1;
    }
  }
  return parts;
}

function joined(parts) {
  const found = [];
  for (const part of parts) {
    const last = found.at(-1);
    if (last && last.kind === part.kind) last.text += part.text;
    else found.push({ ...part });
  }
  return found;
}
