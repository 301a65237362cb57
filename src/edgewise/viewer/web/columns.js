// Which column each head stands in: its own, or, where only used heads are drawn, the one where edges cross least.

const SWEEPS = 8;

/** Nodes at an end of one of the edges. */
export function touchedNodes(model, edges) {
  const found = new Set();
  for (const e of edges) {
    found.add(model.writer[e]);
    for (const node of model.readers[model.reader[e]].nodes) found.add(node);
  }
  return found;
}

/** Node -> column. With `touched` nodes only these have one; heads that share a key and a value keep their own columns. */
export function headPlaces(model, rows, touched, edges) {
  const heads = model.nodes.filter((node) => node.kind === "head" && rows.includes(node.layer));
  if (!touched) return new Map(heads.map((node) => [node, node.head]));
  if (model.doc.graph.heads !== model.doc.graph.kv_heads) return closed(heads, model, touched);
  return ordered(
    model,
    heads.filter((node) => touched.has(model.nodeIndex.get(node.name))),
    edges,
  );
}

/** Columns of which some head is used, closed up. */
function closed(heads, model, touched) {
  const group = model.doc.graph.heads / model.doc.graph.kv_heads;
  const of = (node) => Math.floor(node.head / group);
  const groups = new Set(heads.filter((node) => touched.has(model.nodeIndex.get(node.name))).map(of));
  const columns = [...new Set(heads.filter((node) => groups.has(of(node))).map((node) => node.head))].sort((a, b) => a - b);
  return new Map(heads.filter((node) => columns.includes(node.head)).map((node) => [node, columns.indexOf(node.head)]));
}

/** Each row in the order of the means of what its heads are joined with, swept a few times; rows are centred. */
function ordered(model, heads, edges) {
  const rows = grouped(heads);
  const width = Math.max(1, ...[...rows.values()].map((row) => row.length));
  const place = new Map();
  const settle = (row) => row.forEach((node, i) => place.set(node, i + (width - row.length) / 2));
  rows.forEach(settle);
  const joined = neighboursOf(model, edges, place);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    for (const row of sweep % 2 ? [...rows.values()].reverse() : rows.values()) {
      const wish = new Map(row.map((node) => [node, mean(joined.get(node), place)]));
      row.sort((a, b) => wish.get(a) - wish.get(b) || a.head - b.head);
      settle(row);
    }
  }
  return place;
}

function neighboursOf(model, edges, place) {
  const found = new Map([...place.keys()].map((node) => [node, [node]]));
  for (const e of edges) {
    const from = model.nodes[model.writer[e]];
    const to = model.nodes[model.target[e]];
    if (!place.has(from) || !place.has(to)) continue;
    found.get(from).push(to);
    found.get(to).push(from);
  }
  return found;
}

function mean(nodes, place) {
  return nodes.reduce((sum, node) => sum + place.get(node), 0) / nodes.length;
}

function grouped(heads) {
  const rows = new Map();
  for (const node of heads) rows.set(node.layer, [...(rows.get(node.layer) || []), node]);
  return rows;
}
