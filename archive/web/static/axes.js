// What every plot is made of: colours, scales with ticks, a frame and its axes.
const SVG = "http://www.w3.org/2000/svg";
export const NARROW = 520;

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
export const href = (run, id) => `/run/${encodeURIComponent(run)}/c/${encodeURIComponent(id)}`;

export function node(name, attributes = {}, text = null) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  return made;
}

/** A scale from figures to pixels, with ticks. */
export function scale(low, high, from, to, log) {
  const f = log ? Math.log10 : (v) => v;
  if (!(high > low)) { const pad = log ? low * 0.1 : Math.abs(low) * 0.05 || 1; low -= pad; high += pad; }
  let a = f(low), b = f(high);
  const pad = (b - a) * 0.04;
  a -= pad; b += pad;
  const at = (v) => from + ((f(v) - a) / (b - a)) * (to - from);
  const back = (p) => { const v = a + ((p - from) / (to - from)) * (b - a); return log ? 10 ** v : v; };
  const ticks = [];
  const count = Math.max(2, Math.abs(to - from) / 70);
  if (log) {
    const decades = b - a;
    const steps = decades > count ? [1] : decades * 3 > count ? [1, 3] : decades * 5 > count ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9];
    for (let e = Math.floor(a); e <= Math.ceil(b); e++) for (const s of steps) { const v = s * 10 ** e; if (f(v) >= a && f(v) <= b) ticks.push(v); }
  }
  if (ticks.length < 2) {
    ticks.length = 0;
    const lo = log ? 10 ** a : a, hi = log ? 10 ** b : b;
    const raw = (hi - lo) / count, power = 10 ** Math.floor(Math.log10(raw));
    const unit = [1, 2, 5, 10].map((m) => m * power).find((m) => m >= raw);
    for (let v = Math.ceil(lo / unit) * unit; v <= hi + unit * 1e-9; v += unit) ticks.push(v);
  }
  return { at, back, ticks };
}

export const short = (v) => v === 0 ? "0" : Math.abs(v) >= 1e5 || Math.abs(v) < 1e-3 ? v.toExponential(0) : String(Number(v.toPrecision(3)));

export function frame(figure, title) {
  const box = figure.querySelector(".canvas");
  box.replaceChildren();
  const width = box.clientWidth, height = box.clientHeight;
  const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": title });
  return { box, svg, width, height, left: 46, right: width - 14, top: 22, bottom: height - 40 };
}

export function axesOf(area, x, y, xName, yName, xUnit, yUnit) {
  const g = node("g", { "aria-hidden": "true" });
  for (const v of y.ticks) {
    g.append(node("line", { class: "tick", x1: area.left, x2: area.right, y1: y.at(v), y2: y.at(v) }));
    g.append(node("text", { x: area.left - 6, y: y.at(v) + 4, "text-anchor": "end" }, short(v)));
  }
  let last = -Infinity;
  for (const v of x.ticks) {
    const at = x.at(v);
    g.append(node("line", { class: "tick", x1: at, x2: at, y1: area.bottom, y2: area.bottom + 4 }));
    if (at - last < 34 || at > area.right - 4) continue;
    g.append(node("text", { x: at, y: area.bottom + 15, "text-anchor": "middle" }, short(v)));
    last = at;
  }
  const wide = area.width > NARROW;
  g.append(node("text", { class: "label", x: area.left - 40, y: 12 }, yName + (wide && yUnit ? `, ${yUnit}` : "")));
  g.append(node("text", { class: "label", x: area.right, y: area.height - 6, "text-anchor": "end" }, xName + (wide && xUnit ? `, ${xUnit}` : "")));
  return g;
}

export const said = (axis) => (axis.direction ? (axis.direction === "min" ? ` (less is better)` : ` (more is better)`) : "");

/** A canvas over the frame, for what is too much for SVG; returns its pen too. */
export function canvas(area) {
  const made = document.createElement("canvas");
  const ratio = Math.min(2, devicePixelRatio || 1);
  made.width = area.width * ratio;
  made.height = area.height * ratio;
  made.setAttribute("aria-hidden", "true");
  const pen = made.getContext("2d");
  pen.scale(ratio, ratio);
  return [made, pen];
}

/** Half of the height of a mark. */
export const SIZE = 4.6;
export const diamond = (u, v, s = SIZE + 1) => `M${u} ${v - s}L${u + s} ${v}L${u} ${v + s}L${u - s} ${v}Z`;
export const triangle = (u, v, s = SIZE) => `M${u} ${v - s}L${u + s} ${v + 0.8 * s}L${u - s} ${v + 0.8 * s}Z`;
/** A star with five points around a place. */
export function star(u, v, s = SIZE + 2.4) {
  const corner = (k) => { const r = k % 2 ? 0.46 * s : s, a = (k * Math.PI) / 5; return `${(u + r * Math.sin(a)).toFixed(1)} ${(v - r * Math.cos(a)).toFixed(1)}`; };
  return `M${Array.from({ length: 10 }, (_, k) => corner(k)).join("L")}Z`;
}
export const cross = (u, v, s = 3.6) => `M${u - s} ${v - s}L${u + s} ${v + s}M${u + s} ${v - s}L${u - s} ${v + s}`;
