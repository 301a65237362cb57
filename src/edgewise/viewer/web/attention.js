// Where a head attends in the example prompts: the prompt, shaded by the weights of one position, and all weights as a picture.

import { bytes } from "./data.js";
import { el, percent, svg } from "./dom.js";

const SHADES = 10; // weights of one shade are one shape
const NAMED = 3; // so many tokens are named in words

/** The weights of a head in a prompt, `at(query, key)`, or null where they were not kept. */
export function attentionOf(doc, name, prompt) {
  const texts = doc.attention && doc.attention.heads[name];
  if (!texts) return null;
  const weights = new Uint8Array(bytes(texts[prompt]));
  const { tokens, answer } = doc.attention.prompts[prompt];
  return { tokens, answer, at: (query, key) => (key > query ? 0 : weights[(query * (query + 1)) / 2 + key] / 255) };
}

/** The part of the panel about a head; nothing for other nodes, and where the page has no attention at all. */
export function attentionPart(app, name) {
  const { doc, nodes, nodeIndex } = app.model;
  if (!doc.attention || nodes[nodeIndex.get(name)].kind !== "head") return null;
  const title = el("h4", { text: "Attends to" });
  const prompt = app.prompt || 0;
  if (!attentionOf(doc, name, prompt)) return el("section", {}, title, el("p", { class: "hint", text: "Not kept for this head." }));
  const body = el("div", { class: "attention" });
  fill(app, body, name, prompt, null);
  return el("section", {}, title, choice(app, body, name, prompt), body);
}

/** Which of the prompts; nothing to choose where there is one. */
function choice(app, body, name, prompt) {
  const { prompts } = app.model.doc.attention;
  if (prompts.length < 2) return null;
  const box = el(
    "select",
    {
      "aria-label": `prompt in which ${name} is shown`,
      onchange: () => {
        app.prompt = Number(box.value);
        fill(app, body, name, app.prompt, null);
      },
    },
    prompts.map(({ tokens }, i) => el("option", { value: String(i), text: `prompt ${i + 1}: ${tokens.join("").trim().slice(0, 40)}…` })),
  );
  box.value = String(prompt);
  return box;
}

/** Draws one prompt; `from` is the position whose weights shade it, by default where the answer is read. */
function fill(app, body, name, prompt, from) {
  const seen = attentionOf(app.model.doc, name, prompt);
  const query = from === null ? seen.answer : from;
  const choose = (position) => {
    fill(app, body, name, prompt, position);
    body.querySelector(`[data-position="${position}"]`).focus({ preventScroll: true });
  };
  body.replaceChildren(words(seen, query, choose), said(seen, query), picture(seen, query, name, choose));
}

function words({ tokens, at }, query, choose) {
  const word = (text, position) => {
    const weight = at(query, position);
    const button = el("button", {
      type: "button",
      text: asWord(text),
      title: `${percent(weight)} of its attention`,
      "data-position": String(position),
      "aria-pressed": String(position === query),
      onclick: () => choose(position),
    });
    button.style.setProperty("--weight", `${Math.round(45 * weight)}%`);
    return button;
  };
  return el("p", { class: "words", dir: "auto", "aria-label": "positions to look from" }, tokens.map(word));
}

/** In words, for those who do not see shades. */
function said({ tokens, at }, query) {
  const order = tokens.map((_, i) => i).slice(0, query + 1);
  order.sort((a, b) => at(query, b) - at(query, a));
  const named = order.slice(0, NAMED).map((i) => `“${asWord(tokens[i])}” ${percent(at(query, i))}`);
  return el("p", { class: "hint", dir: "auto", text: `From “${asWord(tokens[query])}”: ${named.join(", ")}.` });
}

/** All weights: positions that look go down, those looked at to the right. */
function picture({ tokens, at }, query, name, choose) {
  const count = tokens.length;
  const shapes = Array.from({ length: SHADES + 1 }, () => "");
  for (let row = 0; row < count; row += 1) {
    for (let column = 0; column <= row; column += 1) {
      shapes[Math.round(SHADES * at(row, column))] += `M${column} ${row}h1v1h-1z`;
    }
  }
  const shade = (d, i) => (d && i ? svg("path", { d, "fill-opacity": String(i / SHADES) }) : null);
  const frame = svg("path", { class: "frame", d: `M0 0h${count}v${count}h-${count}z` });
  const line = svg("rect", { class: "line", x: "0", y: String(query), width: String(count), height: "1" });
  const drawn = svg(
    "svg",
    { viewBox: `-0.5 -0.5 ${count + 1} ${count + 1}`, role: "img", "aria-label": `where ${name} attends, position by position` },
    shapes.map(shade),
    frame,
    line,
  );
  drawn.addEventListener("click", (event) => {
    const room = drawn.getBoundingClientRect();
    const row = Math.floor(((event.clientY - room.top) / room.height) * (count + 1) - 0.5);
    if (row >= 0 && row < count) choose(row);
  });
  return drawn;
}

/** A token as one word: one of spaces gets a sign. */
function asWord(token) {
  return token.trim() || "␣";
}
