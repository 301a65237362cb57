// Thousands of weak edges as a density: every curve adds its weight to the pixels it crosses, and can be taken out again.
// A browser draws some twenty curves in a millisecond and this adds hundreds, so that a slider over 32,491 edges stays
// fluid; weights are whole numbers, so that taking out what was added leaves nothing behind.

const SEGMENTS = 14;
const HEAVIEST = 16;
const STEPS = 15; // of a mixture of colours

/** An empty density of `width` × `height` pixels for `colours` colours. */
export function createDensity(width, height, colours) {
  const layers = Array.from({ length: colours }, () => new Float32Array(width * height));
  return { width, height, layers };
}

/** The weight of an edge of that strength in [0, 1]: a whole number. */
export function weightOf(strength) {
  return 1 + Math.round((HEAVIEST - 1) * strength * strength);
}

/** Adds `weight` along the curve at `offset` of `points`, seen through `view`; a negative weight takes it out. */
export function addCurve(density, layer, points, offset, view, weight) {
  const { x, y, scale } = view;
  const p = points;
  const [x0, y0] = [p[offset] * scale + x, p[offset + 1] * scale + y];
  const [x1, y1] = [p[offset + 2] * scale + x, p[offset + 3] * scale + y];
  const [x2, y2] = [p[offset + 4] * scale + x, p[offset + 5] * scale + y];
  const [x3, y3] = [p[offset + 6] * scale + x, p[offset + 7] * scale + y];
  if (!(Math.max(x0, x1, x2, x3) >= 0) || Math.min(x0, x1, x2, x3) > density.width) return;
  if (Math.max(y0, y1, y2, y3) < 0 || Math.min(y0, y1, y2, y3) > density.height) return;
  let [fromX, fromY] = [x0, y0];
  for (let i = 1; i <= SEGMENTS; i += 1) {
    const t = i / SEGMENTS;
    const s = 1 - t;
    const a = s * s * s;
    const b = 3 * s * s * t;
    const c = 3 * s * t * t;
    const d = t * t * t;
    const toX = a * x0 + b * x1 + c * x2 + d * x3;
    const toY = a * y0 + b * y1 + c * y2 + d * y3;
    addLine(density.layers[layer], density.width, density.height, fromX, fromY, toX, toY, weight);
    fromX = toX;
    fromY = toY;
  }
}

/** One straight piece: a pixel for each step along its longer side. */
function addLine(layer, width, height, x0, y0, x1, y1, weight) {
  const dx = x1 - x0;
  const dy = y1 - y0;
  const steps = Math.max(1, Math.round(Math.max(Math.abs(dx), Math.abs(dy))));
  const sx = dx / steps;
  const sy = dy / steps;
  let px = x0;
  let py = y0;
  for (let i = 0; i < steps; i += 1) {
    const ix = px | 0;
    const iy = py | 0;
    if (px >= 0 && py >= 0 && ix < width && iy < height) layer[iy * width + ix] += weight;
    px += sx;
    py += sy;
  }
}

/**
 * The density as pixels: the more weight, the less transparent. `colours` are up to three [r, g, b], `gain` says how much one
 * unit of weight shows.
 */
export function develop(density, colours, gain, pixels) {
  const [a, b, c] = density.layers;
  const words = new Uint32Array(pixels.buffer);
  const opacity = exposure(gain);
  const mixed = mixtures(colours);
  const last = opacity.length - 1;
  for (let i = 0; i < a.length; i += 1) {
    const x = a[i];
    const y = b ? b[i] : 0;
    const sum = x + y + (c ? c[i] : 0);
    words[i] =
      sum === 0
        ? 0
        : mixed[(((STEPS * x) / sum) | 0) * (STEPS + 1) + (((STEPS * y) / sum) | 0)] | opacity[sum < last ? sum : last];
  }
}

/** The colour for each pair of shares of the first two colours, in steps; the third has the rest. */
function mixtures(colours) {
  const found = new Uint32Array((STEPS + 1) ** 2);
  for (let x = 0; x <= STEPS; x += 1) {
    for (let y = 0; y <= STEPS; y += 1) {
      const shares = [x, y, Math.max(0, STEPS - x - y)].slice(0, colours.length);
      const sum = shares.reduce((total, share) => total + share, 0) || 1;
      const [r, g, b] = [0, 1, 2].map((k) =>
        Math.round(colours.reduce((value, colour, i) => value + (shares[i] / sum) * colour[k], 0)),
      );
      found[x * (STEPS + 1) + y] = (b << 16) | (g << 8) | r;
    }
  }
  return found;
}

/** Opacity by weight, where a pixel keeps it: every further edge covers the same share of what still shines through. */
function exposure(gain) {
  return Uint32Array.from({ length: 2048 }, (_, weight) => (Math.round(235 * (1 - Math.exp(-gain * weight))) << 24) >>> 0);
}
