// The page's document as typed arrays: nodes, readers, edges in the order of their strength, and who feeds whom.

export const IN_A = 1;
export const IN_B = 2;
export const IN_REFERENCE = 4;
export const SCHEMA = "edgewise/page";
export const VERSION = 1;
export const INTO = "qkvo"; // what an edge goes into, `o` being an MLP or the logits; `model.into` holds the place in it

/** The document in a JSON text; an Error whose message a reader understands if it is none that this page can show. */
export function parseDocument(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`The data of this page are damaged: ${error.message}`);
  }
  const found = value === null || typeof value !== "object" ? null : value.schema;
  if (found !== SCHEMA) {
    throw new Error(`This page shows documents of the schema ${SCHEMA}; its data are ${JSON.stringify(found)}.`);
  }
  if (value.version !== VERSION) {
    throw new Error(`This page reads version ${VERSION} of its document, and its data are version ${value.version}.`);
  }
  return value;
}

/**
 * Typed arrays and indices over a parsed document. Edge `e` runs from node `writer[e]` into `readers[reader[e]]`, whose
 * first node is `target[e]`.
 */
export function openModel(doc) {
  const { edges } = doc;
  const model = {
    doc,
    nodes: doc.nodes,
    readers: doc.readers,
    count: edges.count,
    writer: new Uint16Array(bytes(edges.writer)),
    reader: new Uint16Array(bytes(edges.reader)),
    flags: new Uint8Array(bytes(edges.flags)),
    score: floats(edges.score),
    exact: floats(edges.exact),
    other: floats(edges.other),
    inputs: doc.nodes.flatMap((node, i) => (node.kind === "input" ? [i] : [])),
    logits: doc.nodes.length - 1,
    nodeIndex: new Map(doc.nodes.map((node, i) => [node.name, i])),
  };
  model.curves = doc.curves.map(({ metric, ranking, ...columns }) => ({
    metric,
    ranking,
    points: columns.edges.map((edges, i) => [edges, columns.faithfulness[i], columns.random[i]]),
  }));
  model.layers = Math.max(...doc.nodes.map((node) => node.layer)) + 1;
  model.heads = Math.max(...doc.nodes.map((node) => node.head)) + 1;
  model.value = strengths(model);
  model.target = Uint16Array.from(model.reader, (r) => doc.readers[r].nodes[0]);
  model.into = Uint8Array.from(model.reader, (r) => INTO.indexOf(doc.readers[r].kind || "o"));
  model.order = { absolute: ranked(model, Math.abs), signed: ranked(model, (x) => x) };
  return model;
}

/** `writer->reader`, the name of an edge. */
export function edgeName(model, edge) {
  return `${model.nodes[model.writer[edge]].name}->${model.readers[model.reader[edge]].name}`;
}

/**
 * Nodes whose name is or begins with what was typed: `a9.h6`, `m3`, `L9H6`, `9.6`, `l9`, or a role's name; of a shared key or
 * value (`a9.kv1`) the heads that have it.
 */
export function findNodes(model, query, roles = new Map()) {
  const wanted = query.trim().toLowerCase();
  if (!wanted) return [];
  const name = wanted
    .replace(/^l?(\d+)[h.](\d+)$/, "a$1.h$2")
    .replace(/^a(\d+)h(\d+)$/, "a$1.h$2")
    .replace(/^(?:mlp|m)\s*(\d+)$/, "m$1");
  const exact = model.nodeIndex.get(name);
  if (exact !== undefined) return [exact];
  const shared = model.readers.find((reader) => reader.nodes.length > 1 && [name, `${name}<k>`].includes(reader.name));
  if (shared) return shared.nodes;
  const layer = /^l(?:ayer)?\s*(\d+)$/.exec(wanted);
  const fits = (node, i) => {
    if (layer) return node.layer === Number(layer[1]);
    return node.name.startsWith(name) || (roles.get(i) || "").toLowerCase().includes(wanted);
  };
  return model.nodes.map((node, i) => (fits(node, i) ? i : -1)).filter((i) => i >= 0);
}

/** The bytes of a base64 text. */
export function bytes(base64) {
  const text = atob(base64);
  const found = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) found[i] = text.charCodeAt(i);
  return found.buffer;
}

function floats(base64) {
  return base64 === null ? null : new Float32Array(bytes(base64));
}

/** The number an edge is ranked by: its score, or, where the first finding has none, that of the second. */
function strengths(model) {
  const { score, other } = model;
  if (!score && !other) return null;
  const found = new Float32Array(model.count);
  for (let e = 0; e < model.count; e += 1) {
    const mine = score ? score[e] : NaN;
    const theirs = other ? other[e] : NaN;
    found[e] = Number.isNaN(mine) ? (Number.isNaN(theirs) ? 0 : theirs) : mine;
  }
  return found;
}

/** Edges in descending order of `key(score)`; ties as in Python, by the index of writer and then reader. */
function ranked(model, key) {
  const order = Uint32Array.from({ length: model.count }, (_, e) => e);
  if (!model.value) return order;
  const { value, writer, reader } = model;
  return order.sort((a, b) => {
    const difference = key(value[b]) - key(value[a]);
    return (Number.isNaN(difference) ? 0 : difference) || writer[a] - writer[b] || reader[a] - reader[b];
  });
}
