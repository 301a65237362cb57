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

/** Node -> column. With `touched` nodes only these have one; heads that share a key and a value come together. */
export function headPlaces(model, rows, touched, edges) {
  const heads = model.nodes.filter((node) => node.kind === "head" && rows.includes(node.layer));
  if (!touched) return new Map(heads.map((node) => [node, node.head]));
  return ordered(model, unitsOf(model, heads, touched), edges);
}

/** The heads that share a key and a value, or single ones, of which some are touched: rows of units, from below. */
function unitsOf(model, heads, touched) {
  const size = model.doc.graph.heads / model.doc.graph.kv_heads;
  const units = new Map();
  for (const node of heads) {
    const key = `${node.layer} ${Math.floor(node.head / size)}`;
    units.set(key, [...(units.get(key) || []), node]);
  }
  const rows = new Map();
  for (const unit of units.values()) {
    if (!unit.some((node) => touched.has(model.nodeIndex.get(node.name)))) continue;
    rows.set(unit[0].layer, [...(rows.get(unit[0].layer) || []), unit]);
  }
  return [...rows.values()];
}

/**
 * Each row in the order of the means of what its units are joined with, swept a few times; rows are centred. A row with all heads
 * of its layer stays in their order, where people look for them.
 */
function ordered(model, rows, edges) {
  const width = Math.max(1, ...rows.map((row) => row.length));
  const place = new Map();
  const settle = (row) =>
    row.forEach((unit, i) => unit.forEach((node, j) => place.set(node, (i + (width - row.length) / 2) * unit.length + j)));
  rows.forEach(settle);
  const joined = neighboursOf(model, edges, place);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    for (const row of sweep % 2 ? [...rows].reverse() : rows) {
      if (row.flat().length === model.doc.graph.heads) continue;
      const wish = new Map(row.map((unit) => [unit, mean(unit.flatMap((node) => joined.get(node)), place)]));
      row.sort((a, b) => wish.get(a) - wish.get(b) || a[0].head - b[0].head);
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
