// The picture as SVG text and as PNG, as it is on the page now.

import { edgeName } from "./data.js";
import { svg } from "./dom.js";
import { told } from "./formats.js";
import { arrowHead, drawEdge } from "./paint.js";
import { PATTERNS, look, strength } from "./style.js";

const FACTOR = 2; // pixels of a PNG for each pixel of the page
const NODE = ["fill", "stroke", "stroke-width", "stroke-dasharray", "display", "visibility"];

/** The whole picture as a standing-alone SVG, edges as paths. */
export function svgText(app) {
  const { layout } = app;
  const root = svg("svg", {
    xmlns: "http://www.w3.org/2000/svg",
    width: layout.width,
    height: layout.height,
    viewBox: `0 0 ${layout.width} ${layout.height}`,
    "font-family": "system-ui, Helvetica, Arial, sans-serif",
  });
  const job = app.painter.job;
  root.append(
    svg("title", { text: app.model.doc.title }),
    svg("rect", { width: layout.width, height: layout.height, fill: job.colours.paper }),
  );
  root.append(inlined(app.stage.ground), edgePaths(job), inlined(app.stage.nodes));
  return `${new XMLSerializer().serializeToString(root)}\n`;
}

/** A blob of the picture as PNG. */
export async function png(app) {
  const { layout } = app;
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(layout.width * FACTOR);
  canvas.height = Math.round(layout.height * FACTOR);
  const context = canvas.getContext("2d");
  const { job } = app.painter;
  context.fillStyle = job.colours.paper;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(await image(group(app, app.stage.ground)), 0, 0, canvas.width, canvas.height);
  const edges = document.createElement("canvas");
  [edges.width, edges.height] = [canvas.width, canvas.height];
  const lines = edges.getContext("2d");
  lines.setTransform(FACTOR, 0, 0, FACTOR, 0, 0);
  lines.globalCompositeOperation = "destination-over";
  for (const e of job.edges) drawEdge(lines, job, e);
  context.drawImage(edges, 0, 0);
  context.drawImage(await image(group(app, app.stage.nodes)), 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/** The edges as paths, weakest first, so that the strongest lie on top. */
function edgePaths(job) {
  const { model, points, edges } = job;
  const group = svg("g", { fill: "none" });
  for (let i = edges.length - 1; i >= 0; i -= 1) {
    const e = edges[i];
    const [a, b, c, d, f, g, h, k] = Array.from(points.subarray(e * 8, e * 8 + 8), (value) => Math.round(value * 10) / 10);
    if (Number.isNaN(a)) continue;
    const { width, opacity } = look(strength(model.value ? model.value[e] : null, job.largest), job.crowd);
    const { kind } = model.readers[model.reader[e]];
    const pattern = PATTERNS[kind].join(" ");
    if (!kind) {
      const corners = arrowHead(points, e * 8).map((corner) => corner.map((value) => value.toFixed(1)).join(" "));
      group.append(
        svg("path", { d: `M${corners.join("L")}Z`, fill: job.colours[job.colour(e)], "fill-opacity": opacity.toFixed(2) }),
      );
    }
    group.append(
      svg(
        "path",
        {
          d: `M${a} ${b}C${c} ${d} ${f} ${g} ${h} ${k}`,
          stroke: job.colours[job.colour(e)],
          "stroke-width": width.toFixed(2),
          "stroke-opacity": opacity.toFixed(2),
          "stroke-dasharray": pattern || null,
          "data-edge": edgeName(model, e),
          "data-score": model.score && String(Number(model.score[e].toPrecision(6))),
        },
        svg("title", { text: told(edgeName(model, e), model.score ? model.score[e] : null, "\n") }),
      ),
    );
  }
  return group;
}

/** A copy of drawn elements with the styles that the page's sheet gives them. */
function inlined(element) {
  const copy = element.cloneNode(true);
  copy.removeAttribute("transform");
  const [from, to] = [element.querySelectorAll("*"), copy.querySelectorAll("*")];
  from.forEach((one, i) => {
    const style = getComputedStyle(one);
    for (const name of NODE) if (style.getPropertyValue(name)) to[i].setAttribute(name, style.getPropertyValue(name));
    for (const name of ["role", "tabindex", "aria-pressed", "class", "data-tint"]) to[i].removeAttribute(name);
  });
  return copy;
}

function group(app, element) {
  const { width, height } = app.layout;
  const root = svg("svg", {
    xmlns: "http://www.w3.org/2000/svg",
    width: width * FACTOR,
    height: height * FACTOR,
    viewBox: `0 0 ${width} ${height}`,
    "font-family": "system-ui, Helvetica, Arial, sans-serif",
  });
  root.append(inlined(element));
  return new XMLSerializer().serializeToString(root);
}

async function image(text) {
  const found = new Image();
  found.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await found.decode();
  return found;
}
