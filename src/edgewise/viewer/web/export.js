// Out of the page. (The formats are in files of their own.)

import { el } from "./dom.js";

/** The menu of formats. */
export function exportMenu() {
  return el("span", {});
}
