// Out of the page: a menu of formats; what is shown now is what is written.

import { el } from "./dom.js";
import { circuit } from "./circuit.js";
import { csv, dot, graphml, neuronpedia } from "./formats.js";
import { png, svgText } from "./pictures.js";

/** Format -> {label, suffix, type, write}: `write(app)` gives text or a blob, or a promise of one. */
export const EXPORTS = {
  circuit: { label: "Circuit for edgewise", suffix: ".json", type: "application/json", write: circuit },
  svg: { label: "SVG picture", suffix: ".svg", type: "image/svg+xml", write: svgText },
  png: { label: "PNG picture", suffix: ".png", type: "image/png", write: png },
  dot: { label: "DOT for Graphviz", suffix: ".dot", type: "text/vnd.graphviz", write: dot },
  graphml: { label: "GraphML", suffix: ".graphml", type: "application/xml", write: graphml },
  csv: { label: "CSV of edges", suffix: ".csv", type: "text/csv", write: csv },
  neuronpedia: { label: "Neuronpedia graph JSON", suffix: ".neuronpedia.json", type: "application/json", write: neuronpedia },
};

/** The menu of formats. */
export function exportMenu(app) {
  const options = Object.entries(EXPORTS).map(([value, { label }]) => el("option", { value, text: label }));
  const field = el(
    "select",
    {
      class: "export",
      "aria-label": "export what is shown",
      onchange: () => {
        download(app, field.value);
        field.value = "";
      },
    },
    el("option", { value: "", text: "Export …" }),
    options,
  );
  return field;
}

async function download(app, name) {
  const { suffix, type, write } = EXPORTS[name];
  const content = await write(app);
  const address = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  const link = el("a", { href: address, download: `circuit${suffix}`, hidden: true });
  app.root.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
