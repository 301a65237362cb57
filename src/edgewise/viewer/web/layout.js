// Where everything goes: layers from bottom to top, heads by column, MLPs in a column of their own on the right.

import { headPlaces, touchedNodes } from "./columns.js";

export const BOX = { width: 46, height: 17 };
const MARGIN = 14;
const LABELS = 30;
const BAR = 20;
const MLP_RISE = 0.46;
const ROWS = [39, 150]; // pixels of a row of heads, at least and at most
const SHORT = 0.5; // how much of that a layer takes of which only the MLP is there
export const PORTS = { q: -12, k: 0, v: 12 };

/**
 * Boxes by node and ports by reader for a room of `width` × `height` pixels; the layout is larger than the room where
 * labels would not be readable otherwise. With `used` edges (null: all nodes have a place) only the layers and heads that they
 * touch are there, heads stand where their edges cross least, and a layer without heads takes less room.
 */
export function arrange(model, { width, height, used = null }) {
  const touched = used && touchedNodes(model, used);
  const rows = lines(model, touched);
  const places = headPlaces(model, rows, touched, used);
  const columns = 1 + Math.max(...places.values());
  const mlps = model.nodes.some((node) => node.kind === "mlp");
  const arcs = mlps ? 34 + Math.min(80, 6 * rows.length) : 8;
  const column = clamp(
    (width - 2 * MARGIN - LABELS - arcs) / (columns + (mlps ? 1.25 : 0)),
    50,
    touched || columns < 8 ? 150 : 104,
  );
  const withHeads = new Set([...places.keys()].map((node) => node.layer));
  const shares = rows.map((layer) => (withHeads.has(layer) ? 1 : SHORT));
  const row = clamp((height - 2 * BAR - 16) / (sum(shares) + 0.75), ...ROWS);
  const grid = { model, rows, places, mlps, arcs, column, row };
  grid.heights = shares.map((share) => row * share);
  grid.left = MARGIN + LABELS;
  grid.mlpX = grid.left + column * (columns + 0.62);
  grid.right = mlps ? grid.mlpX + BOX.width / 2 : grid.left + column * columns;
  grid.height = row * (sum(shares) + 0.75) + 2 * BAR + 8;
  const boxes = model.nodes.map((node) => box(grid, node));
  const ports = model.readers.map((reader) => port(grid, reader, boxes));
  return {
    width: grid.right + arcs + MARGIN,
    height: grid.height,
    column,
    row,
    boxes,
    ports,
    lanes: rows.map((_, place) => headRow(grid, place) - grid.heights[place] / 2),
    bands: rows.map((layer, place) => band(grid, layer, place)),
    bars: shared(grid, boxes),
  };
}

/**
 * The layout with the nodes of each folded role at one place, in the lane between two rows of heads; `roles` is
 * [{name, nodes}].
 */
export function folded(layout, model, roles) {
  if (!roles.length) return layout;
  const boxes = layout.boxes.slice();
  for (const role of roles) {
    const members = role.nodes.map((i) => layout.boxes[i]).filter(Boolean);
    if (!members.length) continue;
    for (const i of role.nodes) boxes[i] = boxes[i] && { ...boxes[i], y: NaN };
    const mean = (key) => members.reduce((sum, one) => sum + one[key], 0) / members.length;
    const lane = layout.lanes.reduce((best, y) => (Math.abs(y - mean("y")) < Math.abs(best - mean("y")) ? y : best));
    const place = { x: mean("x"), y: lane, width: 30 + 6.4 * Math.min(18, role.name.length), height: 22 };
    place.x = free(place, boxes);
    for (const i of role.nodes) if (boxes[i]) boxes[i] = { ...place, folded: role.name };
  }
  const ports = layout.ports.map((one, i) => {
    const target = boxes[model.readers[i].nodes[0]];
    return target && target.folded ? { x: target.x, y: target.y + target.height / 2 } : one;
  });
  return { ...layout, boxes, ports };
}

