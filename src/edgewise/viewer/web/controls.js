// The controls: how many edges, in which order, which kinds; search; theme. Each writes to the store and reads from it.

import { amount, position } from "./chart.js";
import { el, whole } from "./dom.js";
import { scopes } from "./state.js";

const STEPS = 10000;
const INPUTS = Object.entries({ q: "query", k: "key", v: "value", o: "MLP, logits" });
const DRAWN = [
  ["all", "all layers and heads"],
  ["folded", "layers and heads in use"],
  ["used", "those of this cut alone"],
];
const EFFECTS = Object.entries({ "+": "helps", "-": "hurts" });

/** The slider, its number, scope and ranking; `update(state, {most, n, words})` brings them up to date. */
export function createDock(model, store, chart) {
  const limits = { most: 0, n: 0 };
  const choose = (n) => store.set({ n: Math.min(limits.most, Math.max(0, n)) });
  const slider = el("input", {
    type: "range",
    min: 0,
    max: STEPS,
    class: "slider",
    "aria-label": "number of edges",
    oninput: () => choose(amount(slider.value / STEPS, limits.most)),
    onkeydown: (event) => step(event, limits, choose),
  });
  const number = el("input", {
    type: "number",
    min: 0,
    class: "count",
    "aria-label": "number of edges",
    onchange: () => choose(Math.round(Number(number.value))),
  });
  const total = el("span", { class: "total" });
  const words = el("span", { class: "reading" });
  const scope = select(
    "which edges",
    scopes(model).map(({ name, label }) => [name, label]),
    (value) => store.set({ scope: value, n: null }),
  );
  const ranking = select(
    "ranking",
    [
      ["absolute", "by absolute score"],
      ["signed", "by signed score"],
    ],
    (value) => store.set({ ranking: value }),
  );
  ranking.field.disabled = !model.value;
  const element = el(
    "footer",
    { class: "dock" },
    el("div", { class: "row" }, el("span", { class: "amount" }, number, total), scope.field, ranking.field, words),
    el("div", { class: "plot" }, chart),
    slider,
  );
  const update = (state, found) => {
    Object.assign(limits, found);
    slider.value = Math.round(position(found.n, found.most) * STEPS);
    slider.setAttribute("aria-valuetext", `${whole(found.n)} of ${whole(found.most)} edges`);
    number.max = found.most;
    if (document.activeElement !== number) number.value = found.n;
    total.textContent = `of ${whole(found.most)} edges`;
    words.textContent = found.words;
    words.title = found.words ? `${found.words}: faithfulness of the best-scored edges, and of as many random ones` : "";
    scope.field.value = state.scope;
    ranking.field.value = state.ranking;
  };
  return { element, slider, update };
}

/** Keys move the slider by edges, not by pixels: one, or a quarter with page up and down. */
function step(event, { n, most }, choose) {
  const quarter = Math.max(1, Math.round(n / 4));
  const moves = {
    ArrowRight: n + 1,
    ArrowUp: n + 1,
    ArrowLeft: n - 1,
    ArrowDown: n - 1,
    PageUp: n + quarter,
    PageDown: n - quarter,
    Home: 0,
    End: most,
  };
  if (!(event.key in moves)) return;
  event.preventDefault();
  choose(moves[event.key]);
}

/** Search and filters; `update(state)` brings them up to date. */
export function createFilters(model, store, search) {
  const box = el("input", {
    type: "search",
    class: "search",
    placeholder: "a9.h6, m3, L9H6, a role …",
    "aria-label": "find a node (/)",
    spellcheck: "false",
    autocomplete: "off",
    oninput: () => store.set({ query: box.value }),
    onkeydown: (event) => event.key === "Enter" && search(box.value),
  });
  const found = el("p", { class: "found", "aria-live": "polite" });
  const kinds = toggles("into", INPUTS, "kinds", store);
  const signs = toggles("sign", EFFECTS, "signs", store);
  const low = layerField(model, "lowest layer", (value) => store.set({ low: value, high: Math.max(value, store.get().high) }));
  const high = layerField(model, "highest layer", (value) => store.set({ high: value, low: Math.min(value, store.get().low) }));
  const paths = check("only edges on a path from input to logits", (on) => store.set({ paths: on ? "only" : "all" }));
  const columns = select("draw", DRAWN, (value) => store.set({ columns: value }));
  const away = el("p", { class: "hint" });
  const reset = el("button", { type: "button", text: "Show everything", onclick: () => store.set(store.cleared()) });

  const element = el(
    "div",
    { class: "filters" },
    box,
    found,
    kinds.element,
    model.value ? signs.element : null,
    el("div", { class: "field" }, el("span", { text: "layers" }), low, el("span", { text: "to" }), high),
    paths.element,
    columns.element,
    away,
    reset,
  );
  const update = (state, folded) => {
    if (document.activeElement !== box) box.value = state.query;
    kinds.update(state.kinds);
    signs.update(state.signs);
    [low.value, high.value] = [state.low, state.high];
    paths.field.checked = state.paths === "only";
    columns.field.value = state.columns;
    away.textContent = folded ? `${whole(folded)} of ${whole(model.layers)} layers are folded away: they have none of these edges.` : "";
  };
  return { element, box, found, update };
}

/** The number of a layer. */
function layerField(model, label, change) {
  const last = model.layers - 1;
  const take = (event) => change(Math.min(last, Math.max(0, Math.round(Number(event.target.value)) || 0)));
  return el("input", { type: "number", min: 0, max: last, "aria-label": label, onchange: take });
}

/** A labelled drop-down. */
export function select(label, options, change) {
  const field = el(
    "select",
    { "aria-label": label, onchange: () => change(field.value) },
    options.map(([value, text]) => el("option", { value, text })),
  );
  return { field, element: el("label", { class: "field" }, el("span", { text: label, "aria-hidden": "true" }), field) };
}

function check(label, change) {
  const field = el("input", { type: "checkbox", onchange: () => change(field.checked) });
  return { field, element: el("label", { class: "check" }, field, el("span", { text: label })) };
}

/** Buttons that stay pressed; the state holds the letters of those that are. */
function toggles(label, options, key, store) {
  const buttons = options.map(([letter, text]) => {
    const flip = () => {
      const on = store.get()[key];
      store.set({
        [key]: options
          .map(([one]) => one)
          .filter((one) => on.includes(one) !== (one === letter))
          .join(""),
      });
    };
    return el("button", { type: "button", "data-value": letter, text, onclick: flip });
  });
  const update = (on) =>
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(on.includes(button.dataset.value))));
  return {
    update,
    element: el("div", { class: "field toggles", role: "group", "aria-label": label }, el("span", { text: label }), buttons),
  };
}
