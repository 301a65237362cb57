// Edges on a canvas: the strongest as lines with their patterns, the strongest first and each next one *below* what is
// there; all others as a density. Both grow in slices of a few milliseconds, and moving the slider changes only what
// differs, so that the page stays fluid with all edges of a model.

import { addCurve, createDensity, develop, weightOf } from "./density.js";
import { el } from "./dom.js";
import { PATTERNS, crowdOf, look, rgb, strength } from "./style.js";

export const LINES = 700; // edges beyond these are drawn as a density
const SLICE = 9; // milliseconds of drawing in a frame
const PATIENCE = 60; // after so long, what is drawn so far is shown

/** A painter of one canvas: `paint(job)` shows a job, slice by slice; `idle` says whether it is done. */
export function createPainter(canvas) {
  const painter = {
    canvas,
    lines: el("canvas"),
    cloud: el("canvas"),
    job: null,
    nextLine: 0,
    added: [],
    density: null,
    drawn: null,
    idle: true,
  };
  painter.paint = (job) => paint(painter, job);
  return painter;
}

/**
 * A job is {model, points, edges, colour, names, colours, largest, view: {x, y, scale}, width, height, ratio, key}: `colour` gives
 * the name of an edge's colour, one of `names`. Two jobs with the same `key` differ in `edges` alone.
 */
function paint(painter, job) {
  const before = painter.job;
  job.lines = job.edges.slice(0, LINES);
  job.weak = job.edges.slice(LINES);
  // Of the lines alone: further edges, which come as a density, do not make them fainter.
  job.crowd = crowdOf(job.lines.length);
  const same = before && before.key === job.key;
  if (!same || before.crowd !== job.crowd || !startsWith(job.lines, before.lines, painter.nextLine)) {
    painter.nextLine = 0;
    sized(painter.lines, job, job.ratio);
  }
  if (!same) {
    const [width, height] = sized(painter.cloud, job, 1);
    painter.density = createDensity(width, height, job.names.length);
    painter.added = [];
    painter.changed = true;
  }
  painter.job = job;
  painter.started = performance.now();
  place(painter);
  if (painter.idle) {
    painter.idle = false;
    step(painter);
  }
}

function step(painter) {
  const until = performance.now() + SLICE;
  const finished = drawLines(painter, until) && drawCloud(painter, until);
  if (finished || performance.now() - painter.started > PATIENCE) reveal(painter);
  if (finished) {
    painter.idle = true;
    performance.mark("edgewise-drawn");
  }
  if (!finished) requestAnimationFrame(() => step(painter));
}

function drawLines(painter, until) {
  const { job } = painter;
  const context = painter.lines.getContext("2d", { willReadFrequently: true });
  const { view, ratio } = job;
  context.setTransform(ratio * view.scale, 0, 0, ratio * view.scale, ratio * view.x, ratio * view.y);
  context.globalCompositeOperation = "destination-over";
  while (painter.nextLine < job.lines.length) {
    drawEdge(context, job, job.lines[painter.nextLine]);
    painter.nextLine += 1;
    if (painter.nextLine % 20 === 0 && performance.now() > until) return false;
  }
  return true;
}

/** Brings the density from the edges it has to those it should have. */
function drawCloud(painter, until) {
  const { added } = painter;
  const { weak } = painter.job;
  let shared = 0;
  while (shared < added.length && shared < weak.length && added[shared] === weak[shared]) shared += 1;
  const change = (e, sign) => {
    const { model, points, view, largest, names, colour } = painter.job;
    const weight = weightOf(strength(model.value ? model.value[e] : null, largest));
    addCurve(painter.density, names.indexOf(colour(e)), points, e * 8, view, sign * weight);
    painter.changed = true;
  };
  for (let i = 0; added.length > shared; i += 1) {
    change(added.pop(), -1);
    if (i % 50 === 49 && performance.now() > until) return false;
  }
  for (let i = 0; added.length < weak.length; i += 1) {
    const e = weak[added.length];
    added.push(e);
    change(e, 1);
    if (i % 50 === 49 && performance.now() > until) return false;
  }
  return true;
}

/** Until the new picture is drawn, the old one stays, moved and scaled to where it belongs. */
function place({ canvas, drawn, job }) {
  if (!drawn) return;
  const scale = job.view.scale / drawn.scale;
  canvas.style.transform = `translate(${job.view.x - drawn.x * scale}px, ${job.view.y - drawn.y * scale}px) scale(${scale})`;
}

function reveal(painter) {
  const { canvas, job, lines, cloud, density } = painter;
  const context = canvas.getContext("2d");
  const [width, height] = sized(canvas, job, job.ratio);
  if (painter.added.length) {
    if (painter.changed) developed(painter, density);
    context.drawImage(cloud, 0, 0, width, height);
  }
  context.drawImage(lines, 0, 0);
  canvas.style.transform = "";
  painter.drawn = job.view;
}

/** Brings the canvas of the weak edges up to date. */
function developed(painter, density) {
  const { cloud, job } = painter;
  const context = cloud.getContext("2d", { willReadFrequently: true });
  const image = context.createImageData(cloud.width, cloud.height);
  develop(
    density,
    job.names.map((name) => rgb(job.colours[name])),
    gainOf(painter.added.length),
    image.data,
  );
  context.putImageData(image, 0, 0);
  painter.changed = false;
}

/** How much one weak edge shows: less, the more there are. */
function gainOf(count) {
  return Math.max(0.012, Math.min(0.16, 160 / count));
}

/** The canvas empty and as large as the room. */
function sized(canvas, job, ratio) {
  const [width, height] = [job.width, job.height].map((size) => Math.max(1, Math.round(size * ratio)));
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
    canvas.style.width = `${job.width}px`;
    canvas.style.height = `${job.height}px`;
  } else {
    const context = canvas.getContext("2d", { willReadFrequently: canvas.className !== "edges" });
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
  }
  return [width, height];
}

/** One edge, its arrow head with it. */
export function drawEdge(context, job, e) {
  const { model, points } = job;
  const at = e * 8;
  if (Number.isNaN(points[at])) return;
  const { width, opacity } = look(strength(model.value ? model.value[e] : null, job.largest), job.crowd);
  const colour = job.colours[job.colour(e)];
  const { kind } = model.readers[model.reader[e]];
  context.globalAlpha = opacity;
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.setLineDash(PATTERNS[kind]);
  if (!kind) arrow(context, points, at, colour);
  context.beginPath();
  context.moveTo(points[at], points[at + 1]);
  context.bezierCurveTo(points[at + 2], points[at + 3], points[at + 4], points[at + 5], points[at + 6], points[at + 7]);
  context.stroke();
}

/** The corners [x, y] of the arrow head at the end of a curve. */
export function arrowHead(points, at) {
  const [x, y] = [points[at + 6], points[at + 7]];
  const angle = Math.atan2(y - points[at + 5], x - points[at + 4]);
  const corner = (turn) => [x - 6.5 * Math.cos(angle + turn), y - 6.5 * Math.sin(angle + turn)];
  return [[x, y], corner(-0.42), corner(0.42)];
}

function arrow(context, points, at, colour) {
  const [tip, left, right] = arrowHead(points, at);
  context.fillStyle = colour;
  context.beginPath();
  context.moveTo(...tip);
  context.lineTo(...left);
  context.lineTo(...right);
  context.fill();
}

function startsWith(edges, prefix, count) {
  if (edges.length < count) return false;
  for (let i = 0; i < count; i += 1) if (edges[i] !== prefix[i]) return false;
  return true;
}
