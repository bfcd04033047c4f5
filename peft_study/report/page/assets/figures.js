// The figures: each panel is a plotly specification, made beside the printed figures, that the page themes and sizes.

const FIRST_PANELS = 12;
/** The colour of specifications that stands for ink: a dark page has light ink. */
const INK = "#000000";

class Figures {
  constructor(report) {
    this.report = report;
    this.plots = new Map();
    const root = byId("figures-body");
    if (report.drawings.length === 0) root.append(make("p", { class: "empty", text: "No figure." }));
    // A plot is drawn when it comes near: drawing all of them would take seconds.
    this.observer = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) this.plot(entry.target);
    }, { rootMargin: "300px" });
    for (const drawing of report.drawings) root.append(this.part(drawing));
    this.width = window.innerWidth;
    addEventListener("resize", afterTyping(() => {
      if (this.width !== window.innerWidth) { this.width = window.innerWidth; this.redraw(); }
    }));
    addEventListener("beforeprint", () => { for (const target of this.plots.keys()) this.plot(target); });
  }

  part(drawing) {
    const panels = make("div", { class: "panels" });
    const hidden = drawing.panels.slice(FIRST_PANELS);
    for (const panel of drawing.panels.slice(0, FIRST_PANELS)) panels.append(this.panel(drawing, panel));
    const more = hidden.length > 0 && make("button", {
      type: "button", text: `Show ${hidden.length} more panels`,
      click: () => { more.remove(); for (const panel of hidden) panels.append(this.panel(drawing, panel)); },
    });
    const wide = drawing.panels.length > 1 || drawing.panels.some((panel) => panel.broad);
    return add(make("article", { class: `figure${wide ? " wide" : ""}`, id: `figure-${drawing.name}` }),
      make("h3", { text: drawing.title }), panels, more, ...drawing.notes.map((note) => make("p", { class: "note", text: note })),
      fileLinks(drawing.files));
  }

  panel(drawing, panel) {
    const figure = make("figure", { class: panel.broad ? "broad" : null }, make("figcaption", shortProperties(panel.title)));
    if (!panel.figure)
      return add(figure, make("p", { class: "empty", text: panel.missing || "Nothing to draw: the report has no cell for this panel." }));
    const target = make("div", { class: "plot", role: "img", "aria-label": `${drawing.title}: ${panel.title}` });
    // Narrower bars would be unreadable, so a narrow window scrolls.
    if (panel.sizes.least_width > 0) target.style.minWidth = `min(${panel.sizes.least_width}px, 400vw)`;
    this.plots.set(target, { panel, isDrawn: false, listens: false });
    this.observer.observe(target);
    return add(figure, target);
  }

  plot(target) {
    const plot = this.plots.get(target);
    if (plot.isDrawn) return;
    plot.isDrawn = true;
    const { data, layout } = adaptedFigure(plot.panel, target);
    Plotly.react(target, data, layout, {
      displaylogo: false, responsive: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "toImage"], showTips: false,
    }).then(() => {
      writeNames(target, plot.panel.figure.data);
      if (plot.listens) return;
      plot.listens = true;
      target.on("plotly_click", ({ points }) => this.showCellsOf(points[0]));
      // After zooming in there is room for more names.
      target.on("plotly_relayout", () => writeNames(target, plot.panel.figure.data));
    });
  }

  showCellsOf(point) {
    const rows = (point?.customdata ?? []).map((cell) => this.report.rows.byCell.get(cell)).filter((row) => row !== undefined);
    if (rows.length > 0) showCells(this.report, rows);
  }

  /** Draw the plots on the page again, for another theme or width. */
  redraw() {
    for (const [target, plot] of this.plots) {
      if (!plot.isDrawn) continue;
      plot.isDrawn = false;
      this.plot(target);
    }
  }
}

/** A copy of a panel's specification in the page's theme and at the width of its element. */
function adaptedFigure({ figure, sizes }, target) {
  const theme = themeOf(target);
  const { data, layout } = JSON.parse(JSON.stringify(figure), (key, value) => (key === "color" && value === INK ? theme.text : value));
  for (const trace of data)
    if (trace.customdata) trace.hovertext = trace.hovertext.map((text, place) => (trace.customdata[place].length > 0 ? `${text}; click to open` : text));
  const width = target.clientWidth;
  if (width < sizes.level_width) {
    Object.assign(layout.xaxis, sizes.turned_axis);
    layout.height += sizes.turned_height;
  }
  const columns = Math.max(1, Math.floor((width - sizes.sides_width) / sizes.legend_entry_width));
  layout.height += Math.ceil(sizes.legend_entries / columns) * sizes.legend_row_height;
  layout.template = templateOf(theme);
  return { data, layout };
}

/** What a specification leaves to the theme. */
function templateOf({ text, muted, dark }) {
  const grid = dark ? "rgba(255,255,255,.13)" : "rgba(20,30,50,.11)";
  const axis = { gridcolor: grid, zerolinecolor: grid, linecolor: muted, tickcolor: grid };
  return {
    layout: {
      font: { color: text }, xaxis: axis, yaxis: axis, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      hoverlabel: { bgcolor: dark ? "#262d39" : "#ffffff", bordercolor: muted, font: { color: text } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: muted, activecolor: text },
    },
  };
}

function themeOf(element) {
  const style = getComputedStyle(element);
  const chosen = document.documentElement.dataset.theme;
  return {
    text: style.color, muted: style.getPropertyValue("--muted-plain").trim() || style.color,
    dark: chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches,
  };
}
