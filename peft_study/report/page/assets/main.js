// Reads the report's data, draws each section, and remembers the theme.

const THEMES = [["", "Theme: as the system's"], ["light", "Theme: light"], ["dark", "Theme: dark"]];

function chooseTheme(name, report) {
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  const button = byId("theme");
  button.textContent = THEMES.find(([theme]) => theme === name)[1];
  button.dataset.name = name;
  try {
    localStorage.setItem("peft-study-theme", name);
  } catch {
    // A browser may refuse storage to a page from a folder. The choice then lasts until the page is closed.
  }
  report.figures.redraw();
}

function storedTheme() {
  try {
    const name = localStorage.getItem("peft-study-theme");
    return THEMES.some(([theme]) => theme === name) ? name : "";
  } catch {
    return "";
  }
}

function main() {
  const report = JSON.parse(byId("report-data").textContent);
  report.rows = new Rows(report.rows);
  const title = report.meta.title;
  document.title = title;
  byId("title").textContent = title;
  byId("subtitle").textContent = report.meta.subtitle;
  drawOverview(report);
  report.leaderboard = new Leaderboard(report);
  drawTables(report);
  drawComparison(report);
  drawClaims(report);
  report.samples = new Explorer(report);
  report.explore = (row) => {
    byId("samples").scrollIntoView();
    report.samples.choose(0, String(row));
  };
  drawStates(report);
  drawProvenance(report);
  report.figures = new Figures(report);
  chooseTheme(storedTheme(), report);
  byId("theme").addEventListener("click", (event) => {
    const place = THEMES.findIndex(([name]) => name === event.currentTarget.dataset.name);
    chooseTheme(THEMES[(place + 1) % THEMES.length][0], report);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => report.figures.redraw());
  document.documentElement.dataset.ready = "yes";
}

main();
