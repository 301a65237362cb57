// The same edges as a table, for screen readers and for people who like tables: sorted by any column, and copied as a whole.

import { edgeName } from "./data.js";
import { copyButton, el, refill, signed, whole } from "./dom.js";
import { circuitsWith } from "./facts.js";

const PAGE = 200;

/** Fills the panel with the shown edges, a page of them at a time, in the slider's order or in that of the state's column. */
export function showTable(panel, app, from = 0) {
  const columns = columnsOf(app.model);
  const { key, down } = sorting(app.store.get().sort, columns);
  const order = sorted(app, columns.find((column) => column.key === key), down);
  const rows = order.slice(from, from + PAGE).map((i) => row(app, i, columns));
  const to = Math.min(from + PAGE, order.length);
  const by = key ? `sorted by ${columns.find((column) => column.key === key).title}` : "in the slider's order";
  const caption = `Edges ${whole(Math.min(from + 1, to))} to ${whole(to)} of ${whole(order.length)}, ${by}`;
  const move = (text, start) =>
    el("button", {
      type: "button",
      text,
      disabled: start < 0 || start >= order.length,
      onclick: () => showTable(panel, app, start),
    });
  const heads = [{ key: "", title: "#" }, ...columns].map((column) => head(app, column, { key, down }));
  refill(
    panel,
    el(
      "div",
      { class: "row" },
      move("Previous", from - PAGE),
      move("Next", from + PAGE),
      copyButton("Copy all rows", () => tabbed(app, order, columns)),
    ),
    el("table", {}, el("caption", { text: caption }), el("thead", {}, el("tr", {}, heads)), el("tbody", {}, rows)),
  );
}

/** The columns: what a cell says, and what it is sorted by. */
function columnsOf(model) {
  const number = (key, title, values) => values && { key, title, text: (e) => signed(values[e]), value: (e) => values[e] };
  const words = (key, title, text) => ({ key, title, text, value: text });
  return [
    words("edge", "edge", (e) => edgeName(model, e)),
    words("into", "into", (e) => model.readers[model.reader[e]].kind || "–"),
    number("score", "score", model.score),
    number("exact", "exact", model.exact),
    number("other", "score in B", model.other),
    model.doc.circuits.length > 1 && words("in", "in", (e) => circuitsWith(model, e)),
  ].filter(Boolean);
}

/** The column of the state's word, and whether from high to low: `score` up, `-score` down, empty for the slider's order. */
function sorting(word, columns) {
  const key = word.replace(/^-/, "");
  return columns.some((column) => column.key === key) ? { key, down: word.startsWith("-") } : { key: "", down: false };
}

/** Places in the slider's order; numbers that are not known come last, and what is alike stays in that order. */
function sorted({ shown }, column, down) {
  const order = Array.from(shown, (_, i) => i);
  if (!column) return order;
  const values = order.map((i) => column.value(shown[i]));
  const unknown = (value) => Number.isNaN(value);
  return order.sort((a, b) => {
    const [x, y] = [values[a], values[b]];
    if (unknown(x) || unknown(y)) return unknown(x) - unknown(y) || a - b;
    return (down ? -1 : 1) * (typeof x === "string" ? natural.compare(x, y) : x - y || 0) || a - b;
  });
}

const natural = new Intl.Collator("en", { numeric: true });

/** The head of a column: a button that sorts by it, numbers from the highest at first, and turns the order at the next press. */
function head(app, column, { key, down }) {
  const chosen = column.key === key;
  const first = ["score", "exact", "other"].includes(column.key) ? `-${column.key}` : column.key;
  const turned = down ? column.key : `-${column.key}`;
  const sort = column.key && chosen ? turned : first;
  const arrow = chosen && column.key ? (down ? " ↓" : " ↑") : "";
  const title = column.key ? `sort by ${column.title}` : "the slider's order";
  return el(
    "th",
    { scope: "col", "aria-sort": chosen && column.key ? (down ? "descending" : "ascending") : null },
    el("button", { type: "button", class: "link", title, text: `${column.title}${arrow}`, onclick: () => app.store.set({ sort }) }),
  );
}

/** All rows with tabs between their cells, as spreadsheets take them; numbers in full. */
function tabbed({ shown }, order, columns) {
  const cell = ({ text, value }, e) => (typeof value(e) === "number" ? String(value(e)) : text(e));
  const lines = order.map((i) => [i + 1, ...columns.map((column) => cell(column, shown[i]))]);
  return [["#", ...columns.map(({ title }) => title)], ...lines].map((line) => `${line.join("\t")}\n`).join("");
}

function row(app, i, columns) {
  const e = app.shown[i];
  const name = edgeName(app.model, e);
  const cell = ({ key, text }) => {
    const words = text(e);
    if (key === "edge") {
      const link = el("button", { type: "button", class: "link", text: words, onclick: () => app.focus(name) });
      return el("th", { scope: "row" }, link);
    }
    return el("td", { class: key === "score" && words.startsWith("−") ? "hurts" : "", text: words });
  };
  return el("tr", {}, el("td", { text: whole(i + 1) }), columns.map(cell));
}
