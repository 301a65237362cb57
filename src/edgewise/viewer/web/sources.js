// Where it all comes from: facts, metrics, example prompts and the command that repeats the run, for each circuit.

import { IN_B, IN_REFERENCE } from "./data.js";
import { copyButton, el, percent, scrolled, whole } from "./dom.js";
import { table } from "./details.js";
import { comparison, recovery } from "./facts.js";

/** The parts of the panel, one for each circuit of the page. */
export function sources(model) {
  const { circuits } = model.doc;
  const letters = { a: "A", b: "B", reference: "Reference" };
  return circuits.map((one) => {
    const title = circuits.length > 1 ? `${letters[one.key]}: ${one.label}` : one.label;
    return el(
      "section",
      { class: "source" },
      el("h3", { dir: "auto", text: title }),
      metrics(one),
      table(one.facts),
      examples(one),
      repeat(one),
    );
  });
}

/** How two circuits of the page compare: A with B, and A with the reference. */
export function comparisons(model) {
  const has = (key) => model.doc.circuits.find((one) => one.key === key);
  const parts = [];
  if (has("b")) {
    const { first, second, both, jaccard } = comparison(model, IN_B);
    const named = (letter, one) => el("p", { class: "named", dir: "auto", text: `${letter}: ${one.label}` });
    parts.push(named("A", has("a")), named("B", has("b")));
    parts.push(
      counts(
        "A and B",
        [
          ["only-a", "only in A", first],
          ["only-b", "only in B", second],
          ["both", "in both", both],
        ],
        `Jaccard ${jaccard.toFixed(3)}`,
      ),
    );
    parts.push(beside(has("a"), has("b")));
  }
  if (has("reference")) {
    const found = comparison(model, IN_REFERENCE);
    const rows = [
      ["both", "true: in the reference too", found.both],
      ["only-b", "missed: only in the reference", found.second],
      ["only-a", "false: not in the reference", found.first],
    ];
    parts.push(counts("Circuit and reference", rows, `${recovery(found)}, Jaccard ${found.jaccard.toFixed(3)}`));
  }
  return parts.filter(Boolean);
}

function counts(title, rows, sum) {
  const row = ([name, text, count]) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, el("span", { class: `swatch ${name}`, "aria-hidden": "true" }), text),
      el("td", { text: whole(count) }),
    );
  return el(
    "section",
    {},
    el("h3", { text: title }),
    el("table", { class: "facts counts" }, rows.map(row)),
    el("p", { class: "sum", text: sum }),
  );
}

/** The metrics that two circuits share, side by side. */
function beside(a, b) {
  const shared = a.metrics.filter((one) => b.metrics.some((other) => other.name === one.name));
  if (!shared.length) return null;
  const row = (one) => {
    const other = b.metrics.find(({ name }) => name === one.name);
    return el(
      "tr",
      {},
      el("th", { scope: "row", text: one.name }),
      el("td", { text: percent(one.faithfulness) }),
      el("td", { text: percent(other.faithfulness) }),
    );
  };
  return el("table", { class: "metrics" }, head(["faithfulness", "A", "B"]), shared.map(row));
}

function metrics({ metrics: all, judged }) {
  if (!all.length) return null;
  const number = (value) => (value === null ? "–" : String(Number(value.toPrecision(4))));
  const row = (one) =>
    el(
      "tr",
      {},
      el("th", { scope: "row", text: one.name }),
      [one.clean, one.corrupted, one.circuit].map((value) => el("td", { text: number(value) })),
      [one.faithfulness, one.random_faithfulness].map((value) => el("td", { text: percent(value) })),
    );
  const columns = ["metric", "clean", "corrupted", "circuit", "faithful", "random"];
  return [
    el("table", { class: "metrics" }, head(columns), all.map(row)),
    judged ? el("p", { text: judged }) : null,
    copyButton("Copy the table", () => tabbed(all)),
  ];
}

/** The metrics with tabs between the cells; numbers in full, shares as such. */
function tabbed(all) {
  const columns = Object.keys(all[0]);
  const cell = (value) => (value === null ? "" : String(value));
  return [columns, ...all.map((one) => columns.map((name) => cell(one[name])))].map((line) => `${line.join("\t")}\n`).join("");
}

function head(names) {
  return el(
    "tr",
    {},
    names.map((text) => el("th", { scope: "col", text })),
  );
}

function examples({ examples: all }) {
  if (!all.length) return null;
  return el(
    "div",
    { class: "examples" },
    el("h4", { text: "Example prompts" }),
    all.map((one) =>
      el(
        "dl",
        {},
        prompt("clean", one.clean, one.corrupted, one.correct, "right"),
        prompt("corrupted", one.corrupted, one.clean, one.wrong, "wrong"),
      ),
    ),
  );
}

/** One prompt, the tokens in which it differs from its twin marked, and its answers. */
function prompt(label, tokens, twin, answers, kind) {
  const word = (text, i) => (twin.length && text !== twin[i] ? el("mark", { text }) : text);
  const list = answers.length
    ? el(
        "span",
        { class: `answers ${kind}`, title: `${kind} answers` },
        answers.map((text) => el("bdi", { text })),
      )
    : null;
  return [el("dt", { text: label }), el("dd", { dir: "auto", ...scrolled(tokens.join("")) }, tokens.map(word), list)];
}

function repeat({ repeat: command }) {
  if (!command) return null;
  const copy = copyButton("Copy", () => command);
  return el("div", { class: "repeat" }, el("h4", { text: "To repeat this run" }), el("code", { dir: "ltr", text: command }), copy);
}
