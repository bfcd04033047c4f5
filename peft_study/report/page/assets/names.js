// Names beside the points of a plot, as many as there is room for. The hover texts have all of them.

const NAME_HEIGHT = 13;
const NAME_LETTER_PIXELS = 6;
const POINT_PIXELS = 7;
/** Positions of a name: plotly's word, and the offset of its box from its point, in the box's widths and heights and in radii. */
const POSITIONS = [
  ["top center", -0.5, -1, 0, -1], ["bottom center", -0.5, 0, 0, 1], ["middle right", 0, -0.5, 1, 0], ["middle left", -1, -0.5, -1, 0],
];

/** Write the names of a drawn figure's points where they hide neither each other nor a point and are not cut. */
function writeNames(target, traces) {
  const { xaxis, yaxis } = target._fullLayout;
  const pixels = (x, y) => [xaxis.d2p(x), yaxis.d2p(y)];
  const taken = traces.filter((trace) => trace.mode?.includes("markers"))
    .flatMap((trace) => trace.x.map((x, place) => [x, trace.y[place]]).filter((point) => point.every(isNumber)))
    .map(([x, y]) => pixels(x, y)).map(([x, y]) => [x - POINT_PIXELS, y - POINT_PIXELS, x + POINT_PIXELS, y + POINT_PIXELS]);
  const room = [0, -NAME_HEIGHT, xaxis._length + NAME_HEIGHT, yaxis._length];
  const named = traces.map((trace, place) => ({ ...trace, place })).filter((trace) => trace.text);
  const positions = named.map((trace) => trace.text.map((name, point) => positionOf(name, pixels(trace.x[point], trace.y[point]), taken, room)));
  if (named.length === 0) return;
  Plotly.restyle(target, {
    text: named.map((trace, place) => trace.text.map((name, point) => (positions[place][point] ? name : ""))),
    textposition: positions.map((words) => words.map((word) => word ?? POSITIONS[0][0])),
    mode: "markers+text", "textfont.size": 10.5,
  }, named.map((trace) => trace.place));
}

/** Reserve a box for a name, and return plotly's word for its position; null if there is no room. */
function positionOf(name, [x, y], taken, room) {
  if (!name || !isNumber(x) || !isNumber(y)) return null;
  const width = [...name].length * NAME_LETTER_PIXELS;
  for (const [word, widths, heights, right, down] of POSITIONS) {
    const left = x + widths * width + right * POINT_PIXELS;
    const top = y + heights * NAME_HEIGHT + down * POINT_PIXELS;
    const box = [left, top, left + width, top + NAME_HEIGHT];
    if (box[0] < room[0] || box[1] < room[1] || box[2] > room[2] || box[3] > room[3]) continue;
    if (taken.some((other) => overlap(box, other))) continue;
    taken.push(box);
    return word;
  }
  return null;
}

function overlap(first, second) {
  return first[0] < second[2] && second[0] < first[2] && first[1] < second[3] && second[1] < first[3];
}
