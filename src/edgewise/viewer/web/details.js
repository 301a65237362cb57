// The panel about the chosen node or edge, and the few lines that follow the pointer.

import { attentionPart } from "./attention.js";
import { edgeName } from "./data.js";
import { el, percent, refill, signed } from "./dom.js";
import { edgeFacts, neighbours } from "./facts.js";

const LISTED = 12;

/** Fills the panel: about a node, an edge, or how to select one. */
export function showDetails(panel, app, state) {
  const { model } = app;
  const node = state.focus === null ? undefined : model.nodeIndex.get(state.focus);
  if (node !== undefined) return refill(panel, aboutNode(app, state, node));
  const edge = state.focus === null ? null : app.edgeNamed(state.focus);
  if (edge !== null && edge !== undefined) return refill(panel, aboutEdge(app, state, edge));
  const words =
    state.focus === null
      ? "Select a node or an edge to see what leads to it and where it leads."
      : "The selected node or edge is not on this page.";
  return refill(panel, el("p", { class: "hint", text: words }));
}

function aboutNode(app, state, node) {
  const { model } = app;
  const { name } = model.nodes[node];
  const { inputs, outputs } = neighbours(model, app.cut, node);
  const note = el("textarea", {
    rows: 2,
    placeholder: "A note on this node …",
    "aria-label": `note on ${name}`,
    value: state.notes[name] || "",
    dir: "auto",
    onchange: () => app.note(name, note.value),
  });
  return [
    el("h3", {}, name, el("bdi", { class: "role", text: app.roles.get(node) || "" })),
    reach(app, state),
    roleField(app, name),
    note,
    attentionPart(app, name),
    list(app, "Reads from", inputs, (e) => `${model.nodes[model.writer[e]].name}${suffix(model, e)}`),
    list(app, "Writes to", outputs, (e) => model.readers[model.reader[e]].name),
  ];
}

function suffix(model, e) {
  const { kind } = model.readers[model.reader[e]];
  return kind ? ` → ${kind}` : "";
}

function aboutEdge(app, state, edge) {
  const rows = edgeFacts(app.model, edge, app.rank(edge));
  return [el("h3", { text: edgeName(app.model, edge) }), reach(app, state), table(rows)];
}

/** Rows [label, text] as a table. */
export function table(rows) {
  return el(
    "table",
    { class: "facts" },
    rows.map(([label, text]) => el("tr", {}, el("th", { scope: "row", text: label }), el("td", { dir: "auto", text }))),
  );
}

/** Which way to look from what is chosen. */
function reach(app, state) {
  const options = [
    ["back", "← leads here"],
    ["both", "both ways"],
    ["on", "leads on →"],
  ];
  const button = ([value, text]) =>
    el("button", {
      type: "button",
      text,
      "aria-pressed": String(state.reach === value),
      onclick: () => app.store.set({ reach: value }),
    });
  const clear = el("button", {
    type: "button",
    class: "clear",
    text: "✕",
    title: "show all again (Escape)",
    "aria-label": "show all again",
    onclick: () => app.store.set({ focus: null }),
  });
  return el("div", { class: "field toggles", role: "group", "aria-label": "isolate paths" }, options.map(button), clear);
}

function roleField(app, name) {
  const known = [...new Set(app.roleNames())].map((role) => el("option", { value: role }));
  const id = `roles-${name}`;
  const box = el("input", {
    list: id,
    placeholder: "a role …",
    "aria-label": `role of ${name}`,
    dir: "auto",
    value: app.handRole(name),
    onchange: () => app.assign(name, box.value),
  });
  return el("label", { class: "field" }, el("span", { text: "role" }), box, el("datalist", { id }, known));
}

function list(app, title, entries, label) {
  const bar = ({ edge, share }) => {
    const hurts = app.model.value && app.model.value[edge] < 0;
    const row = el(
      "button",
      {
        type: "button",
        class: "share",
        onclick: () => app.store.set({ focus: edgeName(app.model, edge) }),
        onpointerenter: () => app.point([edge]),
        onpointerleave: () => app.point([]),
        onfocus: () => app.point([edge]),
        onblur: () => app.point([]),
      },
      el("span", { class: "name", text: label(edge) }),
      el("span", {
        class: "value",
        text: app.model.value ? `${signed(app.model.value[edge])}  ${share === null ? "" : percent(share)}` : "",
      }),
    );
    row.style.setProperty("--share", `${100 * (share || 0)}%`);
    row.classList.toggle("hurts", Boolean(hurts));
    return el("li", {}, row);
  };
  const more =
    entries.length > LISTED ? el("p", { class: "hint", text: `and ${entries.length - LISTED} more in the table` }) : null;
  return el(
    "section",
    {},
    el("h4", { text: `${title} (${entries.length})` }),
    el("ul", { class: "shares" }, entries.slice(0, LISTED).map(bar)),
    more,
  );
}

/** The lines beside the pointer. */
export function tipLines(app, { node, edge }) {
  const { model } = app;
  if (node !== null) {
    const { inputs, outputs } = neighbours(model, app.shown, node);
    const best = (entries, name) =>
      entries
        .slice(0, 3)
        .map(({ edge: e, share }) => `${name(e)}${share === null ? "" : ` ${percent(share)}`}`)
        .join(", ");
    const rows = [[model.nodes[node].name, app.roles.get(node) || ""]];
    if (inputs.length)
      rows.push([`${inputs.length} in`, best(inputs, (e) => `${model.nodes[model.writer[e]].name}${suffix(model, e)}`)]);
    if (outputs.length) rows.push([`${outputs.length} out`, best(outputs, (e) => model.readers[model.reader[e]].name)]);
    const note = app.store.get().notes[model.nodes[node].name];
    return note ? [...rows, ["note", note.slice(0, 200)]] : rows;
  }
  return [[edgeName(model, edge), ""], ...edgeFacts(model, edge, app.rank(edge))];
}
