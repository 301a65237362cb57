// The page as a widget of a notebook: the same parts, in the element that the notebook gives.

import { el } from "./dom.js";
import { mount } from "./main.js";
import { widgetPlace } from "./place.js";

/** What anywidget calls: shows the model's document in `element`. */
export function render({ model, el: element }) {
  // A notebook has keys of its own: what is typed in here must not cut its cells. JupyterLab asks for the attribute.
  const root = el("div", { tabindex: "-1", "data-lm-suppress-shortcuts": "true" });
  root.addEventListener("keydown", (event) => event.stopPropagation());
  root.style.height = `${model.get("height")}px`;
  element.append(root);
  mount(root, model.get("document"), widgetPlace(model));
}
