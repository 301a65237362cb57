// What the reader has chosen, as one plain value that goes into the address of the page and comes back from it.

export const KINDS = ["q", "k", "v", "o"]; // o: into an MLP or the logits
export const SIGNS = ["+", "-"];
const READABLE_LAYERS = 12; // of larger models, layers and heads without an edge are folded away at first

/** The state of a page nobody has touched. */
export function initialState(model) {
  const [first, ...others] = scopes(model).map((one) => one.name);
  return {
    // Whoever lays a second circuit over the first wants to see both.
    scope: first === "circuit" && others.includes("compare") ? "compare" : first,
    n: null, // null: as many as the scope shows at first
    ranking: model.doc.ranking,
    kinds: "qkvo",
    signs: "+-",
    low: 0,
    high: model.layers - 1,
    paths: "all", // all, or only edges on a path from input to logits
    focus: null, // a node's or an edge's name
    reach: "both", // back, on or both
    query: "",
    view: null, // [x, y, scale]; null: everything
    columns: model.layers > READABLE_LAYERS ? "folded" : "all", // all heads, those of the circuit, or those of the cut
    theme: "auto",
    panel: "picture", // picture or table
    sort: "", // a column of the table, "-" before it: from high to low; empty: the order of the slider
    roles: {}, // role -> names, made by hand
    folded: [], // roles drawn as one node
    notes: {}, // node -> text
  };
}

/** The sets of edges that can be cut: [{name, label, flags}], flags 0 for all. */
export function scopes(model) {
  const has = (key) => model.doc.circuits.some((one) => one.key === key);
  const circuit = model.doc.circuits[0].described !== "scores, no circuit";
  const found = [];
  if (circuit) found.push({ name: "circuit", label: "of the circuit", flags: 1 });
  if (model.score) found.push({ name: "scores", label: "of all scored edges", flags: 0 });
  if (has("b")) found.push({ name: "compare", label: "of A and B", flags: 3 });
  if (has("reference")) found.push({ name: "reference", label: "of circuit and reference", flags: 5 });
  return found;
}

/** The state as the part of the address after `#`: only what differs from the initial state. */
export function toHash(state, start) {
  const words = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    const text = JSON.stringify(value);
    if (text !== JSON.stringify(start[key])) words.set(key, typeof value === "string" ? value : text);
  }
  return words.toString();
}

/** The state in the part of an address after `#`; what is not usable there is left as it starts. */
export function fromHash(hash, start) {
  const state = { ...start };
  for (const [key, text] of new URLSearchParams(hash.replace(/^#/, ""))) {
    if (Object.hasOwn(CHECKS, key)) {
      const value = Object.hasOwn(TEXTS, key) ? text : parsed(text);
      if (CHECKS[key](value, start)) state[key] = value;
    }
  }
  return state;
}

/** A value with listeners: `get()`, `set(changes)`, `listen(function)`. */
export function createStore(start) {
  let state = start;
  const listeners = [];
  return {
    get: () => state,
    set(changes) {
      const before = state;
      state = { ...state, ...changes };
      for (const listener of listeners) listener(state, before);
    },
    listen: (listener) => listeners.push(listener),
  };
}

const TEXTS = {
  scope: 1,
  ranking: 1,
  kinds: 1,
  signs: 1,
  paths: 1,
  focus: 1,
  reach: 1,
  query: 1,
  columns: 1,
  theme: 1,
  panel: 1,
  sort: 1,
};

const oneOf =
  (...known) =>
  (value) =>
    known.includes(value);
const isText = (value) => typeof value === "string";
const isPlain = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const isCount = (value) => Number.isInteger(value) && value >= 0;
const isTexts = (value) => Array.isArray(value) && value.every(isText);

const CHECKS = {
  scope: oneOf("circuit", "scores", "compare", "reference"),
  n: isCount,
  ranking: oneOf("absolute", "signed"),
  kinds: (value) => isText(value) && [...value].every((kind) => KINDS.includes(kind)),
  signs: (value) => isText(value) && [...value].every((sign) => SIGNS.includes(sign)),
  low: isCount,
  high: isCount,
  paths: oneOf("all", "only"),
  focus: isText,
  reach: oneOf("back", "on", "both"),
  query: isText,
  view: (value) => Array.isArray(value) && value.length === 3 && value.every(Number.isFinite) && value[2] > 0,
  columns: oneOf("all", "folded", "used"),
  theme: oneOf("auto", "light", "dark"),
  panel: oneOf("picture", "table"),
  sort: isText,
  roles: (value) => isPlain(value) && Object.values(value).every(isTexts),
  folded: isTexts,
  notes: (value) => isPlain(value) && Object.values(value).every(isText),
};

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
