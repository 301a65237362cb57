// The shown edges in the formats of other tools; the same as `edgewise convert` writes for the same edges.

import { IN_A, IN_B, IN_REFERENCE, edgeName } from "./data.js";
import { signed } from "./dom.js";
import { readable } from "./facts.js";
import { crowdOf, look, strength } from "./style.js";

const DOT_LINES = { q: "dashed", k: "dotted", v: "bold", "": "solid" };
const DOT_ENDS = { q: "empty", k: "odiamond", v: "odot", "": "normal" };

/** A score as text that gives the same number back, or nothing. */
function number(value) {
  if (value === null || Number.isNaN(value)) return "";
  return Number.isFinite(value) ? String(value) : value > 0 ? "INF" : "-INF";
}

/** What the formats need of each shown edge. */
function rows(app) {
  const { model, shown } = app;
  return Array.from(shown, (e) => ({
    name: edgeName(model, e),
    writer: model.nodes[model.writer[e]].name,
    reader: model.readers[model.reader[e]].name,
    kind: model.readers[model.reader[e]].kind,
    node: model.nodes[model.target[e]].name,
    score: model.score ? model.score[e] : null,
    exact: model.exact ? model.exact[e] : null,
    flags: model.flags[e],
  }));
}

/** The nodes that the rows touch, in index order. */
function touched(app, edges) {
  const names = new Set(edges.flatMap(({ writer, node }) => [writer, node]));
  return app.model.nodes.filter(({ name }) => names.has(name));
}

/** Comma-separated values with a header line, one line for each edge. */
export function csv(app) {
  const bit = (flags, one) => (flags & one ? "1" : "0");
  const line = (r) =>
    [
      r.name,
      r.writer,
      r.reader,
      r.kind,
      number(r.score),
      number(r.exact),
      bit(r.flags, IN_A),
      bit(r.flags, IN_B),
      bit(r.flags, IN_REFERENCE),
    ].join(",");
  return `${["edge,writer,reader,kind,score,exact,in_circuit,in_other,in_reference", ...rows(app).map(line)].join("\n")}\n`;
}

/** GraphML with parallel edges: one for each of q, k and v. */
export function graphml(app) {
  const edges = rows(app);
  const keys = [
    ["kind", "node", "string"],
    ["layer", "node", "int"],
    ["role", "node", "string"],
    ["reader", "edge", "string"],
    ["score", "edge", "double"],
    ["exact", "edge", "double"],
  ];
  const data = (key, value) => (value === "" ? "" : `<data key="${key}">${xml(value)}</data>`);
  const index = (name) => app.model.nodeIndex.get(name);
  const node = ({ name, kind, layer }) =>
    `  <node id="${xml(name)}">${data("kind", kind)}${data("layer", String(layer))}${data("role", app.roles.get(index(name)) || "")}</node>`;
  const edge = (r) =>
    `  <edge id="${xml(r.name)}" source="${xml(r.writer)}" target="${xml(r.node)}">${data("reader", r.reader)}${data("score", number(r.score))}${data("exact", number(r.exact))}</edge>`;
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">',
    ...keys.map(([id, of, type]) => ` <key id="${id}" for="${of}" attr.name="${id}" attr.type="${type}"/>`),
    ' <graph id="circuit" edgedefault="directed">',
    ...touched(app, edges).map(node),
    ...edges.map(edge),
    " </graph>",
    "</graphml>",
    "",
  ].join("\n");
}

