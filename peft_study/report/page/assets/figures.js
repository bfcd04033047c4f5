// The figures, drawn by plotly from the same data as those for print.

const FIRST_PANELS = 12;
/** More than these have the page's width for themselves. */
const FEW_CATEGORIES = 8;

class Figures {
  constructor(report) {
    this.report = report;
    this.drawn = new Map();
    const root = byId("figures-body");
    if (report.drawings.length === 0) root.append(make("p", { class: "empty", text: "No figure." }));
    // Plots far below cost seconds that nobody has asked for yet.
    this.observer = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) this.plot(entry.target);
    }, { rootMargin: "300px" });
    for (const drawing of report.drawings) root.append(this.part(drawing));
    this.width = window.innerWidth;
    addEventListener("resize", afterTyping(() => {
      if (this.width !== window.innerWidth) { this.width = window.innerWidth; this.redraw(); }
    }));
    addEventListener("beforeprint", () => { for (const target of document.querySelectorAll(".plot")) this.plot(target); });
  }

  part(drawing) {
    const panels = make("div", { class: "panels" });
    const left = drawing.panels.slice(FIRST_PANELS);
    for (const panel of drawing.panels.slice(0, FIRST_PANELS)) panels.append(this.panel(drawing, panel));
    const all = left.length > 0 && make("button", {
      type: "button", text: `Show ${left.length} more panels`,
      click: () => { all.remove(); for (const panel of left) panels.append(this.panel(drawing, panel)); },
    });
    const wide = drawing.panels.length > 1 || drawing.panels.some((panel) => panel.categories.length > FEW_CATEGORIES);
    return add(make("article", { class: `figure${wide ? " wide" : ""}`, id: `figure-${drawing.name}` }),
      make("h3", { text: drawing.title }), panels, all, ...drawing.notes.map((note) => make("p", { class: "note", text: note })),
      fileLinks(drawing.files));
  }

  panel(drawing, panel) {
    const figure = make("figure", { class: panel.categories.length > FEW_CATEGORIES ? "broad" : null }, make("figcaption", shortProperties(panel.title)));
    if (panel.series.every((series) => series.y.every((value) => value === null)) && panel.lines.length === 0)
      return add(figure, make("p", { class: "empty", text: panel.missing || "Nothing to draw: no cell of this panel was read." }));
    const target = make("div", { class: "plot", role: "img", "aria-label": `${drawing.title}: ${panel.title}` });
    // Below this width its bars could not be told apart: a narrower window scrolls.
    if (panel.categories.length > 0) target.style.minWidth = `min(${narrowest(panel)}px, 400vw)`;
    this.drawn.set(target, { panel, done: false });
    this.observer.observe(target);
    return add(figure, target);
  }

  plot(target) {
    const state = this.drawn.get(target);
    if (!state || state.done) return;
    state.done = true;
    const theme = themeOf(target);
    Plotly.react(target, tracesOf(state.panel, this.report.styles, theme), layoutOf(state.panel, this.report.styles, theme), {
      displaylogo: false, responsive: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "toImage"], showTips: false,
    }).then(() => {
      writeNames(target, state.panel);
      if (state.listening) return;
      state.listening = true;
      target.on("plotly_click", ({ points }) => this.clicked(points[0]));
      // A closer look has room for more names.
      target.on("plotly_relayout", () => writeNames(target, state.panel));
    });
  }

  clicked(point) {
    const cells = point?.data?.cells?.[point.pointNumber] ?? [];
    const rows = cells.map((cell) => this.report.rows.byCell.get(cell)).filter((row) => row !== undefined);
    if (rows.length > 0) showCells(this.report, rows);
  }

  /** Draw again what is on the page, for another theme or width. */
  redraw() {
    for (const [target, state] of this.drawn) {
      if (!state.done) continue;
      state.done = false;
      this.plot(target);
    }
  }
}

function themeOf(element) {
  const style = getComputedStyle(element);
  return {
    text: style.color, muted: style.getPropertyValue("--muted-plain").trim() || style.color,
    dark: getComputedStyle(document.documentElement).getPropertyValue("--is-dark").trim() === "1" || isDark(), width: element.clientWidth,
  };
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}
