// The shown edges in the formats of other tools, from the same templates as `edgewise convert` fills for the same edges.

import { IN_A, IN_B, IN_REFERENCE, edgeName } from "./data.js";
import { signed } from "./dom.js";
import { readable } from "./facts.js";
import { crowdOf, look, strength } from "./style.js";
import { CSV, DOT, FEATURE_TYPES, GRAPHML, NEURONPEDIA } from "./templates.js";

/** What is known of each shown edge, by the names of the columns of the CSV, and its `node`. */
function rows({ model, shown }) {
  const has = (e, circuit) => Number((model.flags[e] & circuit) > 0);
  return Array.from(shown, (e) => ({
    edge: edgeName(model, e),
    writer: model.nodes[model.writer[e]].name,
    reader: model.readers[model.reader[e]].name,
    kind: model.readers[model.reader[e]].kind,
    node: model.nodes[model.target[e]].name,
    score: model.score && model.score[e],
    exact: model.exact && model.exact[e],
    in_circuit: has(e, IN_A),
    in_other: has(e, IN_B),
    in_reference: has(e, IN_REFERENCE),
  }));
}

/** The nodes that the rows touch, in index order. */
function touched(app, edges) {
  const names = new Set(edges.flatMap(({ writer, node }) => [writer, node]));
  return app.model.nodes.filter(({ name }) => names.has(name));
}

/** Comma-separated values with a header line, one line for each edge. */
export function csv(app) {
  const lines = [CSV, ...rows(app).map((row) => CSV.map((name) => text(row[name])))];
  return lines.map((line) => `${line.join(",")}\n`).join("");
}

/** GraphML with parallel edges: one for each of q, k and v. */
export function graphml(app) {
  const edges = rows(app);
  const role = ({ name }) => app.roles.get(app.model.nodeIndex.get(name)) || "";
  const nodes = touched(app, edges).map((node) => ({ ...node, role: role(node) }));
  return filled(GRAPHML.file, { nodes: elements("node", nodes), edges: elements("edge", edges) });
}

/** Elements of GraphML, data of which nothing is known left out. */
function elements(name, values) {
  const escaped = (value) => Object.fromEntries(Object.entries(value).map(([key, one]) => [key, xml(text(one))]));
  const found = values.map((value) => filled(GRAPHML[name], escaped(value)));
  return found.join("").replaceAll(new RegExp(GRAPHML.empty, "g"), "");
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
  const crowd = crowdOf(edges.length);
  const line = ({ edge, writer, node, kind, score }) =>
    filled(DOT.edge, {
      writer: quoted(writer),
      node: quoted(node),
      colour: quoted(score === null ? "#5b6b7d" : score < 0 ? "#c85a00" : "#0f68b0"),
      line: DOT.lines[kind],
      end: DOT.ends[kind],
      width: look(strength(score, app.largest()), crowd).width.toFixed(2),
      tooltip: quoted(told(edge, score, " ")),
      label: kind && filled(DOT.label, { kind }),
    });
  return filled(DOT.file, {
    title: quoted(app.model.doc.title),
    facts: "",
    ranks: [...ranks.values()].map((names) => filled(DOT.rank, { names: names.join("; ") })).join(""),
    edges: edges.map(line).join(""),
  });
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
  const links = new Map();
  for (const { writer, node, score } of edges) {
    const link = links.get(`${writer} ${node}`) || { source: writer, target: node, weight: 0 };
    links.set(`${writer} ${node}`, { ...link, weight: link.weight + (score === null ? 1 : score) });
  }
  const nodes = touched(app, edges);
  const names = new Set(nodes.map(({ name }) => name));
  const groups = app.roleGroups().map((role) => [role.name, ...role.names.filter((one) => names.has(one))]);
  const value = {
    metadata: { ...NEURONPEDIA.metadata, scan: doc.model, prompt_tokens: tokens, prompt: tokens.join("") },
    qParams: { ...NEURONPEDIA.qParams, supernodes: groups.filter((group) => group.length > 1) },
    nodes: nodes.map((node) => neuronpediaNode(node, app.model.layers, tokens.length - 1)),
    links: [...links.values()].map((link) => (Number.isFinite(link.weight) ? link : { ...link, weight: 0 })),
  };
  return `${JSON.stringify(value, null, 1)}\n`;
}

/** Layers count from 1, attention and MLP one each, because a graph whose layers are all 0 is not read. */
function neuronpediaNode({ name, kind, layer, head }, layers, last) {
  const places = { input: "E", head: 2 * layer + 1, mlp: 2 * layer + 2, logits: 2 * layers + 1 };
  return {
    node_id: name,
    feature: Math.max(0, head),
    layer: String(places[kind]),
    ctx_idx: last,
    feature_type: FEATURE_TYPES[kind],
    jsNodeId: name,
    // The label of a logit is read up to "(p=": a circuit knows no probability, so it has none.
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

/** The text with the value of each hole in its place. */
function filled(template, values) {
  return template.replace(/\$(\w+)/g, (_, name) => values[name]);
}

/** A value as text that gives the same value back, or nothing. */
function text(value) {
  if (value === null || Number.isNaN(value)) return "";
  return value === Infinity ? "INF" : value === -Infinity ? "-INF" : String(value);
}

function quoted(name) {
  return `"${name.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}

/** Text inside XML; characters that XML cannot hold are replaced. */
function xml(words) {
  const named = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
  return words.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "\ufffd").replace(/[&<>"]/g, (one) => named[one]);
}
