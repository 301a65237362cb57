// What the parts of the page ask of the whole, in small groups that are joined into the app.

import { feeds } from "./cut.js";
import { edgeName, findNodes } from "./data.js";
import { tipLines } from "./details.js";
import { refill, whole } from "./dom.js";
import { curveOf, readable, roleList } from "./facts.js";
import { roleGroups } from "./formats.js";
import { edgeAt, fitted, hotPaths, opening } from "./stage.js";
import { fromHash, toHash } from "./state.js";

const POINTED = 300; // edges of a node that are pointed out at once

/** What is known of the edges: the largest score, the curve, what was measured, ranks and names. */
export function knowing(app) {
  const { model, store } = app;
  const largest = model.value ? model.value.reduce((most, value) => Math.max(most, Math.abs(value)), 0) : null;
  return {
    largest: () => largest,
    curve: () => curveOf(model, store.get()),
    // That of the other ranking, which cuts other edges: of a circuit, whose edges are given, there is none.
    otherCurve: () => model.curves.find((one) => store.get().scope === "scores" && one.ranking !== store.get().ranking),
    measured() {
      const names = { circuit: ["a"], compare: ["a", "b"], reference: ["a"] }[store.get().scope] || [];
      const wanted = model.curves.length ? model.curves[0].metric : null;
      return model.doc.circuits
        .filter((one) => names.includes(one.key))
        .flatMap((one) => {
          const metric = one.metrics.find(({ name }) => name === wanted) || one.metrics[0];
          return metric && metric.faithfulness !== null ? [{ name: one.key, edges: one.edges, value: metric.faithfulness }] : [];
        });
    },
    rank: (edge) => app.all.indexOf(edge) + 1,
    edgeNamed: (name) => app.all.find((e) => edgeName(model, e) === name),
  };
}

/** A view as it stands in the address. */
function rounded(view) {
  return [view.x, view.y, view.scale].map((value) => Number(value.toFixed(3)));
}

/** Moving the picture. */
export function moving(app) {
  const { store } = app;
  return {
    setView(view) {
      app.view = view;
      clearTimeout(app.viewTimer);
      requestAnimationFrame(() => app.repaint());
      app.viewTimer = setTimeout(() => store.set({ view: rounded(view) }), 250);
    },
    fit() {
      clearTimeout(app.viewTimer);
      app.view = fitted(app.layout, app.room.width, app.room.height);
      const first = opening(app.layout, app.room.width, app.room.height);
      store.set({ view: first.scale === app.view.scale ? null : rounded(app.view) });
    },
  };
}

/** What the pointer, or the focus of the keyboard, is on. */
export function pointing(app) {
  const { model, store } = app;
  return {
    point(edges) {
      const { job } = app.painter;
      refill(
        app.stage.hot,
        hotPaths(app.points, edges, (e) => (edges.length > 1 ? job.colours[job.colour(e)] : null)),
      );
      // One edge is pointed out among the others; of a node, its edges alone are to be seen.
      app.stage.element.classList.toggle("pointing", edges.length > 1);
    },
    hover(element, x, y) {
      const node = element && !element.dataset.role ? model.nodeIndex.get(element.dataset.node) : null;
      const edge = element || x < -1e5 ? null : edgeAt(app.points, app.shown, app.view, x, y);
      const touches = (e) => model.writer[e] === node || feeds(model, e).includes(node);
      if (node !== null) app.point(app.shown.filter(touches).subarray(0, POINTED));
      else app.point(edge === null ? [] : [edge]);
      app.frame.tip(node === null && edge === null ? null : tipLines(app, { node, edge }), x, y);
    },
    click(element, x, y) {
      if (element && element.dataset.role) return app.unfold(element.dataset.role);
      if (element) return app.focus(element.dataset.node);
      const edge = edgeAt(app.points, app.shown, app.view, x, y);
      return app.focus(edge === null ? null : edgeName(model, edge));
    },
    focus: (name) => store.set({ focus: name === store.get().focus ? null : name }),
  };
}

/** Search, notes and roles. */
export function naming(app) {
  const { model, store } = app;
  return {
    find(query) {
      const found = findNodes(model, query, app.roles);
      app.drawn.matches = new Set(found);
      for (const [i, element] of app.drawn.elements) element.classList.toggle("match", app.drawn.matches.has(i));
      const count = found.length === 1 ? "1 found; Enter isolates it" : `${whole(found.length)} found`;
      app.filters.found.textContent = !query ? "" : found.length ? count : "nothing found";
      return found;
    },
    search(query) {
      const found = findNodes(model, query, app.roles);
      if (found.length) store.set({ focus: model.nodes[found[0]].name });
    },
    note(name, text) {
      const { [name]: _, ...others } = store.get().notes;
      store.set({ notes: text ? { ...others, [name]: text } : others });
    },
    roleGroups: () => roleGroups(model, store.get()),
    roleNames: () => roleList(model, store.get()).map((role) => role.key),
    handRole: (name) => (Object.entries(store.get().roles).find(([, names]) => names.includes(name)) || [""])[0],
    assign(name, role) {
      const others = Object.entries(store.get().roles).map(([key, names]) => [key, names.filter((one) => one !== name)]);
      const roles = new Map(others);
      if (role) roles.set(role, [...(roles.get(role) || []), name]);
      store.set({ roles: Object.fromEntries([...roles].filter(([, names]) => names.length)) });
    },
    unfold: (name) => store.set({ folded: store.get().folded.filter((key) => readable(key) !== name) }),
    fold(key) {
      const { folded: now } = store.get();
      store.set({ folded: now.includes(key) ? now.filter((one) => one !== key) : [...now, key] });
    },
  };
}

/** The state between visits. */
export function keeping(app) {
  const { store } = app;
  return {
    remember(state) {
      clearTimeout(app.placeTimer);
      app.placeTimer = setTimeout(() => app.place.write(toHash(state, app.start)), 150);
    },
    fromPlace() {
      const text = app.place.read();
      if (text !== toHash(store.get(), app.start)) store.set(fromHash(text, app.start));
    },
  };
}
