// Differences between two programs by tokens: their longest common subsequence (Wagner and Fischer, 1974).

// 4 million steps take tens of milliseconds. Longer programs are compared by lines.
const MOST_STEPS = 4e6;
const TOKENS = /\r?\n|[^\S\n]+|[\p{L}\p{N}_]+|./gsu;
const LINES = /[^\n]*\n|[^\n]+/g;

/** Parts [{kind: "same" | "removed" | "added", text}] that turn `before` into `after`. */
function difference(before, after) {
  let [first, second] = [before.match(TOKENS) ?? [], after.match(TOKENS) ?? []];
  if (first.length * second.length > MOST_STEPS) [first, second] = [before.match(LINES) ?? [], after.match(LINES) ?? []];
  if (first.length * second.length > MOST_STEPS) return [{ kind: "removed", text: before }, { kind: "added", text: after }];
  let start = 0;
  while (start < first.length && start < second.length && first[start] === second[start]) start += 1;
  let end = 0;
  while (end < first.length - start && end < second.length - start && first.at(-1 - end) === second.at(-1 - end)) end += 1;
  const middle = align(first.slice(start, first.length - end), second.slice(start, second.length - end));
  const same = (tokens) => tokens.map((text) => ({ kind: "same", text }));
  return joined([...same(first.slice(0, start)), ...middle, ...same(first.slice(first.length - end))]);
}

function align(first, second) {
  const width = second.length + 1;
  const longest = new Uint32Array((first.length + 1) * width);
  for (let row = first.length - 1; row >= 0; row -= 1)
    for (let column = second.length - 1; column >= 0; column -= 1)
      longest[row * width + column] = first[row] === second[column]
        ? longest[(row + 1) * width + column + 1] + 1
        : Math.max(longest[(row + 1) * width + column], longest[row * width + column + 1]);
  const parts = [];
  let [row, column] = [0, 0];
  while (row < first.length || column < second.length) {
    if (row < first.length && column < second.length && first[row] === second[column]) {
      parts.push({ kind: "same", text: first[row] });
      row += 1;
      column += 1;
    } else if (column >= second.length || (row < first.length && longest[(row + 1) * width + column] >= longest[row * width + column + 1])) {
      parts.push({ kind: "removed", text: first[row] });
      row += 1;
    } else {
      parts.push({ kind: "added", text: second[column] });
      column += 1;
    }
  }
  return parts;
}

function joined(parts) {
  const merged = [];
  for (const part of parts) {
    const last = merged.at(-1);
    if (last && last.kind === part.kind) last.text += part.text;
    else merged.push({ ...part });
  }
  return merged;
}
