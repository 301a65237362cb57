// The curve of every edge: cubic Béziers that leave nodes upwards and enter them from below, as eight numbers an edge.

import { PORTS } from "./layout.js";

const SPREAD = 0.62;

/** Float32Array [edge × 8]: start, two control points, end; NaN where an end is not drawn. */
export function curves(model, layout) {
  const found = new Float32Array(model.count * 8).fill(NaN);
  for (let e = 0; e < model.count; e += 1) {
    const points = curve(model, layout, e);
    if (points) found.set(points, e * 8);
  }
  return found;
}

/** The curve of one edge: [x0, y0, x1, y1, x2, y2, x3, y3], or null if an end is not drawn. */
export function curve(model, layout, e) {
  const reader = model.readers[model.reader[e]];
  const from = model.nodes[model.writer[e]];
  const to = model.nodes[reader.nodes[0]];
  const start = layout.boxes[model.writer[e]];
  const end = layout.boxes[reader.nodes[0]];
  const port = layout.ports[model.reader[e]];
  if (!start || !port || (start === end && start.folded)) return null;
  if (start.folded || end.folded) return upwards(layout, start.x, top(start), port.x, port.y);
  if (inColumn(from) && inColumn(to) && reachesColumn(model, layout, from, start)) return arc(layout, start, end);
  if (from.kind === "input") return upwards(layout, towards(layout, start, port), top(start), port.x, port.y);
  if (to.kind === "logits") {
    return upwards(layout, start.x, top(start), towards(layout, end, { x: start.x, y: top(start) }), bottom(end) + 1);
  }
  if (to.kind === "mlp") return upwards(layout, start.x, top(start), port.x - 14, port.y);
  // Edges into q, k and v of one head leave a little apart, or they would lie on each other.
  return upwards(layout, start.x + 0.7 * PORTS[reader.kind], top(start), port.x, port.y);
}

/** Squared distance from a point to the curve at `offset` of `points`, or Infinity if it is farther than `most`. */
export function distance(points, offset, x, y, most) {
  const [x0, y0, x1, y1, x2, y2, x3, y3] = points.subarray(offset, offset + 8);
  if (Number.isNaN(x0)) return Infinity;
  if (x < Math.min(x0, x1, x2, x3) - most || x > Math.max(x0, x1, x2, x3) + most) return Infinity;
  if (y < Math.min(y0, y1, y2, y3) - most || y > Math.max(y0, y1, y2, y3) + most) return Infinity;
  let best = Infinity;
  let [px, py] = [x0, y0];
  for (let i = 1; i <= 24; i += 1) {
    const t = i / 24;
    const s = 1 - t;
    const [a, b, c, d] = [s * s * s, 3 * s * s * t, 3 * s * t * t, t * t * t];
    const [qx, qy] = [a * x0 + b * x1 + c * x2 + d * x3, a * y0 + b * y1 + c * y2 + d * y3];
    best = Math.min(best, segment(px, py, qx, qy, x, y));
    [px, py] = [qx, qy];
  }
  return best <= most * most ? best : Infinity;
}

function segment(ax, ay, bx, by, x, y) {
  const [dx, dy] = [bx - ax, by - ay];
  const length = dx * dx + dy * dy;
  const t = length ? Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / length)) : 0;
  return (ax + t * dx - x) ** 2 + (ay + t * dy - y) ** 2;
}

function right(box) {
  return box.x + box.width / 2;
}

function top(box) {
  return box.y - box.height / 2;
}

function bottom(box) {
  return box.y + box.height / 2;
}

/** Whether a node stands in the MLP column, or is a bar that closes it. */
function inColumn(node) {
  return node.kind !== "head";
}

/** Whether arcs can leave from the right end of a node: not from the first of two inputs that share the bar. */
function reachesColumn(model, layout, from, box) {
  return from.kind !== "input" || right(box) >= right(layout.boxes[model.logits]) - 8;
}

/** Where on a bar an edge starts or ends: part of the way to its other end, layers beside each other. */
function towards(layout, bar, end) {
  const half = bar.width / 2 - 6;
  const along = SPREAD * (end.x - bar.x) + (0.5 - end.y / layout.height) * 0.45 * layout.column;
  return bar.x + Math.min(half, Math.max(-half, along));
}

function upwards(layout, x0, y0, x3, y3) {
  const rise = Math.max(1, y0 - y3);
  const pull = Math.min(1.5 * layout.row, Math.max(0.45 * rise, 8));
  const bow = sideways(layout, x0, x3, rise);
  return [x0, y0, x0 + bow, y0 - pull, x3 + bow, y3 + pull, x3, y3];
}

/** A sideways push for an edge that would run behind the nodes of its own column. */
function sideways(layout, x0, x3, rise) {
  if (rise < 1.6 * layout.row || Math.abs(x3 - x0) > 0.5 * layout.column) return 0;
  return (x0 >= layout.width / 2 ? -1 : 1) * 0.72 * layout.column;
}

/** An arc on the right of the MLP column, wider the more layers it spans. */
function arc(layout, start, end) {
  const span = (start.y - end.y) / layout.row;
  const reach = Math.min(20 + 9 * span, (layout.width - right(start)) / 0.75 - 8);
  const lift = Math.min(0.25 * (start.y - end.y), 0.5 * layout.row);
  const [x0, y0, x3, y3] = [right(start), start.y - 3, right(end) + 1, end.y + 3];
  return [x0, y0, x0 + reach, y0 - lift, x3 + reach, y3 + lift, x3, y3];
}
