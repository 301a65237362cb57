// The frame of the page: heading, picture, table, panels, and what is missing.

import { el, refill, scrolled, whole } from "./dom.js";
import { exportMenu } from "./export.js";
import { legend } from "./legend.js";
import { roleList } from "./facts.js";
import { select } from "./controls.js";
import { comparisons, sources } from "./sources.js";

/** The elements around the picture; `update(state)` brings them up to date. */
export function createFrame(app) {
  const { doc } = app.model;
  const parts = {
    status: el("p", { class: "status", role: "status", "aria-live": "polite" }),
    details: el("div", { class: "details" }),
    roles: el("div", { class: "roles" }),
    table: el("section", { class: "table", hidden: true }),
    legend: el("div", { class: "legend" }),
  };
  const tools = createTools(app);
  app.stage.element.append(zoomButtons(app));
  const heading = el("div", { class: "heading" }, el("h1", { dir: "auto", text: doc.title }), parts.status);
  const main = el("main", {}, app.stage.element, parts.table, app.dock.element);
  const update = (state) => {
    parts.status.textContent = statusOf(app);
    tools.update(state);
    app.stage.element.classList.toggle("away", state.panel === "table");
    parts.table.hidden = state.panel !== "table";
    refill(parts.legend, legend(app, state));
  };
  return {
    element: el("div", { class: "page" }, el("header", {}, heading, tools.element), main, panels(app, parts)),
    details: parts.details,
    table: parts.table,
    update,
    tip: (rows, x, y) => tip(app.stage, rows, x, y),
    showRoles: (state) => showRoles(app, parts.roles, state),
  };
}

/** Picture or table, export, theme and help. */
function createTools(app) {
  const { store } = app;
  const names = ["auto", "light", "dark"].map((name) => [name, name]);
  const theme = select("theme", names, (value) => store.set({ theme: value }));
  const tabs = [tab("Picture", "picture", store), tab("Table", "table", store)];
  const views = el("div", { class: "field toggles", role: "group", "aria-label": "view" }, tabs);
  const help = button("?", "keyboard shortcuts (?)", () => app.help());
  const update = (state) => {
    theme.field.value = state.theme;
    for (const one of tabs) one.setAttribute("aria-pressed", String(one.dataset.panel === state.panel));
  };
  return { update, element: el("div", { class: "tools" }, views, exportMenu(app), theme.element, help) };
}

function zoomButtons(app) {
  const nearer = button("+", "zoom in (+)", () => app.zoom(1.4));
  const farther = button("−", "zoom out (−)", () => app.zoom(1 / 1.4));
  const group = { class: "zoom", role: "group", "aria-label": "zoom" };
  return el("div", group, nearer, farther, button("⤢", "fit the picture (0)", app.fit));
}

/** The parts beside the picture. */
function panels(app, { details, roles, legend: legends }) {
  const { doc } = app.model;
  const compared = comparisons(app.model);
  const missing = doc.missing.map((text) => el("li", { text }));
  return el(
    "aside",
    { "aria-label": "about the circuit" },
    part("Selection", true, details),
    compared.length ? part("Comparison", true, compared) : null,
    part("Find and filter", true, app.filters.element),
    part("Roles", Object.keys(doc.roles).length > 0, roles),
    part("Legend", true, legends),
    missing.length ? part("What is missing", true, el("ul", { class: "missing" }, missing)) : null,
    part("Where it comes from", true, sources(app.model)),
  );
}

function statusOf({ model, cut, shown }) {
  const hidden = shown.length < cut.length ? `, ${whole(shown.length)} shown` : "";
  const share = cut.length / model.doc.edges.total;
  const text = share < 0.0995 ? (100 * share).toFixed(2) : (100 * share).toFixed(1);
  return `${whole(cut.length)} of ${whole(model.doc.edges.total)} edges (${text}%)${hidden}`;
}

function tab(text, panel, store) {
  const element = el("button", { type: "button", text, onclick: () => store.set({ panel }) });
  element.dataset.panel = panel;
  return element;
}

function button(text, title, onclick) {
  return el("button", { type: "button", text, title, "aria-label": title, onclick });
}

function part(title, open, ...children) {
  return el("details", { class: "part", open }, el("summary", {}, el("h2", { text: title })), ...children);
}

/** The lines beside the pointer, kept inside the picture. */
function tip(stage, rows, x, y) {
  stage.tip.hidden = !rows;
  if (!rows) return;
  refill(
    stage.tip,
    rows.map(([label, text], i) =>
      el("p", { class: i ? "" : "first" }, el("b", { text: label }), text ? el("bdi", { text }) : null),
    ),
  );
  const room = stage.element.getBoundingClientRect();
  const left = x + 16 + stage.tip.offsetWidth > room.width ? x - 16 - stage.tip.offsetWidth : x + 16;
  const top = Math.min(y + 12, room.height - stage.tip.offsetHeight - 4);
  stage.tip.style.transform = `translate(${Math.max(2, left)}px, ${Math.max(2, top)}px)`;
}

function showRoles(app, panel, state) {
  const roles = roleList(app.model, state);
  const tint = new Map([...new Set(app.roles.values())].map((role, i) => [role, String(i % 8)]));
  const row = (role) => {
    const on = state.folded.includes(role.key);
    const swatch = el("span", { class: "tint", "aria-hidden": "true" });
    swatch.dataset.tint = tint.get(role.name) || "";
    return el(
      "li",
      {},
      swatch,
      el("bdi", { class: "role-name", text: role.name, ...scrolled(role.name, 100) }),
      el("span", { class: "size", text: `${role.nodes.length}` }),
      el("button", {
        type: "button",
        text: on ? "unfold" : "fold",
        "aria-pressed": String(on),
        "aria-label": `fold ${role.name} into one node`,
        onclick: () => app.fold(role.key),
      }),
    );
  };
  refill(
    panel,
    roles.length ? el("ul", {}, roles.map(row)) : null,
    el("p", { class: "hint", text: "Select a node to give it a role of your own. Fold a role to draw its nodes as one." }),
  );
}
