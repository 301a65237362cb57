// Nodes as SVG over the canvas: boxes with their names, the ports of q, k and v, the bands of the layers.

import { refill, svg } from "./dom.js";
import { nodeSentence } from "./facts.js";

const MARKS = { q: "M-3.6 3L0 -3.6L3.6 3Z", k: "M0 -4L4 0L0 4L-4 0Z" };
export const TINTS = 8;

/** Draws everything that stands still; returns the elements by node. */
export function drawNodes(ground, group, model, layout) {
  const bands = layout.bands.map((one) => drawBand(one));
  const bars = layout.bars.map((one) => rect("bar", one, 1.7));
  const shared = layout.bars.map(({ readers }, i) => [readers, bars[i]]);
  const ports = portMarks(model, layout);
  const found = new Map();
  const seen = new Set();
  const boxes = [];
  layout.boxes.forEach((box, i) => {
    if (!box) return;
    if (box.folded && seen.has(box.folded)) return;
    if (box.folded) seen.add(box.folded);
    const element = drawNode(model.nodes[i], box);
    if (box.folded) boxes.push(element);
    else boxes.unshift(element);
    found.set(i, element);
  });
  refill(ground, bands);
  refill(group, bars, boxes, svg("g", { class: "ports" }, [...ports.values()]));
  return { elements: found, ports, shared, matches: new Set() };
}

function drawNode(node, box) {
  const group = svg("g", { class: `node ${box.folded ? "folded" : node.kind}`, role: "button", tabindex: "-1" });
  group.dataset.node = node.name;
  if (box.folded) group.dataset.role = box.folded;
  const label = box.folded ? short(box.folded, 22) : node.name;
  const radius = node.kind === "head" ? 4 : 8;
  const size = box.folded ? 11 : label.length > 6 ? 10.8 : 12; // a10.h10 must fit its box
  group.append(
    svg("circle", { class: "dot", cx: box.x, cy: box.y, r: 2 }),
    rect("box", box, radius),
    svg("text", { x: box.x, y: box.y + 4.2, "font-size": size, "text-anchor": "middle", text: label }),
  );
  return group;
}

function drawBand(band) {
  return svg(
    "g",
    {},
    band.even ? svg("rect", { class: "band", x: band.x, y: band.y, width: band.width, height: band.height, rx: 6 }) : null,
    svg("text", { class: "layer", x: band.x + 8, y: band.y + band.height / 2 + 4, "font-size": 10.5, text: `L${band.layer}` }),
    band.folded ? svg("text", { class: "layer", x: band.x + 2, y: band.y + band.height + 3, "font-size": 10.5, text: "⋮" }) : null,
  );
}

function rect(name, { x, y, width, height }, radius) {
  return svg("rect", { class: name, x: x - width / 2, y: y - height / 2, width, height, rx: radius });
}

/** Marks which nodes and ports the shown edges touch, tints roles, names everything for screen readers. */
export function markNodes(drawn, model, layout, { degree, roles, tints, focus, notes }) {
  for (const [i, element] of drawn.elements) {
    const { name, kind } = model.nodes[i];
    const kept = degree.inputs[i] + degree.outputs[i] > 0 || layout.boxes[i].folded !== undefined;
    const names = [layout.boxes[i].folded ? "node folded" : `node ${kind}`];
    if (kept) names.push("kept");
    else if (kind !== "input" && kind !== "logits") names.push("bare");
    if (name === focus) names.push("chosen");
    if (notes[name]) names.push("noted");
    if (drawn.matches.has(i)) names.push("match");
    change(element, "class", names.join(" "));
    change(element, "data-tint", roles.has(i) ? tints.get(roles.get(i)) : "");
    change(
      element,
      "aria-label",
      layout.boxes[i].folded || nodeSentence(model.nodes[i], roles.get(i), degree.inputs[i], degree.outputs[i]),
    );
    change(element, "aria-pressed", String(name === focus));
    change(element, "tabindex", i === model.inputs[0] ? "0" : "-1");
  }
  for (const [readers, element] of drawn.shared)
    change(element, "class", readers.some((r) => degree.readers[r]) ? "bar used" : "bar");
  for (const [reader, element] of drawn.ports) change(element, "visibility", degree.readers[reader] ? "visible" : "hidden");
}

/** Sets an attribute if it is another: with thousands of elements, setting the same again is what costs. */
function change(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** The marks of all q, k and v, by reader. */
function portMarks(model, layout) {
  const found = new Map();
  model.readers.forEach((reader, i) => {
    const [at, box] = [layout.ports[i], layout.boxes[reader.nodes[0]]];
    if (at && reader.kind && !box.folded) found.set(i, port(reader.kind, at));
  });
  return found;
}

function port(kind, { x, y }) {
  if (kind === "v") return svg("circle", { class: "port", cx: x, cy: y, r: 3.2 });
  return svg("path", { class: "port", d: MARKS[kind], transform: `translate(${x} ${y})` });
}

function short(text, longest) {
  const letters = [...text];
  return letters.length <= longest ? text : `${letters.slice(0, longest - 1).join("")}…`;
}
