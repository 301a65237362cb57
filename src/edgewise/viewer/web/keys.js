// Everything by keyboard: nodes are walked with the arrows, the rest has letters.

import { el } from "./dom.js";
import { zoomed } from "./stage.js";

export const KEYS = [
  ["Tab", "go to the picture and to each control"],
  ["← → ↑ ↓", "move from node to node"],
  ["Enter", "isolate the edges that lead to and from the node"],
  ["Escape", "show everything again"],
  ["[ and ]", "one edge fewer or more; with Shift, a quarter"],
  ["/", "find a node"],
  ["b, n, m", "what leads here, where it leads, both ways"],
  ["+ − 0", "zoom in, zoom out, fit the picture"],
  ["t", "switch between table and picture"],
  ["d", "switch between dark and light"],
  ["?", "this list"],
];

/** Listens to the keyboard for the whole page. */
export function listenKeys(app) {
  const help = el(
    "dialog",
    { class: "help", "aria-label": "keyboard shortcuts" },
    el("h2", { text: "Keyboard shortcuts" }),
    el(
      "table",
      {},
      KEYS.map(([key, text]) => el("tr", {}, el("th", { scope: "row" }, el("kbd", { text: key })), el("td", { text }))),
    ),
    el("form", { method: "dialog" }, el("button", { text: "Close" })),
  );
  app.root.append(help);
  app.help = () => help.showModal();
  app.zoom = (factor) => app.setView(zoomed(app.view, factor, app.room.width / 2, app.room.height / 2));
  // A page of its own listens to all of it; a widget leaves the rest of the notebook alone.
  (app.place.whole ? document : app.root).addEventListener("keydown", (event) => onKey(app, event));
  app.stage.nodes.addEventListener("focusin", (event) => {
    const element = event.target.closest("[data-node]");
    if (!element) return;
    const box = element.querySelector(".box").getBoundingClientRect();
    const room = app.stage.element.getBoundingClientRect();
    app.hover(element, box.right - room.left, box.top - room.top);
  });
  app.stage.nodes.addEventListener("focusout", () => app.hover(null, -1e6, -1e6));
}

function onKey(app, event) {
  const { target, key } = event;
  if (key === "Escape") return escape(app, target);
  if (event.ctrlKey || event.metaKey || event.altKey || target.matches("input, textarea, select, dialog *")) return undefined;
  const node = target.closest("[data-node]");
  if (node && key in ARROWS) {
    event.preventDefault();
    return walk(app, node, ARROWS[key]);
  }
  if (node && (key === "Enter" || key === " ")) {
    event.preventDefault();
    return app.click(node, 0, 0);
  }
  const action = ACTIONS[key];
  if (!action) return undefined;
  event.preventDefault();
  return action(app);
}

function escape(app, target) {
  if (target.matches("input, textarea")) target.blur();
  else app.store.set({ focus: null, query: "" });
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const cutTo = (app, n) => app.store.set({ n: Math.min(app.all.length, Math.max(0, n)) });
const quarter = (app) => Math.max(1, Math.round(app.cut.length / 4));

const ACTIONS = {
  "/": (app) => app.filters.box.focus(),
  "?": (app) => app.help(),
  "+": (app) => app.zoom(1.4),
  "=": (app) => app.zoom(1.4),
  "-": (app) => app.zoom(1 / 1.4),
  0: (app) => app.fit(),
  "[": (app) => cutTo(app, app.cut.length - 1),
  "]": (app) => cutTo(app, app.cut.length + 1),
  "{": (app) => cutTo(app, app.cut.length - quarter(app)),
  "}": (app) => cutTo(app, app.cut.length + quarter(app)),
  b: (app) => app.store.set({ reach: "back" }),
  n: (app) => app.store.set({ reach: "on" }),
  m: (app) => app.store.set({ reach: "both" }),
  t: (app) => app.store.set({ panel: app.store.get().panel === "table" ? "picture" : "table" }),
  d: (app) => app.store.set({ theme: isDark(app) ? "light" : "dark" }),
};

/** Whether the page is dark now. */
export function isDark(app) {
  const { theme } = app.store.get();
  return theme === "auto" ? matchMedia("(prefers-color-scheme: dark)").matches : theme === "dark";
}

/** To the nearest kept node in a direction; nodes straight ahead are nearer than those beside. */
function walk(app, from, [dx, dy]) {
  const box = app.layout.boxes[app.model.nodeIndex.get(from.dataset.node)];
  let [best, found] = [Infinity, null];
  for (const [i, element] of app.drawn.elements) {
    const other = app.layout.boxes[i];
    const [x, y] = [other.x - box.x, other.y - box.y];
    const [ahead, aside] = dx ? [x * dx, Math.abs(y)] : [y * dy, Math.abs(x) * 0.3];
    if (element === from || ahead < 1 || !element.classList.contains("kept") || (dx && aside > 2)) continue;
    if (ahead + 2 * aside < best) [best, found] = [ahead + 2 * aside, element];
  }
  if (found) found.focus();
}
