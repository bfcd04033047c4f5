// From a drawing's series to plotly's traces.

const HATCHES = new Set(["/", "\\", "x", "-", "|", "+", "."]);
/** Share of a category's room that its bars fill together. */
const BAR_GROUP = 0.8;
const WIDEST_BAR = 0.5;
const HOVER_CHARACTERS = 120;

/** plotly reads some markup in texts; what comes from data must stay text. */
const plotText = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function colourOf(styles, key, theme) {
  const colour = styles[key]?.colour ?? theme.muted;
  return /^#0{6}$/i.test(colour) ? theme.text : colour;
}

function tracesOf(panel, styles, theme) {
  const traces = panel.series.map((series) => traceOf(series, panel, styles, theme));
  for (const line of panel.lines.filter((one) => one.direction === "diagonal")) {
    const [low, high] = bothAxes(panel);
    traces.push({
      type: "scatter", mode: "lines", x: [low, high], y: [low, high], name: plotText(shortened(line.label)), hoverinfo: "skip",
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
    name: plotText(shortened(series.label)), x: series.x.map((x) => (typeof x === "string" ? plotText(x) : x)), y: series.y, cells: series.cells,
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
      ...trace, ...barPlaces(series, panel), type: "bar",
      marker: {
        color: series.paper ? "rgba(0,0,0,0)" : colour, line: { color: colour, width: series.paper ? 1.8 : 0.5 },
        pattern: shape && !series.paper ? { shape, fillmode: "overlay", fgopacity: 0.45, size: 7 } : undefined,
      },
    };
  }
  if (series.mark === "path") return { ...trace, type: "scatter", mode: "lines", line: { color: colour, width: 1.5, dash: "dash" } };
  if (series.mark === "steps") return { ...trace, type: "scatter", mode: "lines", line: { shape: "hv", color: colour, width: 2, dash: style.dash } };
  const symbol = style.symbol ?? "circle";
  return {
    ...trace, type: "scatter", mode: series.mark === "line" ? "lines+markers" : "markers", cliponaxis: false,
    line: { color: colour, width: 2, dash: series.paper ? "dot" : "solid" },
    marker: { color: colour, symbol: series.paper ? `${symbol}-open` : symbol, size: 9, line: { width: series.paper ? 1.8 : 0, color: colour } },
  };
}

const hovered = (text) => plotText(shortened(text, HOVER_CHARACTERS));

/** The bars of each category side by side, what is compared beside its own: plotly would keep room for what is not there. */
function barPlaces(series, panel) {
  const offset = [];
  const width = [];
  for (const name of series.x) {
    const slots = barSlots(panel, name);
    const room = BAR_GROUP / slots.length;
    width.push(Math.min(room, WIDEST_BAR));
    offset.push(slots.indexOf(slotOf(series)) * room - BAR_GROUP / 2 + Math.max(0, room - WIDEST_BAR) / 2);
  }
  return { offset, width };
}

const slotOf = (series) => `${series.style}\n${series.paper}`;

function barSlots(panel, name) {
  const bars = panel.series.filter((series) => series.mark === "bars");
  const styles = [...new Set(bars.map((series) => series.style))];
  return bars.filter((series) => series.x.includes(name))
    .sort((one, other) => styles.indexOf(one.style) - styles.indexOf(other.style) || one.paper - other.paper).map(slotOf);
}

function hoverText(series, panel, place) {
  const [x, y] = [series.x[place], series.y[place]];
  const lines = [`<b>${hovered(series.label)}</b>${series.paper ? " (paper)" : ""}`];
  if (series.texts[place]) lines.push(hovered(series.texts[place]));
  lines.push(panel.categories.length > 0 ? hovered(x ?? MISSING) : `${plotText(panel.x_label)}: ${plainNumber(x)}`);
  const interval = isNumber(series.low[place]) && isNumber(series.high[place])
    ? ` (${plainNumber(series.low[place])} – ${plainNumber(series.high[place])})` : "";
  lines.push(`${plotText(panel.y_label)}: ${plainNumber(y)}${interval}`);
  const cells = series.cells[place]?.length ?? 0;
  if (cells > 0) lines.push(cells === 1 ? "one cell; click for it" : `${cells} cells; click for them`);
  return lines.join("<br>");
}
