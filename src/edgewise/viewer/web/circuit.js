// The shown edges as a circuit file, which edgewise opens, evaluates and compares like one that it has written itself.

import { edgeName } from "./data.js";
import { toHash } from "./state.js";
import { DOCUMENT } from "./templates.js";

/** The JSON of the circuit; `page` in its provenance says how it was cut, in the words of the page's address. */
export function circuit(app) {
  const { doc } = app.model;
  const value = { ...DOCUMENT, graph: doc.graph, provenance: provenance(app), edges: inIndexOrder(app) };
  return `${JSON.stringify(value, null, 1)}\n`;
}

/** Edges reader by reader, as in every file of edgewise. */
function inIndexOrder({ model, shown }) {
  const { reader, writer } = model;
  const order = Array.from(shown).sort((a, b) => reader[a] - reader[b] || writer[a] - writer[b]);
  return order.map((e) => edgeName(model, e));
}

function provenance({ model, store, start, cut, shown }) {
  const state = store.get();
  const page = { scope: state.scope, ranking: state.ranking, edges: shown.length, address: toHash(state, start) };
  // Edges of two circuits come from more than what is known of the first.
  const known = state.scope === "compare" || state.scope === "reference" ? {} : model.doc.provenance;
  const top = state.scope === "scores" && shown.length === cut.length && model.score;
  const selection = { select: "top", n: cut.length, absolute: state.ranking === "absolute" };
  return { ...known, ...(top ? { selection } : {}), page };
}
