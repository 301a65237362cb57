// What is known of nodes and edges, as plain values: roles, shares, sentences for people who cannot see the picture.

import { IN_A, IN_B, IN_REFERENCE } from "./data.js";
import { feeds } from "./cut.js";
import { percent, signed, whole } from "./dom.js";

const KIND_WORDS = { q: "query", k: "key", v: "value" };

/** Role of each node: those given with the page, then those made by hand, which win. */
export function rolesOf(model, state) {
  const found = new Map();
  for (const [role, names] of [...Object.entries(model.doc.roles), ...Object.entries(state.roles)]) {
    for (const name of names) if (model.nodeIndex.has(name)) found.set(model.nodeIndex.get(name), readable(role));
  }
  return found;
}

/** `name_mover` as people write it. */
export function readable(role) {
  return role.replaceAll("_", " ");
}

/** All roles as [{name, nodes, mine}], those of the page first. */
export function roleList(model, state) {
  const given = Object.entries(model.doc.roles).map(([name, names]) => ({ key: name, names, mine: false }));
  const mine = Object.entries(state.roles).map(([name, names]) => ({ key: name, names, mine: true }));
  return [...given, ...mine].map(({ key, names, mine }) => ({
    key,
    mine,
    name: readable(key),
    nodes: names.map((one) => model.nodeIndex.get(one)).filter((i) => i !== undefined),
  }));
}

/** Edges into and out of a node, strongest first, each with its share of all of them. */
export function neighbours(model, edges, node) {
  const inputs = [];
  const outputs = [];
  for (const e of edges) {
    if (model.writer[e] === node) outputs.push(e);
    if (feeds(model, e).includes(node)) inputs.push(e);
  }
  return { inputs: shares(model, inputs), outputs: shares(model, outputs) };
}

function shares(model, edges) {
  const size = (e) => (model.value && Number.isFinite(model.value[e]) ? Math.abs(model.value[e]) : 0);
  const sum = edges.reduce((total, e) => total + size(e), 0);
  const found = edges.map((edge) => ({ edge, share: sum ? size(edge) / sum : null }));
  return found.sort((a, b) => b.share - a.share);
}

/** Lines [label, text] about an edge. */
export function edgeFacts(model, edge, rank) {
  const reader = model.readers[model.reader[edge]];
  const into = reader.kind ? `the ${KIND_WORDS[reader.kind]} of ${reader.name.split("<")[0]}` : reader.name;
  const found = [["goes into", into]];
  if (reader.nodes.length > 1) found.push(["shared by", reader.nodes.map((i) => model.nodes[i].name).join(", ")]);
  if (model.score) found.push(["score", `${signed(model.score[edge])}${model.score[edge] < 0 ? " (hurts)" : " (helps)"}`]);
  if (rank) found.push(["rank", whole(rank)]);
  if (model.exact) found.push(["exact effect", signed(model.exact[edge])]);
  if (model.other) found.push(["score in B", signed(model.other[edge])]);
  const names = circuitsWith(model, edge);
  if (names) found.push(["is in", names]);
  return found;
}

/** Which of the page's circuits have an edge, where there is more than one. */
export function circuitsWith(model, edge) {
  if (model.doc.circuits.length < 2) return "";
  const bits = { a: IN_A, b: IN_B, reference: IN_REFERENCE };
  const words = { a: "A", b: "B", reference: "the reference" };
  const found = model.doc.circuits.filter((one) => model.flags[edge] & bits[one.key]).map((one) => words[one.key]);
  return found.join(" and ") || "none";
}

/** How many edges go into and out of each node, and which readers they go into. */
export function degrees(model, edges) {
  const found = {
    inputs: new Uint32Array(model.nodes.length),
    outputs: new Uint32Array(model.nodes.length),
    readers: new Uint8Array(model.readers.length),
  };
  for (const e of edges) {
    found.outputs[model.writer[e]] += 1;
    found.readers[model.reader[e]] = 1;
    for (const node of feeds(model, e)) found.inputs[node] += 1;
  }
  return found;
}

/** One sentence about a node. */
export function nodeSentence({ name, kind }, role, inputs, outputs) {
  const words = kind === "head" ? `head ${name}` : kind === "mlp" ? `MLP ${name}` : name;
  return `${words}${role ? `, ${role}` : ""}: ${inputs} edge${inputs === 1 ? "" : "s"} in, ${outputs} out`;
}

/** Counts of a comparison: only in the first, only in the second, in both, and the Jaccard index. */
export function comparison(model, second) {
  const counts = { first: 0, second: 0, both: 0 };
  for (const flags of model.flags) {
    const [mine, theirs] = [flags & IN_A, flags & second];
    if (mine && theirs) counts.both += 1;
    else if (mine) counts.first += 1;
    else if (theirs) counts.second += 1;
  }
  const union = counts.first + counts.second + counts.both;
  return { ...counts, jaccard: union ? counts.both / union : 1 };
}

/** Precision and recall of the first against the second, as text. */
export function recovery({ first, second, both }) {
  const share = (a, b) => (a + b ? percent(a / (a + b)) : "–");
  return `recall ${share(both, second)}, precision ${share(both, first)}`;
}

/**
 * The curve for the state's scope and ranking, if there is one: of one circuit, not of two together. Where the circuit itself is
 * cut, it ends at what was measured of the circuit.
 */
export function curveOf(model, { scope, ranking }) {
  if (scope === "compare" || scope === "reference") return undefined;
  const found = model.curves.find((one) => one.ranking === ranking);
  if (!found || scope !== "circuit") return found;
  const [{ edges, metrics }] = model.doc.circuits;
  const last = metrics.find((one) => one.name === found.metric);
  if (!last || last.faithfulness === null) return found;
  const points = found.points.filter(([size]) => size < edges);
  return { ...found, points: [...points, [edges, last.faithfulness, last.random_faithfulness]] };
}