/** DOT text from bottom to top. */
export function dot(app) {
  const edges = rows(app);
  const ranks = new Map();
  const ends = app.model.nodes.filter(({ kind }) => kind === "input" || kind === "logits");
  const nodes = new Set([...ends, ...touched(app, edges)]);
  for (const { name, kind, layer } of app.model.nodes.filter((node) => nodes.has(node))) {
    const key = `${kind === "logits" ? 1e6 : layer} ${kind === "mlp" ? 1 : 0}`;
    ranks.set(key, [...(ranks.get(key) || []), quoted(name)]);
  }
  const colour = ({ score }) => (score === null ? "#5b6b7d" : score < 0 ? "#c85a00" : "#0f68b0");
  const label = ({ kind }) => (kind ? `, xlabel="${kind}"` : "");
  const crowd = crowdOf(edges.length);
  const width = ({ score }) => look(strength(score, app.largest()), crowd).width.toFixed(2);
  const line = (r) =>
    `  ${quoted(r.writer)} -> ${quoted(r.node)} [color="${colour(r)}", style=${DOT_LINES[r.kind]}, arrowhead=${DOT_ENDS[r.kind]}, penwidth=${width(r)}, tooltip=${quoted(told(r.name, r.score, " "))}${label(r)}];`;
  return [
    "digraph circuit {",
    `  graph [rankdir=BT, bgcolor=white, fontname=Helvetica, labelloc=t, label=${quoted(app.model.doc.title)}];`,
    "  node [shape=box, style=rounded, fontname=Helvetica, fontsize=11, height=0.3];",
    ...[...ranks.values()].map((names) => `  { rank=same; ${names.join("; ")}; }`),
    ...edges.map(line),
    "}",
    "",
  ].join("\n");
}

/** What a reader of a picture sees who points at an edge. */
export function told(name, score, gap) {
  return score === null ? name : `${name}${gap}score ${signed(score)}`;
}

/** The graph JSON that Neuronpedia and circuit-tracer read. Edges know no position: all nodes stand at the last token. */
export function neuronpedia(app) {
  const edges = rows(app);
  const { doc } = app.model;
  const example = doc.circuits[0].examples[0];
  const tokens = example && example.clean.length ? example.clean : ["…"];
  const at = tokens.length - 1;
  const links = new Map();
  for (const { writer, node, score } of edges)
    links.set(`${writer} ${node}`, (links.get(`${writer} ${node}`) || 0) + (score === null ? 1 : score));
  const shown = touched(app, edges);
  const known = new Set(shown.map(({ name }) => name));
  const supernodes = app
    .roleGroups()
    .map(({ name, names }) => [name, ...names.filter((one) => known.has(one))])
    .filter((group) => group.length > 1);
  const value = {
    metadata: {
      slug: "edgewise-circuit",
      scan: doc.model,
      prompt_tokens: tokens,
      prompt: tokens.join(""),
      info: { description: NOTE, generator: { name: "edgewise", version: doc.edgewise } },
    },
    qParams: { pinnedIds: [], supernodes, linkType: "both", clickedId: "", sg_pos: "" },
    nodes: shown.map((node) => neuronpediaNode(node, app.model.layers, at)),
    links: [...links].map(([ends, weight]) => ({
      source: ends.split(" ")[0],
      target: ends.split(" ")[1],
      weight: Number.isFinite(weight) ? weight : 0,
    })),
  };
  return `${JSON.stringify(value, null, 1)}\n`;
}

const NOTE =
  "Heads and MLPs of a circuit found by edgewise. Edges have no positions: every node stands at the last token. A link sums the edges into q, k and v.";

/** Layers count from 1, attention and MLP one each, because a graph whose layers are all 0 is not read. */
function neuronpediaNode({ name, kind, layer, head }, layers, at) {
  const place = { input: "E", head: String(2 * layer + 1), mlp: String(2 * layer + 2), logits: String(2 * layers + 1) }[kind];
  const type = { input: "embedding", head: "lorsa", mlp: "unknown", logits: "logit" }[kind];
  // The label of a logit is read up to "(p=": a circuit knows no probability, so it has none.
  return {
    node_id: name,
    feature: head < 0 ? 0 : head,
    layer: place,
    ctx_idx: at,
    feature_type: type,
    jsNodeId: name,
    clerp: kind === "logits" ? "" : name,
  };
}

/** Groups of roles with readable names. */
export function roleGroups(model, state) {
  return [...Object.entries(model.doc.roles), ...Object.entries(state.roles)].map(([role, names]) => ({
    name: readable(role),
    names,
  }));
}

function quoted(text) {
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}

/** Text inside XML; characters that XML cannot hold are replaced. */
export function xml(text) {
  const named = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
  return text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "\ufffd").replace(/[&<>"]/g, (one) => named[one]);
}
