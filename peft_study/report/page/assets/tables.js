// The paper's tables with this report's numbers, and the comparison with another study.

const MARKS = { best: "the best of all", best_of_model: "the best of its model" };

function drawTables(report) {
  const root = byId("tables-body");
  if (report.tables.length === 0) root.append(make("p", { class: "empty", text: "No table." }));
  for (const table of report.tables) root.append(tablePart(table));
}

function drawComparison(report) {
  if (report.comparison === null) {
    byId("comparison").hidden = true;
    document.querySelector('nav a[href="#comparison"]').hidden = true;
    return;
  }
  byId("comparison-body").append(tablePart(report.comparison));
}

function tablePart(table) {
  const numeric = table.heads.map((_, place) => place > 0 && table.cells.some((cells) => cells[place].value !== null));
  const body = table.cells.map((cells) => cells.map((cell, place) => tableCell(cell, numeric[place])));
  const part = make("article", { class: "table", id: `table-${table.name}` }, make("h3", { text: table.title }));
  if (body.length === 0) part.append(make("p", { class: "empty", text: "No cell of the report belongs to this table." }));
  else {
    const scroll = tableOf(table.title, table.heads.map((text, place) => make("th", { scope: "col", class: numeric[place] ? "number" : null, ...shortProperties(text) })), body);
    if (table.groups.some(Boolean)) scroll.querySelector("thead").prepend(groupRow(table.groups));
    part.append(scroll);
  }
  for (const note of table.notes) part.append(make("p", { class: "note", text: note }));
  return add(part, fileLinks(table.files));
}

/** Make the row of headings that span several columns. */
function groupRow(groups) {
  const row = make("tr", { class: "groups" });
  groups.forEach((text, place) => {
    if (place > 0 && groups[place - 1] === text) row.lastChild.colSpan += 1;
    else row.append(make("th", { scope: "colgroup", ...shortProperties(text) }));
  });
  return row;
}

function tableCell(cell, isNumeric) {
  const marks = [isNumeric ? "number" : cell.text.length > 60 ? "long" : "", cell.mark ? `mark-${cell.mark === "best" ? "best" : "best-of-model"}` : "",
    cell.state ? "state" : ""].filter(Boolean).join(" ");
  const runs = cell.runs > 1 ? `mean of ${cell.runs} seeds` : "";
  const title = [MARKS[cell.mark], cell.state, runs].filter(Boolean).join("; ");
  return make("td", { class: marks || null, title: title || null, text: cell.text });
}

/** Link to other formats of a table or figure, beside the page. */
function fileLinks(files) {
  if (files.length === 0) return null;
  return make("p", { class: "files" }, "Also as ", ...files.flatMap((file, place) => [
    place > 0 ? ", " : "", make("a", { href: file.path, text: file.title }),
  ]));
}
