// The figures, drawn by plotly from the same data as those for print.

const FIRST_PANELS = 12;
const HATCHES = new Set(["/", "\\", "x", "-", "|", "+", "."]);

/** plotly reads some markup in texts; what comes from data must stay text. */
const plotText = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

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
    return add(make("article", { class: `figure${drawing.panels.length > 1 ? " wide" : ""}`, id: `figure-${drawing.name}` }),
      make("h3", { text: drawing.title }), panels, all, ...drawing.notes.map((note) => make("p", { class: "note", text: note })),
      fileLinks(drawing.files));
  }

  panel(drawing, panel) {
    const figure = make("figure", {}, make("figcaption", { text: panel.title }));
    if (panel.series.every((series) => series.y.every((value) => value === null)) && panel.lines.length === 0)
      return add(figure, make("p", { class: "empty", text: panel.missing || "Nothing to draw: no cell of this panel was read." }));
    const target = make("div", { class: "plot", role: "img", "aria-label": `${drawing.title}: ${panel.title}` });
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
      if (state.listening) return;
      state.listening = true;
      target.on("plotly_click", ({ points }) => this.clicked(points[0]));
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

function colourOf(styles, key, theme) {
  const colour = styles[key]?.colour ?? theme.muted;
  return /^#0{6}$/i.test(colour) ? theme.text : colour;
}

function tracesOf(panel, styles, theme) {
  const traces = panel.series.map((series) => traceOf(series, panel, styles, theme));
  for (const line of panel.lines.filter((one) => one.direction === "diagonal")) {
    const [low, high] = bothAxes(panel);
    traces.push({
      type: "scatter", mode: "lines", x: [low, high], y: [low, high], name: plotText(line.label), hoverinfo: "skip",
      line: { color: colourOf(styles, line.style, theme), dash: "dash", width: 1.5 },
    });
  }
  return traces;
}

function bothAxes(panel) {
  const values = panel.series.flatMap((series) => [...series.x, ...series.y]).filter(isNumber);
  const low = panel.x_scale === "log" ? Math.min(...values.filter((value) => value > 0)) : 0;
  return [low, Math.max(...values, 0)];
}

function traceOf(series, panel, styles, theme) {
  const style = styles[series.style] ?? {};
  const colour = colourOf(styles, series.style, theme);
  const trace = {
    name: plotText(series.label), x: series.x.map((x) => (typeof x === "string" ? plotText(x) : x)), y: series.y, cells: series.cells,
    hoverinfo: "text", hovertext: series.x.map((x, place) => hoverText(series, panel, place)),
  };
  if (series.low.length > 0)
    trace.error_y = {
      type: "data", symmetric: false, color: colour, thickness: 1.2, width: 3,
      array: series.y.map((y, place) => (isNumber(series.high[place]) ? series.high[place] - y : 0)),
      arrayminus: series.y.map((y, place) => (isNumber(series.low[place]) ? y - series.low[place] : 0)),
    };
  if (series.mark === "bars") {
    const shape = [...(style.hatch ?? "")].find((one) => HATCHES.has(one));
    return {
      ...trace, type: "bar",
      marker: {
        color: series.paper ? "rgba(0,0,0,0)" : colour, line: { color: colour, width: series.paper ? 1.8 : 0.5 },
        pattern: shape && !series.paper ? { shape, fillmode: "overlay", fgopacity: 0.45, size: 7 } : undefined,
      },
    };
  }
  if (series.mark === "path") return { ...trace, type: "scatter", mode: "lines", line: { color: colour, width: 1.5, dash: "dash" } };
  if (series.mark === "steps") return { ...trace, type: "scatter", mode: "lines", line: { shape: "hv", color: colour, width: 2 } };
  const symbol = style.symbol ?? "circle";
  const written = series.texts.some(Boolean);
  return {
    ...trace, type: "scatter", mode: (series.mark === "line" ? "lines+markers" : "markers") + (written ? "+text" : ""),
    text: written ? series.texts.map(plotText) : undefined, textposition: "top center", textfont: { size: 10.5 }, cliponaxis: false,
    line: { color: colour, width: 2, dash: series.paper ? "dot" : "solid" },
    marker: { color: colour, symbol: series.paper ? `${symbol}-open` : symbol, size: 9, line: { width: series.paper ? 1.8 : 0, color: colour } },
  };
}

function hoverText(series, panel, place) {
  const [x, y] = [series.x[place], series.y[place]];
  const lines = [`<b>${plotText(series.label)}</b>${series.paper ? " (paper)" : ""}`];
  if (series.texts[place]) lines.push(plotText(series.texts[place]));
  lines.push(panel.categories.length > 0 ? plotText(x ?? MISSING) : `${plotText(panel.x_label)}: ${plainNumber(x)}`);
  const interval = isNumber(series.low[place]) && isNumber(series.high[place])
    ? ` (${plainNumber(series.low[place])} – ${plainNumber(series.high[place])})` : "";
  lines.push(`${plotText(panel.y_label)}: ${plainNumber(y)}${interval}`);
  const cells = series.cells[place]?.length ?? 0;
  if (cells > 0) lines.push(cells === 1 ? "one cell; click for it" : `${cells} cells; click for them`);
  return lines.join("<br>");
}

function layoutOf(panel, styles, theme) {
  const grid = theme.dark ? "rgba(255,255,255,.13)" : "rgba(20,30,50,.11)";
  const axis = (title, scale) => ({
    title: { text: plotText(title), standoff: 8, font: { size: 12.5 } }, type: scale === "log" ? "log" : "linear", gridcolor: grid,
    zerolinecolor: grid, linecolor: theme.muted, automargin: true, ticks: "outside", ticklen: 4, tickcolor: grid,
  });
  const x = axis(panel.x_label, panel.x_scale);
  const known = panel.series.flatMap((series) => series.x).filter(isNumber);
  const span = Math.max(...known) - Math.min(...known);
  // A number of examples is whole.
  if (panel.x_scale !== "log" && known.length > 0 && known.every(Number.isInteger) && span <= 20) x.dtick = 1;
  if (panel.categories.length > 0)
    Object.assign(x, {
      type: "category", categoryorder: "array", categoryarray: panel.categories.map(plotText), showgrid: false, tickmode: "array",
      tickvals: panel.categories.map(plotText), ticktext: panel.categories.map((name) => plotText(name).replaceAll(", ", "<br>")),
      tickangle: theme.width / panel.categories.length < 90 ? -40 : 0,
    });
  const y = axis(panel.y_label, panel.y_scale);
  if (panel.y_scale !== "log") y.rangemode = "tozero";
  const many = panel.series.length + panel.lines.length;
  const legendRows = Math.ceil(many / Math.max(1, Math.floor(theme.width / 170)));
  const straight = panel.lines.filter((line) => line.direction !== "diagonal");
  return {
    height: (x.tickangle ? 400 : 340) + (many > 1 ? legendRows * 19 : 0), margin: { l: 56, r: 18, t: 14, b: 48 }, xaxis: x, yaxis: y, barmode: "group",
    bargap: 0.25, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest",
    font: { family: "system-ui, sans-serif", size: 12, color: theme.text },
    hoverlabel: { bgcolor: theme.dark ? "#262d39" : "#ffffff", bordercolor: theme.muted, font: { color: theme.text }, align: "left" },
    showlegend: many > 1, legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom", x: 0, font: { size: 11.5 } },
    shapes: straight.map((line) => lineShape(line, styles, theme)), annotations: straight.map((line) => lineLabel(line, styles, theme)),
    modebar: { bgcolor: "rgba(0,0,0,0)", color: theme.muted, activecolor: theme.text },
  };
}

function lineShape(line, styles, theme) {
  const across = line.direction === "horizontal";
  return {
    type: "line", layer: "above", line: { color: colourOf(styles, line.style, theme), width: 1.6, dash: line.paper ? "dot" : "dash" },
    ...(across ? { xref: "paper", x0: 0, x1: 1, y0: line.value, y1: line.value } : { yref: "paper", y0: 0, y1: 1, x0: line.value, x1: line.value }),
  };
}

function lineLabel(line, styles, theme) {
  const across = line.direction === "horizontal";
  return {
    text: plotText(line.label), showarrow: false, font: { size: 11, color: colourOf(styles, line.style, theme) },
    ...(across ? { xref: "paper", x: 1, xanchor: "right", y: line.value, yanchor: "bottom" }
      : { yref: "paper", y: 1, yanchor: "top", x: line.value, xanchor: "left" }),
  };
}
