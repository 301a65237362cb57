// Which edges are shown: the first n in score order, then the filters, then what the chosen node or edge reaches.

import { INTO, edgeName } from "./data.js";
import { scopes } from "./state.js";

export const FIRST = 200;

/** The edges of the state's scope in the state's ranking. */
export function candidates(model, state) {
  const scope = scopes(model).find((one) => one.name === state.scope) || scopes(model)[0];
  const order = model.order[state.ranking];
  return scope.flags ? order.filter((e) => model.flags[e] & scope.flags) : order;
}

/** How many of the candidates are kept. */
export function kept(state, all) {
  const wanted = state.n === null ? (state.scope === "scores" ? FIRST : all.length) : state.n;
  return Math.min(wanted, all.length);
}

/**
 * The edges whose layers and heads have a place in the picture; null for all of the model. "folded" stays while the slider moves:
 * all edges of the circuit, or of scores so many of the strongest, doubling as the cut grows.
 */
export function outlined({ columns, scope }, all, cut) {
  if (columns === "all") return null;
  if (columns === "used") return cut;
  return scope === "scores" ? all.subarray(0, FIRST * 2 ** Math.max(0, Math.ceil(Math.log2(cut.length / FIRST)))) : all;
}

/** The edges to draw, strongest first, from those the slider keeps. */
export function visible(model, state, cut) {
  let found = filtered(model, state, cut);
  if (state.paths === "only") found = onPath(model, found);
  if (state.focus !== null) found = isolated(model, found, state.focus, state.reach);
  return found;
}

/** The edges that pass the filters for q, k and v, sign and layers. */
export function filtered(model, state, edges) {
  const { into, writer, target, value, nodes } = model;
  const kinds = Uint8Array.from(INTO, (kind) => state.kinds.includes(kind));
  const layers = Uint8Array.from(nodes, ({ layer }) => layer < 0 || (layer >= state.low && layer <= state.high));
  const [helps, hurts] = ["+", "-"].map((sign) => !value || state.signs.includes(sign));
  if (kinds.every(Boolean) && layers.every(Boolean) && helps && hurts) return edges;
  return edges.filter((e) => kinds[into[e]] && layers[writer[e]] && layers[target[e]] && (value && value[e] < 0 ? hurts : helps));
}

/** Edges on a path from input to logits. */
export function onPath(model, edges) {
  const live = reached(model, edges, model.inputs, "on");
  const useful = reached(model, edges, [model.logits], "back");
  return edges.filter((e) => live.has(model.writer[e]) && feeds(model, e).some((node) => useful.has(node)));
}

/** Edges that lead to the chosen node or edge (`back`), from it (`on`), or either (`both`). */
export function isolated(model, edges, focus, reach) {
  const node = model.nodeIndex.get(focus);
  const edge = node === undefined ? edges.find((e) => edgeName(model, e) === focus) : undefined;
  if (node === undefined && edge === undefined) return edges;
  const sources = node === undefined ? [model.writer[edge]] : [node];
  const targets = node === undefined ? feeds(model, edge) : [node];
  const back = reach === "on" ? new Set() : reached(model, edges, sources, "back");
  const on = reach === "back" ? new Set() : reached(model, edges, targets, "on");
  return edges.filter((e) => e === edge || on.has(model.writer[e]) || feeds(model, e).some((to) => back.has(to)));
}

/** The nodes from which `starts` are reached (`back`), or that they reach (`on`), themselves among them. */
export function reached(model, edges, starts, direction) {
  const next = new Map();
  const add = (from, to) => (next.has(from) ? next.get(from).push(to) : next.set(from, [to]));
  for (const e of edges) {
    for (const to of feeds(model, e)) {
      if (direction === "on") add(model.writer[e], to);
      else add(to, model.writer[e]);
    }
  }
  const found = new Set(starts);
  for (const queue = [...starts]; queue.length;) {
    for (const node of next.get(queue.pop()) || []) {
      if (!found.has(node)) {
        found.add(node);
        queue.push(node);
      }
    }
  }
  return found;
}

/** The nodes an edge goes into. */
export function feeds(model, e) {
  return model.readers[model.reader[e]].nodes;
}
