// What surrounds plotly's traces: axes, legend, reference lines.

const LETTER_PIXELS = 6.7;
const LEGEND_SYMBOL_PIXELS = 42;
const LEGEND_ROW_PIXELS = 19;
const BAR_PIXELS = 11;
const TURNED_LABEL_PIXELS = 26;
const SIDES_PIXELS = 74;
const TURN_DEGREES = 42;
const MOST_TICKS = 12;

function layoutOf(panel, styles, theme) {
  const grid = theme.dark ? "rgba(255,255,255,.13)" : "rgba(20,30,50,.11)";
  const axis = (title, scale) => ({
    title: { text: plotText(title), standoff: 8, font: { size: 12.5 } }, type: scale === "log" ? "log" : "linear", gridcolor: grid,
    zerolinecolor: grid, linecolor: theme.muted, automargin: true, ticks: "outside", ticklen: 4, tickcolor: grid,
  });
  const x = axis(panel.x_label, panel.x_scale);
  const turned = Object.assign(x, panel.categories.length > 0 ? categoryAxis(panel, theme) : countAxis(panel)).tickangle ?? 0;
  const y = axis(panel.y_label, panel.y_scale);
  if (panel.y_scale !== "log") y.rangemode = "tozero";
  const straight = panel.lines.filter((line) => line.direction !== "diagonal");
  const rows = legendRows(panel, theme);
  // What turned names take is no less room for what they name.
  const below = turned ? Math.max(...x.ticktext.map((text) => text.length)) * LETTER_PIXELS * Math.sin((TURN_DEGREES * Math.PI) / 180) : 0;
  return {
    height: 340 + below + rows * LEGEND_ROW_PIXELS, margin: { l: 56, r: 18, t: 14, b: 48 }, xaxis: x, yaxis: y, barmode: "overlay",
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest",
    font: { family: "system-ui, sans-serif", size: 12, color: theme.text },
    hoverlabel: { bgcolor: theme.dark ? "#262d39" : "#ffffff", bordercolor: theme.muted, font: { color: theme.text }, align: "left" },
    showlegend: rows > 0, legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom", x: 0, font: { size: 11.5 } },
    shapes: straight.map((line) => lineShape(line, styles, theme)),
    annotations: straight.filter((line) => line.limit || line.text).map((line) => lineLabel(line, styles, theme)),
    modebar: { bgcolor: "rgba(0,0,0,0)", color: theme.muted, activecolor: theme.text },
  };
}

function lineShape(line, styles, theme) {
  const across = line.direction === "horizontal";
  return {
    // Beside the line its name would hide another's.
    type: "line", layer: line.limit ? "above" : "below", name: plotText(legendName(line)), showlegend: !line.limit,
    line: { color: colourOf(styles, line.style, theme), width: 1.6, dash: line.paper ? "dot" : "dash" },
    ...(across ? { xref: "paper", x0: 0, x1: 1, y0: line.value, y1: line.value } : { yref: "paper", y0: 0, y1: 1, x0: line.value, x1: line.value }),
  };
}

/** What is written at a line: a limit's name; of another, what its name in the legend leaves out. */
function lineLabel(line, styles, theme) {
  const across = line.direction === "horizontal";
  return {
    text: plotText(shortened(line.limit ? line.label : line.text)), showarrow: false, font: { size: 11, color: colourOf(styles, line.style, theme) },
    // A limit is named where bars are lowest and curves begin; at the foot of one that stands: the best points are at the top.
    ...(across ? { xref: "paper", x: line.limit ? 0 : 1, xanchor: line.limit ? "left" : "right", y: line.value, yanchor: "bottom" }
      : { yref: "paper", y: 0, yanchor: "bottom", x: line.value, xanchor: "right" }),
  };
}

const legendName = (line) => `${shortened(line.label)}: ${plainNumber(line.value)}`;

function legendNames(panel) {
  const lines = panel.lines.filter((line) => !line.limit || line.direction === "diagonal");
  return [...panel.series.map((series) => shortened(series.label)),
    ...lines.map((line) => (line.direction === "diagonal" ? shortened(line.label) : legendName(line)))];
}

/** How many rows the legend takes; none where there is nothing to tell apart. */
function legendRows(panel, theme) {
  const names = legendNames(panel);
  if (names.length < 2) return 0;
  const entry = LEGEND_SYMBOL_PIXELS + LETTER_PIXELS * Math.max(...names.map((name) => name.length));
  return Math.ceil(names.length / Math.max(1, Math.floor((theme.width - SIDES_PIXELS) / entry)));
}

/** The narrowest that a panel of bars can be. */
function narrowest(panel) {
  const bars = Math.max(...panel.categories.map((name) => barSlots(panel, name).length));
  return SIDES_PIXELS + panel.categories.length * Math.max(TURNED_LABEL_PIXELS, bars * BAR_PIXELS);
}

function categoryAxis(panel, theme) {
  const names = panel.categories.map((name) => shortened(name));
  const lines = names.flatMap((name) => name.split(", "));
  const room = (theme.width - SIDES_PIXELS) / names.length;
  const turned = Math.max(...lines.map((line) => line.length)) * LETTER_PIXELS > room;
  return {
    type: "category", categoryorder: "array", categoryarray: panel.categories.map(plotText), showgrid: false, tickmode: "array",
    tickvals: panel.categories.map(plotText), ticktext: names.map((name) => (turned ? plotText(name) : plotText(name).replaceAll(", ", "<br>"))),
    tickangle: turned ? -TURN_DEGREES : 0, range: [-0.5, names.length - 0.5],
  };
}

/** A number of examples is whole: its ticks are those that were run. */
function countAxis(panel) {
  const curves = panel.series.filter((series) => series.mark === "line");
  const counts = [...new Set(curves.flatMap((series) => series.x).filter(isNumber))].sort((one, other) => one - other);
  if (panel.x_scale === "log" || counts.length === 0 || counts.length > MOST_TICKS || !counts.every(Number.isInteger)) return {};
  return { tickmode: "array", tickvals: counts, ticktext: counts.map(String), range: [counts[0] - 0.7, counts.at(-1) + 0.7] };
}
