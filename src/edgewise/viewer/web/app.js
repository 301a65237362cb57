// One page in one element: state in, picture and panels out.

import { keeping, knowing, moving, naming, pointing } from "./actions.js";
import { createChart, drawChart, sentence } from "./chart.js";
import { createDock, createFilters } from "./controls.js";
import { curves } from "./curves.js";
import { candidates, kept, outlined, visible } from "./cut.js";
import { openModel } from "./data.js";
import { showDetails } from "./details.js";
import { refill } from "./dom.js";
import { degrees, roleList, rolesOf } from "./facts.js";
import { createFrame } from "./frame.js";
import { listenKeys } from "./keys.js";
import { arrange, folded } from "./layout.js";
import { drawNodes, markNodes, TINTS } from "./nodes.js";
import { createPainter } from "./paint.js";
import { createStage, listen, opening } from "./stage.js";
import { createStore, fromHash, initialState } from "./state.js";
import { colourNames, colouring, palette } from "./style.js";
import { showTable } from "./table.js";

/** Builds the page of a document in `root`; `place` keeps its state. */
export function createApp(root, doc, place) {
  const model = openModel(doc);
  const start = initialState(model);
  const store = createStore(fromHash(place.read(), start));
  store.cleared = () => ({
    ...start,
    theme: store.get().theme,
    roles: store.get().roles,
    notes: store.get().notes,
    view: store.get().view,
  });
  const app = {
    root,
    model,
    store,
    start,
    place,
    stage: createStage(),
    all: [],
    cut: [],
    shown: [],
    roles: new Map(),
    view: null,
  };
  Object.assign(app, knowing(app), moving(app), pointing(app), naming(app), keeping(app));
  app.repaint = () => paint(app, store.get());
  app.painter = createPainter(app.stage.canvas);
  app.chart = createChart();
  app.dock = createDock(model, store, app.chart);
  app.filters = createFilters(model, store, app.search);
  app.frame = createFrame(app);
  refill(root, app.frame.element);
  listen(app.stage, { view: () => app.view, setView: app.setView, hover: app.hover, click: app.click });
  listenKeys(app);
  store.listen((state, before) => schedule(app, before));
  place.listen(() => app.fromPlace());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => update(app, null));
  new ResizeObserver(() => resize(app)).observe(app.stage.element);
  update(app, null);
  return app;
}

/** Changes of one frame are drawn once. */
function schedule(app, before) {
  if (app.pending) return;
  app.pending = before;
  requestAnimationFrame(() => {
    const since = app.pending;
    app.pending = null;
    update(app, since);
  });
}

/** Brings everything up to date; `before` is the state that was drawn last, or null to draw all. */
function update(app, before) {
  const { model, store } = app;
  const state = store.get();
  const changed = (...keys) => !before || keys.some((key) => state[key] !== before[key]);
  app.root.dataset.theme = state.theme;
  if (changed("roles")) app.roles = rolesOf(model, state);
  if (changed("scope", "ranking")) app.all = candidates(model, state);
  app.cut = app.all.subarray(0, kept(state, app.all));
  app.shown = visible(model, state, app.cut);
  const used = outlined(state, app.all, app.cut);
  const others = used && (used.length !== app.used?.length || changed("ranking"));
  app.used = used;
  if (changed("roles", "folded", "columns", "scope") || others) place(app, state);
  else if (changed("view")) look(app, state);
  paint(app, state);
  app.dock.update(state, { most: app.all.length, n: app.cut.length, words: sentence(app.curve(), app.cut.length, app.otherCurve()) });
  chart(app);
  app.filters.update(state, model.layers - app.layout.bands.length);
  if (changed("query", "roles", "folded", "columns", "scope")) app.find(state.query);
  if (changed("focus", "reach", "n", "scope", "ranking", "notes", "roles")) showDetails(app.frame.details, app, state);
  if (changed("roles", "folded")) app.frame.showRoles(state);
  app.frame.update(state);
  if (state.panel === "table") showTable(app.frame.table, app);
  app.remember(state);
}

/** Where everything goes, for the room there is. */
function place(app, state) {
  const room = app.stage.element.getBoundingClientRect();
  app.room = { width: Math.max(200, room.width), height: Math.max(160, room.height) };
  const roles = roleList(app.model, state).filter((role) => state.folded.includes(role.key));
  app.layout = folded(arrange(app.model, { width: app.room.width, height: app.room.height - 14, used: app.used }), app.model, roles);
  app.points = curves(app.model, app.layout);
  app.drawn = drawNodes(app.stage.ground, app.stage.nodes, app.model, app.layout);
  app.layoutNumber = (app.layoutNumber || 0) + 1;
  look(app, state);
}

/** The part of the picture to look at: that of the state, or all. */
function look(app, { view }) {
  const [x, y, scale] = view || [];
  app.view = view ? { x, y, scale } : opening(app.layout, app.room.width, app.room.height);
}

/** The picture of the shown edges. */
function paint(app, state) {
  const { model, stage, view, room } = app;
  const colours = palette(app.root);
  const moved = `translate(${view.x} ${view.y}) scale(${view.scale})`;
  for (const group of [stage.ground, stage.moved]) group.setAttribute("transform", moved);
  stage.picture.classList.toggle("far", view.scale < 0.55);
  const roles = [...new Set(app.roles.values())];
  const tints = new Map(roles.map((role, i) => [role, String(i % TINTS)]));
  if (app.counted !== app.shown) app.degree = degrees(model, (app.counted = app.shown));
  markNodes(app.drawn, model, app.layout, {
    degree: app.degree,
    roles: app.roles,
    tints,
    focus: state.focus,
    notes: state.notes,
  });
  const ratio = Math.min(2, window.devicePixelRatio || 1);
  const key = [
    app.layoutNumber,
    view.x,
    view.y,
    view.scale,
    room.width,
    room.height,
    ratio,
    state.scope,
    state.ranking,
    colours.helps,
    colours.paper,
  ].join();
  app.painter.paint({
    model,
    points: app.points,
    edges: app.shown,
    colour: colouring(model, state.scope),
    names: colourNames(model, state.scope),
    colours,
    largest: app.largest(),
    view,
    ...room,
    ratio,
    key,
  });
  stage.empty.hidden = app.shown.length > 0;
  stage.empty.textContent = app.cut.length
    ? state.focus === null
      ? "No edge passes the filters."
      : "None of these edges leads to it or from it."
    : app.all.length
      ? "No edges: move the slider."
      : "This circuit has no edges.";
}

function chart(app) {
  const width = app.chart.clientWidth;
  if (width)
    drawChart(app.chart, {
      curve: app.curve(),
      most: app.all.length,
      n: app.cut.length,
      width,
      points: app.measured(),
      absent: absence(app),
    });
}

/** Why there is no curve. */
function absence({ model, store }) {
  const { scope, ranking } = store.get();
  if (!model.curves.length) return "no faithfulness curve was measured";
  return scope === "compare" || scope === "reference"
    ? "a faithfulness curve is of one circuit, not of two together"
    : `no faithfulness curve was measured for ${ranking} scores`;
}

function resize(app) {
  const room = app.stage.element.getBoundingClientRect();
  if (!room.width || !room.height) return;
  if (room.width !== app.room.width || room.height !== app.room.height) place(app, app.store.get());
  paint(app, app.store.get());
  chart(app);
}
