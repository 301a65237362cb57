// Edges on a canvas. The strongest are drawn first and each next one *below* what is there, so that a picture of 32,491
// edges can appear in slices of a few milliseconds, and so that moving the slider up only adds.

import { PATTERNS, PATTERNED, crowdOf, look, strength } from "./style.js";

const SLICE = 9; // milliseconds of drawing in a frame
const PATIENCE = 90; // after so long, what is drawn so far is shown

/** A painter of one canvas: `paint(job)` shows a job, slice by slice. */
export function createPainter(canvas) {
  const back = document.createElement("canvas");
  const painter = { canvas, back, job: null, next: 0, started: 0, frame: 0, drawn: null, idle: true, done: () => {} };
  painter.paint = (job) => paint(painter, job);
  return painter;
}

/**
 * A job is {model, points, edges, colour, colours, largest, view: {x, y, scale}, width, height, ratio, key}. Two jobs with the
 * same `key` differ in `edges` alone.
 */
function paint(painter, job) {
  const { job: before } = painter;
  job.crowd = crowdOf(job.edges.length);
  const grows = before && before.key === job.key && before.crowd === job.crowd && startsWith(job.edges, before.edges, painter.next);
  painter.job = job;
  if (!grows) {
    painter.next = 0;
    clear(painter.back, job);
  }
  painter.started = performance.now();
  place(painter);
  if (painter.idle) {
    painter.idle = false;
    step(painter);
  }
}

function step(painter) {
  const { job, back } = painter;
  const context = back.getContext("2d");
  const until = performance.now() + SLICE;
  prepare(context, job);
  while (painter.next < job.edges.length && performance.now() < until) {
    const stop = Math.min(job.edges.length, painter.next + 60);
    for (; painter.next < stop; painter.next += 1) drawEdge(context, job, painter.next);
  }
  const finished = painter.next >= job.edges.length;
  if (finished || performance.now() - painter.started > PATIENCE) reveal(painter);
  if (finished) {
    painter.idle = true;
    painter.done(job);
  } else painter.frame = requestAnimationFrame(() => step(painter));
}

/** Until the new picture is drawn, the old one stays, moved and scaled to where it belongs. */
function place(painter) {
  const { canvas, drawn, job } = painter;
  if (!drawn) return;
  const scale = job.view.scale / drawn.scale;
  canvas.style.transformOrigin = "0 0";
  canvas.style.transform = `translate(${job.view.x - drawn.x * scale}px, ${job.view.y - drawn.y * scale}px) scale(${scale})`;
}

function reveal(painter) {
  const { canvas, back, job } = painter;
  clear(canvas, job);
  canvas.getContext("2d").drawImage(back, 0, 0);
  canvas.style.transform = "";
  painter.drawn = job.view;
}

function clear(canvas, { width, height, ratio }) {
  const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  } else canvas.getContext("2d").clearRect(0, 0, w, h);
}

function prepare(context, { view, ratio }) {
  context.setTransform(ratio * view.scale, 0, 0, ratio * view.scale, ratio * view.x, ratio * view.y);
  context.globalCompositeOperation = "destination-over";
  context.lineCap = "butt";
}

/** One edge, line first and its arrow head with it. */
export function drawEdge(context, job, place) {
  const { model, points, edges } = job;
  const e = edges[place];
  const at = e * 8;
  if (Number.isNaN(points[at])) return;
  const { width, opacity } = look(strength(model.value ? model.value[e] : null, job.largest), job.crowd);
  const colour = job.colours[job.colour(e)];
  const kind = model.readers[model.reader[e]].kind;
  context.globalAlpha = opacity;
  context.strokeStyle = colour;
  context.lineWidth = width;
  if (place < PATTERNED) {
    context.setLineDash(PATTERNS[kind]);
    if (!kind) arrow(context, points, at, colour);
  } else context.setLineDash(PATTERNS[""]);
  context.beginPath();
  context.moveTo(points[at], points[at + 1]);
  context.bezierCurveTo(points[at + 2], points[at + 3], points[at + 4], points[at + 5], points[at + 6], points[at + 7]);
  context.stroke();
}

function arrow(context, points, at, colour) {
  const [x, y] = [points[at + 6], points[at + 7]];
  const angle = Math.atan2(y - points[at + 5], x - points[at + 4]);
  context.fillStyle = colour;
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(x - 6.5 * Math.cos(angle - 0.42), y - 6.5 * Math.sin(angle - 0.42));
  context.lineTo(x - 6.5 * Math.cos(angle + 0.42), y - 6.5 * Math.sin(angle + 0.42));
  context.fill();
}

function startsWith(edges, prefix, count) {
  if (edges.length < count) return false;
  for (let i = 0; i < count; i += 1) if (edges[i] !== prefix[i]) return false;
  return true;
}
