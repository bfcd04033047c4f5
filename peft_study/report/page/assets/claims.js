// The paper's claims, each with its verdict and evidence.

const VERDICTS = {
  confirmed: ["✓", "confirmed"], refuted: ["✗", "refuted"], not_decided: ["?", "not decided"],
};

function drawClaims(report) {
  const root = byId("claims-body");
  if (report.findings.length === 0) root.append(make("p", { class: "empty", text: "No claim was checked." }));
  for (const finding of report.findings) root.append(claimPart(report, finding));
}

function claimPart(report, finding) {
  const [sign, words] = VERDICTS[finding.verdict] ?? ["?", finding.verdict];
  const verdict = Object.hasOwn(VERDICTS, finding.verdict) ? finding.verdict : "not_decided";
  const part = make("article", { class: `claim verdict-${verdict}` },
    make("p", { class: "verdict" }, make("span", { class: "sign", "aria-hidden": "true", text: sign }), words),
    make("h3", {}, make("span", { class: "ordinal", text: `${finding.number}. ` }), finding.statement));
  if (finding.explanation) part.append(make("p", { text: finding.explanation }));
  const evidence = make("details", {}, make("summary", { text: "Evidence" }));
  if (finding.test) evidence.append(make("p", {}, make("strong", { text: "Test: " }), finding.test));
  if (finding.comparisons.length > 0) evidence.append(comparisons(finding));
  if (finding.cells.length > 0)
    evidence.append(make("button", {
      type: "button", text: `Show its ${finding.cells.length} cells`,
      click: () => report.leaderboard.showCells(finding.cells, `the cells of claim ${finding.number}`),
    }));
  if (evidence.childNodes.length > 1) part.append(evidence);
  return part;
}

/** Compare pairs of numbers: percentages by their difference in points, memory in GB by its ratio. */
function comparisons(finding) {
  const body = finding.comparisons.map((comparison) => {
    const isBytes = comparison.unit === "bytes";
    const shown = (value) => (isBytes ? `${gigabytes(value)} GB` : percent(value, 2));
    const signed = (value) => `${value > 0 ? "+" : ""}${percent(value, 2)}`;
    const interval = isNumber(comparison.low) && isNumber(comparison.high) ? ` [${signed(comparison.low)}, ${signed(comparison.high)}]` : "";
    const named = (name, value) => make("td", {}, make("span", { class: "muted", text: `${name} ` }), shown(value));
    const runs = comparison.scope === "these runs" ? " of these runs alone" : "";
    return [
      comparison.label, named(comparison.first_name, comparison.first),
      named(comparison.second_name, comparison.second),
      make("td", { class: "number", text: isBytes ? `× ${(comparison.first / comparison.second).toFixed(2)}` : `${signed(comparison.difference)}${interval}${runs}` }),
      make("td", { class: "number", text: probability(comparison.p_value) }),
    ];
  });
  return tableOf(`Numbers of claim ${finding.number}`, ["What", "First", "Second", "Difference", "p, not adjusted"], body);
}
