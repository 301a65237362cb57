// Elements with text as text: nothing here, and nothing built on it, ever parses markup.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element: `class`, `text`, `on…` listeners, properties such as `value`, else attributes; then its children. */
export function el(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

/** The same for SVG. */
export function svg(tag, properties = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), properties, children);
}

/** The element with these children instead of those it had. */
export function refill(element, ...children) {
  element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

function filled(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (["value", "checked", "disabled", "open", "hidden"].includes(name)) element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** A number as people read it: four significant digits, a sign, no more zeros than needed. */
export function signed(value) {
  if (value === null || Number.isNaN(value)) return "unknown";
  if (!Number.isFinite(value)) return value > 0 ? "+∞" : "−∞";
  const text =
    Math.abs(value) >= 0.001 || value === 0 ? String(Number(Math.abs(value).toPrecision(4))) : Math.abs(value).toExponential(2);
  return `${value < 0 ? "−" : "+"}${text}`;
}

/** A share in percent. */
export function percent(value) {
  return value === null || value === undefined ? "unknown" : `${(100 * value).toFixed(Math.abs(value) < 0.0995 ? 1 : 0)}%`;
}

/** A whole number with thousands separated. */
export function whole(value) {
  return value.toLocaleString("en-US");
}
