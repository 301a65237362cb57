// The frame of the page: heading, picture, table, panels, and what is missing.

import { el, refill, whole } from "./dom.js";
import { exportMenu } from "./export.js";
import { legend } from "./legend.js";
import { roleList } from "./facts.js";
import { select } from "./controls.js";
import { comparisons, sources } from "./sources.js";

/** The elements around the picture; `update(state)` brings them up to date. */
export function createFrame(app) {
  const { model, store } = app;
  const { doc } = model;
  const status = el("p", { class: "status", role: "status", "aria-live": "polite" });
  const theme = select(
    "theme",
    [
      ["auto", "auto"],
      ["light", "light"],
      ["dark", "dark"],
    ],
    (value) => store.set({ theme: value }),
  );
  const picture = tab("Picture", "picture", store);
  const list = tab("Table", "table", store);
  const details = el("div", { class: "details" });
  const roles = el("div", { class: "roles" });
  const table = el("section", { class: "table", hidden: true });
  const legends = el("div", { class: "legend" });
  const zoom = el(
    "div",
    { class: "zoom", role: "group", "aria-label": "zoom" },
    button("+", "zoom in (+)", () => app.zoom(1.4)),
    button("−", "zoom out (−)", () => app.zoom(1 / 1.4)),
    button("⤢", "show all (0)", app.fit),
  );
  app.stage.element.append(zoom);
  const compared = comparisons(model);
  const header = el(
    "header",
    {},
    el("div", { class: "heading" }, el("h1", { dir: "auto", text: doc.title }), status),
    el(
      "div",
      { class: "tools" },
      el("div", { class: "field toggles", role: "group", "aria-label": "view" }, picture, list),
      exportMenu(app),
      theme.element,
      button("?", "keys (?)", () => app.help()),
    ),
  );
  const missing = doc.missing.length
    ? part(
        "What is missing",
        true,
        el(
          "ul",
          { class: "missing" },
          doc.missing.map((text) => el("li", { text })),
        ),
      )
    : null;
  const aside = el(
    "aside",
    { "aria-label": "about the circuit" },
    part("Chosen", true, details),
    compared.length ? part("Comparison", true, compared) : null,
    part("Find and filter", true, app.filters.element),
    part("Roles", Object.keys(doc.roles).length > 0, roles),
    part("Legend", true, legends),
    missing,
    part("Where it comes from", true, sources(model)),
  );
  const element = el("div", { class: "page" }, header, el("main", {}, app.stage.element, table, app.dock.element), aside);
  const update = (state) => {
    status.textContent = statusOf(app);
    theme.field.value = state.theme;
    for (const one of [picture, list]) one.setAttribute("aria-pressed", String(one.dataset.panel === state.panel));
    app.stage.element.classList.toggle("away", state.panel === "table");
    table.hidden = state.panel !== "table";
    refill(legends, legend(app, state));
  };
  return {
    element,
    details,
    table,
    update,
    tip: (rows, x, y) => tip(app.stage, rows, x, y),
    showRoles: (state) => showRoles(app, roles, state),
  };
}

function statusOf({ model, cut, shown }) {
  const hidden = shown.length < cut.length ? `, ${whole(shown.length)} shown` : "";
  const share = cut.length / model.doc.edges.total;
  const text = share < 0.0995 ? (100 * share).toFixed(2) : (100 * share).toFixed(1);
  return `${whole(cut.length)} of ${whole(model.doc.edges.total)} edges (${text} %)${hidden}`;
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
  return el("details", { class: "part", open }, el("summary", { text: title }), ...children);
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
      el("bdi", { class: "role-name", text: role.name }),
      el("span", { class: "size", text: `${role.nodes.length}` }),
      el("button", {
        type: "button",
        text: on ? "unfold" : "fold",
        "aria-pressed": String(on),
        "aria-label": `fold ${role.name} to one node`,
        onclick: () => app.fold(role.key),
      }),
    );
  };
  refill(
    panel,
    roles.length ? el("ul", {}, roles.map(row)) : null,
    el("p", { class: "hint", text: "Choose a node to give it a role of your own. Fold a role to draw it as one node." }),
  );
}
