// The faithfulness curve over the slider: what each number of edges keeps, and what as many random edges keep.

import { el, percent, refill, svg, whole } from "./dom.js";

const HEIGHT = 84;
const [TOP, BOTTOM] = [10, 16];
const CLEARLY = 0.02; // a difference in faithfulness worth a word
const INSET = 8; // half the slider's thumb: chart and slider share their scale

/** Where on the scale [0, 1] a number of edges stands: as many pixels from 10 to 100 as from 100 to 1,000. */
export function position(n, most) {
  return most ? Math.log1p(n) / Math.log1p(most) : 0;
}

/** The number of edges at a place of the scale. */
export function amount(place, most) {
  return Math.round(Math.expm1(place * Math.log1p(most)));
}

/** Faithfulness and that of a random circuit at `n` edges: measured there, or between the measured neighbours. */
export function reading(points, n) {
  const known = points.filter(([, value]) => value !== null);
  const after = known.findIndex(([edges]) => edges >= n);
  if (after < 0 || !known.length) return null;
  const [edges, value, random] = known[after];
  if (edges === n || after === 0) return edges === n ? { value, random, measured: true } : null;
  const [edges0, value0, random0] = known[after - 1];
  const share = (Math.log1p(n) - Math.log1p(edges0)) / (Math.log1p(edges) - Math.log1p(edges0));
  const mix = (a, b) => (a === null || b === null ? null : a + share * (b - a));
  return { value: mix(value0, value), random: mix(random0, random), measured: false };
}

/** The words beside the curve; where as many edges in the `other` ranking keep clearly more, these too. */
export function sentence(curve, n, other) {
  const found = curve && reading(curve.points, n);
  if (!found) return "";
  const about = found.measured ? "" : "about ";
  const random = found.random === null ? "" : ` (random: ${percent(found.random)})`;
  const beside = other && other.metric === curve.metric && reading(other.points, n);
  const better = beside && beside.value > found.value + CLEARLY;
  return `${about}${percent(found.value)} of ${curve.metric} kept${random}${better ? `; by ${other.ranking} score ${percent(beside.value)}` : ""}`;
}

/** The element of the chart. */
export function createChart() {
  return el("div", { class: "chart" });
}

/** Draws the curve for a slider from 0 to `most` that stands at `n`. */
export function drawChart(element, { curve, most, n, width, points, absent }) {
  const room = width - 2 * INSET;
  if (curve) curve = { ...curve, points: upTo(curve.points, most) };
  const values = [...(curve ? curve.points.flatMap(([, a, b]) => [a, b]) : []), ...points.map((p) => p.value)];
  const known = values.filter((value) => value !== null);
  const [low, high] = [Math.max(-0.5, Math.min(0, ...known)), Math.min(1.5, Math.max(1, ...known))];
  const x = (edges) => INSET + room * position(Math.min(edges, most), most);
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * ((high - Math.min(high, Math.max(low, value))) / (high - low));
  const picture = svg("svg", { width, height: HEIGHT, "aria-hidden": "true" });
  picture.append(...grid(x, y, most, width), ...(curve ? lines(curve, x, y) : []));
  if (!curve) picture.append(svg("text", { class: "none", x: width / 2, y: y(0.5) + 4, "text-anchor": "middle", text: absent }));
  for (const point of points)
    picture.append(svg("circle", { class: `at ${point.name}`, cx: x(point.edges), cy: y(point.value), r: 3.5 }));
  picture.append(svg("line", { class: "cursor", x1: x(n), x2: x(n), y1: TOP - 6, y2: HEIGHT - BOTTOM }));
  const found = curve && reading(curve.points, n);
  if (found) picture.append(svg("circle", { class: "now", cx: x(n), cy: y(found.value), r: 4 }));
  refill(element, picture);
}

/** The names of the two lines at the point where they are farthest apart. */
function names({ points }, x, y) {
  const both = points.filter(([, value, random]) => value !== null && random !== null);
  const gap = ([, value, random]) => y(random) - y(value);
  const widest = both.reduce((best, point) => (best && gap(best) >= gap(point) ? best : point), null);
  if (!widest || gap(widest) < 26) return [];
  // Above the line, to the left, where a curve that rises is not; below the edge of the picture.
  const name = (text, value) =>
    svg("text", { class: "tick", x: x(widest[0]) - 6, y: Math.max(8, y(value) - 5), "text-anchor": "end", text });
  return [name("circuit", widest[1]), name("random", widest[2])];
}

/** The points up to a size, the last one between its neighbours. */
function upTo(points, most) {
  const inside = points.filter(([edges]) => edges <= most);
  const last = reading(points, most);
  return last && !last.measured ? [...inside, [most, last.value, last.random]] : inside;
}

function grid(x, y, most, width) {
  const parts = [];
  for (const value of [0, 0.5, 1]) {
    parts.push(svg("line", { class: "grid", x1: INSET, x2: width - INSET, y1: y(value), y2: y(value) }));
    parts.push(svg("text", { class: "tick", x: INSET, y: y(value) - 2, text: percent(value).replace(".0", "") }));
  }
  for (let edges = 1; edges <= most; edges *= 10) {
    const anchor = x(edges) > width - 30 ? "end" : "middle";
    parts.push(svg("text", { class: "tick", x: x(edges), y: HEIGHT - 4, "text-anchor": anchor, text: whole(edges) }));
  }
  return parts;
}

function lines(curve, x, y) {
  const path = (column) =>
    curve.points
      .filter((point) => point[column] !== null)
      .map((point, i) => `${i ? "L" : "M"}${x(point[0]).toFixed(1)} ${y(point[column]).toFixed(1)}`)
      .join("");
  const dots = curve.points
    .filter((p) => p[1] !== null)
    .map((p) => svg("circle", { class: "point", cx: x(p[0]), cy: y(p[1]), r: 1.8 }));
  return [
    svg("path", { class: "random", d: path(2) }),
    svg("path", { class: "faithful", d: path(1) }),
    ...dots,
    ...names(curve, x, y),
  ];
}
