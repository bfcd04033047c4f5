// The paper's claims, each with its verdict and what it rests on.

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
  const known = Object.hasOwn(VERDICTS, finding.verdict) ? finding.verdict : "not_decided";
  const part = make("article", { class: `claim verdict-${known}` },
    make("p", { class: "verdict" }, make("span", { class: "sign", "aria-hidden": "true", text: sign }), words),
    make("h3", {}, make("span", { class: "ordinal", text: `${finding.number}. ` }), finding.statement));
  if (finding.explanation) part.append(make("p", { text: finding.explanation }));
  const evidence = make("details", {}, make("summary", { text: "Evidence" }));
  if (finding.test) evidence.append(make("p", {}, make("strong", { text: "Test: " }), finding.test));
  if (finding.comparisons.length > 0)
    evidence.append(comparisons(finding));
  if (finding.cells.length > 0)
    evidence.append(make("button", {
      type: "button", text: `The ${finding.cells.length} cells it rests on`,
      click: () => report.leaderboard.showCells(finding.cells, `the cells of claim ${finding.number}`),
    }));
  if (evidence.childNodes.length > 1) part.append(evidence);
  return part;
}

/** Each number against the other: percentages with their difference in points, memory in GB with its ratio. */
function comparisons(finding) {
  const heads = ["What", "One", "Other", "Difference", "p, not adjusted"];
  const body = finding.comparisons.map((one) => {
    const isBytes = one.unit === "bytes";
    const shown = (value) => (isBytes ? `${gigabytes(value)} GB` : percent(value, 2));
    const signed = (value) => `${value > 0 ? "+" : ""}${percent(value, 2)}`;
    const interval = isNumber(one.low) && isNumber(one.high) ? ` [${signed(one.low)}, ${signed(one.high)}]` : "";
    const named = (name, value) => make("td", {}, make("span", { class: "muted", text: `${name} ` }), shown(value));
    const runs = one.scope === "these runs" ? " of these runs alone" : "";
    return [
      make("td", { text: one.label }), named(one.first_name, one.first),
      named(one.second_name, one.second),
      make("td", { class: "number", text: isBytes ? `× ${(one.first / one.second).toFixed(2)}` : `${signed(one.difference)}${interval}${runs}` }),
      make("td", { class: "number", text: probability(one.p_value) }),
    ];
  });
  return tableOf(`Numbers of claim ${finding.number}`, heads.map((text) => make("th", { scope: "col", text })), body);
}
