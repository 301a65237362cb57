// How strong, which colour, which pattern: the look of every edge.

import { IN_A, IN_B, IN_REFERENCE } from "./data.js";

export const PATTERNS = { q: [7, 3], k: [1.6, 3.2], v: [9, 3, 1.6, 3], "": [] };
const STEPS = 10;

/** The colours of the page as its style sheet has them now. */
export function palette(element) {
  const style = getComputedStyle(element);
  const names = ["helps", "hurts", "unscored", "only-a", "only-b", "both", "ink", "quiet", "paper", "accent"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/** The names of the colours that edges may have in a scope. */
export function colourNames(model, scope) {
  if (scope === "compare" || scope === "reference") return ["only-a", "only-b", "both"];
  return model.score ? ["helps", "hurts"] : ["unscored"];
}

/** [r, g, b] of a colour written `#rrggbb`. */
export function rgb(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

/** A function from edge to name of colour: by sign, or in a comparison by which circuits have it. */
export function colouring(model, scope) {
  if (scope === "compare") return (e) => membership(model.flags[e], IN_B);
  if (scope === "reference") return (e) => membership(model.flags[e], IN_REFERENCE);
  if (!model.score) return () => "unscored";
  return (e) => (model.value[e] < 0 ? "hurts" : "helps");
}

function membership(flags, second) {
  const [mine, theirs] = [flags & IN_A, flags & second];
  return mine && theirs ? "both" : mine ? "only-a" : "only-b";
}

/** Width and opacity by strength, in few steps, for `shown` edges of which the largest score is `largest`. */
export function look(strength, shown) {
  const crowd = Math.min(1, Math.sqrt(90 / Math.max(1, shown)));
  const weight = (Math.round(strength * STEPS) / STEPS) ** (2 - crowd);
  const faintest = 0.05 + 0.55 * crowd;
  return {
    width: 0.7 * (0.5 + 0.5 * crowd) + 3.4 * weight * (0.5 + 0.5 * crowd),
    opacity: faintest + (0.95 - faintest) * weight,
  };
}

/** Square root of the share of the largest score: weak edges stay visible beside strong ones. */
export function strength(value, largest) {
  if (value === null || !largest) return 0.4;
  if (largest === Infinity) return Math.abs(value) === Infinity ? 1 : 0;
  return Math.min(1, Math.sqrt(Math.abs(value) / largest));
}

/** A number of edges at which looks change: the same for a range of sizes, so that moving the slider only adds lines. */
export function crowdOf(shown) {
  return shown <= 90 ? 90 : 90 * 2 ** Math.round(Math.log2(shown / 90));
}
