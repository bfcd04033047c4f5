// Names beside the points of a plot, as many as there is room for; the others are told where a pointer rests.

const NAME_CHARACTERS = 28;
const NAME_HEIGHT = 13;
const NAME_LETTER_PIXELS = 6;
const POINT_PIXELS = 7;
/** Where a name may stand: plotly's word, and from its point to its box, in widths and heights of the box and in points' radii. */
const PLACES = [
  ["top center", -0.5, -1, 0, -1], ["bottom center", -0.5, 0, 0, 1], ["middle right", 0, -0.5, 1, 0], ["middle left", -1, -0.5, -1, 0],
];

/** Write the names of a drawn panel's points where they hide neither each other nor a point, and are not cut. */
function writeNames(target, panel) {
  const { xaxis, yaxis } = target._fullLayout;
  const pixels = (x, y) => [xaxis.d2p(x), yaxis.d2p(y)];
  const taken = panel.series.filter((series) => series.mark === "points" || series.mark === "line")
    .flatMap((series) => series.x.map((x, place) => [x, series.y[place]]).filter((point) => point.every(isNumber)))
    .map(([x, y]) => pixels(x, y)).map(([x, y]) => [x - POINT_PIXELS, y - POINT_PIXELS, x + POINT_PIXELS, y + POINT_PIXELS]);
  const room = [0, -NAME_HEIGHT, xaxis._length + NAME_HEIGHT, yaxis._length];
  const traces = [];
  const text = [];
  const textposition = [];
  panel.series.forEach((series, place) => {
    if (!series.texts.some(Boolean)) return;
    const found = series.texts.map((name, point) => placeOf(name, pixels(series.x[point], series.y[point]), taken, room));
    traces.push(place);
    text.push(found.map((where, point) => (where ? plotText(shortened(series.texts[point], NAME_CHARACTERS)) : "")));
    textposition.push(found.map((where) => where ?? "top center"));
  });
  if (traces.length > 0) Plotly.restyle(target, { text, textposition, mode: "markers+text", "textfont.size": 10.5 }, traces);
}

/** plotly's word for where a name stands, whose box is then taken; null where there is no room. */
function placeOf(name, [x, y], taken, room) {
  if (!name || !isNumber(x) || !isNumber(y)) return null;
  const width = Math.min([...name].length, NAME_CHARACTERS) * NAME_LETTER_PIXELS;
  for (const [word, widths, heights, right, down] of PLACES) {
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
