// Names beside the points of a plot, as many as there is room for; the others are told where a pointer rests.

const NAME_HEIGHT = 13;
const NAME_LETTER_PIXELS = 6;
const POINT_PIXELS = 7;
/** Where a name may stand: plotly's word, and from its point to its box, in widths and heights of the box and in points' radii. */
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

/** plotly's word for where a name stands, whose box is then taken; null where there is no room. */
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

function overlap(one, other) {
  return one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3];
}
