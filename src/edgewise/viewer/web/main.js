// The page: builds its parts in an element, and brings them up to date when the state changes.

import { createApp } from "./app.js";
import { parseDocument } from "./data.js";
import { el, refill } from "./dom.js";
import { addressPlace } from "./place.js";

/** Shows a document (JSON text) in an element; what cannot be shown is said there. Returns the app, or null. */
export function mount(root, text, place = addressPlace()) {
  root.classList.add("edgewise");
  try {
    return createApp(root, parseDocument(text), place);
  } catch (error) {
    refill(
      root,
      el("div", { class: "failure", role: "alert" }, el("h1", { text: "Nothing to show" }), el("p", { text: error.message })),
    );
    return null;
  }
}
