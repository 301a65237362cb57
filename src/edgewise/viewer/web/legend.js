// What the signs of the picture mean, for what is drawn now.

import { el, signed, svg } from "./dom.js";
import { PATTERNS, crowdOf, look } from "./style.js";

const NAMES = { q: "the query of a head", k: "the key of a head", v: "the value of a head", "": "an MLP or the logits" };

/** Rows of the legend. */
export function legend(app, state) {
  return [
    ...colours(app, state),
    el("h3", { class: "minor", text: "The edge goes into" }),
    ...Object.keys(NAMES).map((kind) => row(sample("ink", PATTERNS[kind], 1.8, 1, kind), NAMES[kind])),
    ...widths(app),
  ];
}

function colours({ model }, { scope }) {
  const plain = (name, text) => row(sample(name, [], 2.4, 1), text);
  if (scope === "compare") return [plain("only-a", "only in A"), plain("only-b", "only in B"), plain("both", "in both")];
  if (scope === "reference")
    return [
      plain("both", "true: in the reference too"),
      plain("only-b", "missed: only in the reference"),
      plain("only-a", "false: not in the reference"),
    ];
  if (!model.score) return [plain("unscored", "no scores: neither sign nor strength")];
  return [
    el("h3", { class: "minor", text: "Without the edge, the metric" }),
    plain("helps", "drops: the edge helps"),
    plain("hurts", "rises: the edge hurts"),
  ];
}

function widths(app) {
  const largest = app.largest();
  if (!largest || !Number.isFinite(largest)) return [];
  const crowd = crowdOf(app.shown.length);
  const one = (share) => {
    const { width, opacity } = look(Math.sqrt(share), crowd);
    return row(sample("ink", [], width, opacity), `${signed(largest * share).slice(1)}${share === 1 ? " (the largest)" : ""}`);
  };
  return [el("h3", { class: "minor", text: "Size of the score" }), one(1), one(0.25), one(0.05)];
}

function row(picture, text) {
  return el("div", { class: "sample" }, picture, el("span", { text }));
}

function sample(colour, pattern, width, opacity, kind) {
  const line = svg("line", {
    x1: 1,
    x2: kind === undefined ? 46 : 38,
    y1: 7,
    y2: 7,
    stroke: `var(--${colour})`,
    "stroke-width": width,
    "stroke-opacity": opacity,
    "stroke-dasharray": pattern.join(" "),
  });
  const ends = { q: "M38 11L42 3L46 11Z", k: "M42 2L47 7L42 12L37 7Z", "": "M38 3L46 7L38 11Z" };
  const end =
    kind === undefined
      ? null
      : kind === "v"
        ? svg("circle", { class: "port", cx: 42, cy: 7, r: 4 })
        : svg("path", { class: kind ? "port" : "arrow", d: ends[kind] });
  return svg("svg", { width: 48, height: 14, "aria-hidden": "true" }, line, end);
}