/** The layers that have a row. */
function lines(model, touched) {
  const all = Array.from({ length: model.layers }, (_, i) => i);
  const found = touched ? all.filter((layer) => [...touched].some((i) => model.nodes[i].layer === layer)) : all;
  return found.length ? found : all.slice(0, 1);
}

function box(grid, node) {
  const middle = (grid.left + grid.right) / 2;
  if (node.kind === "input") return inputBar(grid, node);
  if (node.kind === "logits") return { x: middle, y: BAR / 2 + 2, width: grid.right - grid.left, height: BAR };
  const place = grid.rows.indexOf(node.layer);
  if (place < 0) return null;
  const y = headRow(grid, place);
  const rise = grid.heights[place] < grid.row ? 0 : MLP_RISE * grid.row;
  if (node.kind === "mlp") return { x: grid.mlpX, y: y - rise, ...BOX };
  const column = grid.places.get(node);
  return column === undefined ? null : { x: grid.left + grid.column * (column + 0.5), y, ...BOX };
}

/** Inputs share the bar at the bottom. */
function inputBar(grid, node) {
  const all = grid.model.inputs.map((i) => grid.model.nodes[i].name);
  const room = (grid.right - grid.left + 8) / all.length;
  return { x: grid.left + room * (all.indexOf(node.name) + 0.5) - 4, y: grid.height - BAR / 2 - 2, width: room - 8, height: BAR };
}

/** Where the heads of a row stand, or the MLP of a layer without heads. */
function headRow(grid, place) {
  const share = grid.heights[place] < grid.row ? 0.5 : 0.26;
  return floor(grid, place) - share * grid.heights[place];
}

/** The lower end of a row. */
function floor(grid, place) {
  return grid.height - BAR - 0.36 * grid.row - sum(grid.heights.slice(0, place));
}

function port(grid, reader, boxes) {
  const targets = reader.nodes.map((i) => boxes[i]).filter(Boolean);
  if (!targets.length) return null;
  const below = targets[0].y + targets[0].height / 2;
  if (!reader.kind) return { x: targets[0].x, y: below };
  const middle = (targets[0].x + targets[targets.length - 1].x) / 2;
  const single = reader.nodes.length === 1;
  const alone = reader.kind === "q" && isGrouped(grid.model);
  return { x: alone ? targets[0].x : middle + PORTS[reader.kind] - (single ? 0 : 6), y: single ? below + 3 : below + 11 };
}

/** Bars under the heads that share a key and a value. */
function shared(grid, boxes) {
  if (!isGrouped(grid.model)) return [];
  return grid.model.readers
    .filter((reader) => reader.kind === "k" && boxes[reader.nodes[0]])
    .map((reader) => {
      const ends = reader.nodes.map((i) => boxes[i]).filter(Boolean);
      const [first, last] = [ends[0], ends[ends.length - 1]];
      const readers = grid.model.readers.flatMap((one, i) =>
        one.kind && one.kind !== "q" && one.nodes[0] === reader.nodes[0] ? [i] : [],
      );
      return {
        readers,
        x: (first.x + last.x) / 2,
        y: first.y + first.height / 2 + 9,
        width: last.x - first.x + BOX.width,
        height: 3.5,
      };
    });
}

function isGrouped(model) {
  return model.doc.graph.heads !== model.doc.graph.kv_heads;
}

function band(grid, layer, place) {
  const height = grid.heights[place];
  return {
    layer,
    x: MARGIN,
    y: floor(grid, place) - height,
    width: grid.right + grid.arcs - MARGIN,
    height,
    even: place % 2 === 0,
    folded: layer - (place ? grid.rows[place - 1] + 1 : 0), // layers below it that are not drawn
  };
}

/** The x nearest to where a folded role wants to be at which it lies on no other box. */
function free(place, boxes) {
  const taken = boxes.filter((one) => one && Math.abs(one.y - place.y) < (one.height + place.height) / 2);
  const hits = (x) => taken.some((one) => Math.abs(one.x - x) < (one.width + place.width) / 2 + 4);
  for (let away = 0; away < 2000; away += 12) {
    for (const x of [place.x - away, place.x + away]) if (!hits(x) && x > place.width / 2) return x;
  }
  return place.x;
}

function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}
