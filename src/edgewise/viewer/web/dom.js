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

/** What makes a long text scroll in its place, by keyboard too. */
export function scrolled(text, longest = 300) {
  return text.length > longest ? { tabindex: "0", "data-scrolled": "" } : {};
}

/** A button that copies what `text()` gives, and says so for a moment. */
export function copyButton(label, text) {
  const button = el("button", {
    type: "button",
    text: label,
    onclick: async () => {
      const copied = await copy(text());
      button.textContent = copied ? "Copied" : "Not copied: the browser forbids it";
      setTimeout(() => (button.textContent = label), 1500);
    },
  });
  return button;
}

/** Whether the text is in the clipboard now; browsers that have no other way for a page of a folder take a selection. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = el("textarea", { value: text, "aria-hidden": "true" });
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    return copied;
  }
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
  if (value === null || value === undefined) return "unknown";
  return `${(100 * value).toFixed(Math.abs(value) < 0.0995 ? 1 : 0)}%`.replace(/^-0\.0%$/, "0.0%");
}

/** A whole number with thousands separated. */
export function whole(value) {
  return value.toLocaleString("en-US");
}
