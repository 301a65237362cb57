// The same edges as a table, for screen readers and for people who like tables.

import { edgeName } from "./data.js";
import { el, refill, signed, whole } from "./dom.js";
import { circuitsWith } from "./facts.js";

const PAGE = 200;

/** Fills the panel with the shown edges, strongest first, a page of them at a time. */
export function showTable(panel, app, from = 0) {
  const { model, shown } = app;
  const columns = [
    ["edge", (e) => edgeName(model, e)],
    ["into", (e) => model.readers[model.reader[e]].kind || "–"],
    ["score", (e) => (model.score ? signed(model.score[e]) : "–")],
    ["exact", model.exact && ((e) => signed(model.exact[e]))],
    ["score in B", model.other && ((e) => signed(model.other[e]))],
    ["in", model.doc.circuits.length > 1 && ((e) => circuitsWith(model, e))],
  ].filter(([, value]) => value);
  const rows = Array.from(shown.subarray(from, from + PAGE), (e, i) => row(app, e, from + i + 1, columns));
  const to = Math.min(from + PAGE, shown.length);
  const caption = `Edges ${whole(Math.min(from + 1, to))} to ${whole(to)} of ${whole(shown.length)}, in the slider's order`;
  const move = (text, start) =>
    el("button", {
      type: "button",
      text,
      disabled: start < 0 || start >= shown.length,
      onclick: () => showTable(panel, app, start),
    });
  refill(
    panel,
    el("div", { class: "row" }, move("Previous", from - PAGE), move("Next", from + PAGE)),
    el(
      "table",
      {},
      el("caption", { text: caption }),
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          ["#", ...columns.map(([name]) => name)].map((text) => el("th", { scope: "col", text })),
        ),
      ),
      el("tbody", {}, rows),
    ),
  );
}

function row(app, e, rank, columns) {
  const name = edgeName(app.model, e);
  const cell = ([label, value]) => {
    const text = value(e);
    if (label === "edge")
      return el("th", { scope: "row" }, el("button", { type: "button", class: "link", text, onclick: () => app.focus(name) }));
    return el("td", { class: label === "score" && text.startsWith("−") ? "hurts" : "", text });
  };
  return el("tr", {}, el("td", { text: whole(rank) }), columns.map(cell));
}
