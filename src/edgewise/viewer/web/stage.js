// The picture: a canvas of edges below an SVG of nodes, moved and scaled together.

import { el, svg } from "./dom.js";
import { distance } from "./curves.js";

const NEAR = 6; // pixels
const AIR = 7;
const [NAMES, READABLE] = [0.55, 0.67]; // below the first, names vanish; from the second on, they are easy to read

/** The elements of the picture. */
export function createStage() {
  const canvas = el("canvas", { class: "edges", "aria-hidden": "true" });
  const hot = svg("g", { class: "hot", "aria-hidden": "true" });
  const nodes = svg("g", { class: "nodes" });
  const ground = svg("g", {});
  const below = svg("svg", { class: "ground", "aria-hidden": "true" }, ground);
  const moved = svg("g", {}, nodes, hot);
  const picture = svg("svg", { class: "picture", role: "group", "aria-label": "the circuit, from input to logits" }, moved);
  const tip = el("div", { class: "tip", hidden: true });
  const empty = el("p", { class: "empty", hidden: true });
  const element = el("section", { class: "stage" }, below, canvas, picture, empty, tip);
  return { element, canvas, picture, moved, ground, nodes, hot, tip, empty };
}

/** The view that shows the whole layout in a room of `width` × `height`. */
export function fitted(layout, width, height) {
  const scale = Math.min(1.35, width / layout.width, (height - 2 * AIR) / layout.height);
  return { scale, x: (width - layout.width * scale) / 2, y: Math.max(AIR, (height - layout.height * scale) / 2) };
}

/**
 * The view of a page nobody has moved: all of the layout, or where names could not be read so, as much as can be read of it,
 * from the logits down.
 */
export function opening(layout, width, height) {
  const whole = fitted(layout, width, height);
  const wide = width / layout.width;
  const scale = Math.max(whole.scale, Math.min(READABLE, wide < NAMES ? READABLE : wide));
  if (scale === whole.scale) return whole;
  return { scale, x: Math.max(0, (width - layout.width * scale) / 2), y: AIR };
}

/** The view scaled by `factor` around a point of the window. */
export function zoomed(view, factor, x, y) {
  const scale = Math.min(12, Math.max(0.05, view.scale * factor));
  const ratio = scale / view.scale;
  return { scale, x: x - (x - view.x) * ratio, y: y - (y - view.y) * ratio };
}

/** The edge whose curve is nearest to a point of the window, or null if none is near; the stronger one on a tie. */
export function edgeAt(points, edges, view, x, y) {
  const [px, py, most] = [(x - view.x) / view.scale, (y - view.y) / view.scale, NEAR / view.scale];
  let [found, best] = [null, Infinity];
  for (const e of edges) {
    const d = distance(points, e * 8, px, py, most);
    // A quarter of a pixel nearer is not worth a weaker edge.
    if (d < best - 0.25) [found, best] = [e, d];
  }
  return found;
}

/** Paths of the edges to point out, as SVG over the canvas; `colour` gives the colour of each, or null for the page's own. */
export function hotPaths(points, edges, colour) {
  const drawn = Array.from(edges).filter((e) => !Number.isNaN(points[e * 8]));
  return drawn.map((e) => {
    const [a, b, c, d, f, g, h, i] = points.subarray(e * 8, e * 8 + 8);
    return svg("path", { d: `M${a} ${b}C${c} ${d} ${f} ${g} ${h} ${i}`, stroke: colour(e) });
  });
}

/** Listens to the pointer: drag to move, wheel to zoom, `hover` and `click` with what is under it. */
export function listen(stage, { view, setView, hover, click }) {
  let drag = null;
  const at = (event) => {
    const room = stage.element.getBoundingClientRect();
    return [event.clientX - room.left, event.clientY - room.top];
  };
  const under = (event) => event.target.closest && event.target.closest("[data-node]");
  stage.element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    drag = { id: event.pointerId, from: at(event), view: view(), moved: false };
  });
  stage.element.addEventListener("pointermove", (event) => {
    const [x, y] = at(event);
    if (!drag) return hover(under(event), x, y);
    const [dx, dy] = [x - drag.from[0], y - drag.from[1]];
    if (!drag.moved && Math.hypot(dx, dy) < 4) return undefined;
    if (!drag.moved) stage.element.setPointerCapture(drag.id);
    drag.moved = true;
    hover(null, -1e6, -1e6);
    return setView({ ...drag.view, x: drag.view.x + dx, y: drag.view.y + dy });
  });
  stage.element.addEventListener("pointerup", (event) => {
    const [x, y] = at(event);
    if (drag && !drag.moved) click(under(event), x, y);
    drag = null;
  });
  stage.element.addEventListener("pointercancel", () => (drag = null));
  stage.element.addEventListener("pointerleave", () => !drag && hover(null, -1e6, -1e6));
  stage.element.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const [x, y] = at(event);
      setView(zoomed(view(), Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), x, y));
    },
    { passive: false },
  );
}
