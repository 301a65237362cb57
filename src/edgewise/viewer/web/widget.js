// The page as a widget of a notebook: the same parts, in the element that the notebook gives.

import { el } from "./dom.js";
import { mount } from "./main.js";
import { widgetPlace } from "./place.js";

/** What anywidget calls: shows the model's document in `element`. */
export function render({ model, el: element }) {
  const root = el("div", { tabindex: "-1" });
  root.style.height = `${model.get("height")}px`;
  element.append(root);
  mount(root, model.get("document"), widgetPlace(model));
}
