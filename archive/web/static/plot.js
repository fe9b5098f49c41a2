// Plots: thousands of points on a canvas, and everything that is read or reached (axes, front, labels, links) in SVG.
const SVG = "http://www.w3.org/2000/svg";
const NARROW = 520;

/** Draw or renew the plot of a figure. `choose` is told a brushed box, or null. */
export async function draw(figure, choose) {
  const answer = await fetch(figure.dataset.source);
  if (!answer.ok) { figure.querySelector("figcaption").textContent = "The data of this plot cannot be had."; return; }
  figure.data = await answer.json();
  const kinds = { scatter, curve, parallel };
  figure.repaint = () => kinds[figure.dataset.plot](figure, figure.data, choose);
  figure.repaint();
  figure.dataset.drawn = figure.data.head;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const href = (run, id) => `/run/${encodeURIComponent(run)}/c/${encodeURIComponent(id)}`;

function node(name, attributes = {}, text = null) {
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

function frame(figure, title) {
  const box = figure.querySelector(".canvas");
  box.replaceChildren();
  const width = box.clientWidth, height = box.clientHeight;
  const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": title });
  return { box, svg, width, height, left: 46, right: width - 14, top: 22, bottom: height - 40 };
}

function axesOf(area, x, y, xName, yName, xUnit, yUnit) {
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

const said = (axis) => (axis.direction ? (axis.direction === "min" ? ` (less is better)` : ` (more is better)`) : "");

// ----------------------------------------------------------------------------------------------------------- scatter

function scatter(figure, data, choose) {
  const X = inside(data, data.x), Y = inside(data, data.y);
  const caption = figure.querySelector("figcaption");
  const area = frame(figure, figure.getAttribute("aria-label"));
  if (!X.length) { caption.textContent = `No points on the ${data.split} split yet.`; return; }
  const query = new URLSearchParams(location.search);
  const log = (name) => {
    const wanted = query.get(`${name}scale`);
    const positive = data.columns[data[name]].every((v) => v > 0);
    return positive && (wanted ? wanted === "log" : data.axes[data[name]].scale === "log10");
  };
  const span = (values) => values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
  const x = scale(...span(X), area.left, area.right, log("x"));
  const y = scale(...span(Y), area.bottom, area.top, log("y"));
  const px = Float32Array.from(X, x.at), py = Float32Array.from(Y, y.at);
  area.box.append(dots(area, data, px, py), area.svg);
  area.svg.append(axesOf(area, x, y, data.x, data.y, data.axes[data.x].unit, data.axes[data.y].unit));

  const order = [...data.front].sort((a, b) => px[a] - px[b] || py[b] - py[a]);
  const plain = data.objectives.length === 2 && data.objectives.includes(data.x) && data.objectives.includes(data.y);
  if (plain && order.length) area.svg.append(staircase(area, data, px, py, order));
  const seeds = [];
  for (let i = 0; i < px.length; i++) if (data.candidates[data.owner[i]][2] === "s") seeds.push(i);
  for (const i of [...seeds.filter((i) => !data.front.includes(i)), ...order]) area.svg.append(reached(data, px, py, i));
  labels(area, data, px, py, order, seeds);

  const rest = `${data.candidates.length.toLocaleString()} candidates, ${px.length.toLocaleString()} points, ${new Set(order.map((i) => data.owner[i])).size} on the front${said(data.axes[data.y]) ? "; " + data.x + said(data.axes[data.x]) + ", " + data.y + said(data.axes[data.y]) : ""}`;
  caption.textContent = rest;
  const over = node("circle", { class: "over", r: 6, visibility: "hidden" });
  area.svg.append(over);
  const nearest = (event) => {
    const box = area.box.getBoundingClientRect(), u = event.clientX - box.left, v = event.clientY - box.top;
    let best = -1, least = 196;
    for (let i = 0; i < px.length; i++) {
      const d = (px[i] - u) ** 2 + (py[i] - v) ** 2;
      if (d < least) { least = d; best = i; }
    }
    return best;
  };
  area.svg.addEventListener("pointermove", (event) => {
    const i = nearest(event);
    over.setAttribute("visibility", i < 0 ? "hidden" : "visible");
    area.svg.classList.toggle("points", i >= 0);
    if (i < 0) { caption.textContent = rest; return; }
    over.setAttribute("cx", px[i]);
    over.setAttribute("cy", py[i]);
    caption.textContent = tell(data, i);
  });
  area.svg.addEventListener("pointerleave", () => { over.setAttribute("visibility", "hidden"); caption.textContent = rest; });
  area.svg.addEventListener("focusin", (event) => { const a = event.target.closest("a"); if (a) caption.textContent = a.getAttribute("aria-label"); });
  brushing(area, x, y, query, choose, (event) => {
    const i = nearest(event);
    if (i >= 0) location.assign(href(data.run, data.candidates[data.owner[i]][0]));
  });
}

/** The figures of an axis, those beyond its good end on it: an error of 1e-15 is not worth thirteen decades. */
function inside(data, name) {
  const { best, direction } = data.axes[name];
  if (best === undefined || best === null) return data.columns[name];
  return data.columns[name].map((v) => (direction === "min" ? Math.max(v, best) : Math.min(v, best)));
}

function tell(data, i) {
  const [id, iteration, , certified, idea] = data.candidates[data.owner[i]];
  const at = data.labels[data.label[i]];
  const values = [...new Set([data.x, data.y, ...data.objectives])].map((name) => `${name} ${Number(data.columns[name][i].toPrecision(4))}`);
  return `#${iteration} ${id.slice(0, 10)}${at ? ` at ${at}` : ""}: ${values.join(", ")}${certified ? ", certified" : ""}${idea ? `. ${idea}` : ""}`;
}

function dots(area, data, px, py) {
  const canvas = document.createElement("canvas");
  const ratio = Math.min(2, devicePixelRatio || 1);
  canvas.width = area.width * ratio;
  canvas.height = area.height * ratio;
  canvas.setAttribute("aria-hidden", "true");
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.fillStyle = pen.strokeStyle = colour("--point");
  const many = px.length > 4000;
  pen.globalAlpha = many ? 0.35 : 0.75;
  const r = many ? 1.4 : px.length > 800 ? 2 : 2.6;
  for (let i = 0; i < px.length; i++) {
    const kind = data.candidates[data.owner[i]][2];
    if (kind === "s") continue;
    if (kind === "r") { // a reference: a cross
      pen.beginPath(); pen.moveTo(px[i] - 4, py[i] - 4); pen.lineTo(px[i] + 4, py[i] + 4); pen.moveTo(px[i] + 4, py[i] - 4); pen.lineTo(px[i] - 4, py[i] + 4); pen.stroke();
    } else if (many) pen.fillRect(px[i] - r, py[i] - r, 2 * r, 2 * r);
    else { pen.beginPath(); pen.arc(px[i], py[i], r, 0, 7); pen.fill(); }
  }
  return canvas;
}

/** The line between what is dominated and what is not, as stairs: no point between two is claimed. */
function staircase(area, data, px, py, order) {
  const g = node("g", { "aria-hidden": "true" });
  const down = data.axes[data.y].direction === "min", left = data.axes[data.x].direction === "min";
  const steps = left ? order : [...order].reverse();
  let path = `M${px[steps[0]]} ${down ? area.top : area.bottom}`;
  for (const i of steps) path += `V${py[i]}`.replace(/^V/, path.endsWith("Z") ? "V" : `H${px[i]}V`);
  const end = left ? area.right : area.left;
  g.append(node("path", { class: "frontline", d: `${path}H${end}` }));
  g.append(node("path", { class: "area", d: `${path}H${end}V${down ? area.top : area.bottom}Z` }));
  return g;
}

function reached(data, px, py, i) {
  const [id, , kind, certified] = data.candidates[data.owner[i]];
  const a = node("a", { href: href(data.run, id), class: `${kind === "s" ? "seed" : ""} ${certified ? "certified" : ""}`, "aria-label": tell(data, i) });
  const s = 4.6;
  a.append(kind === "s"
    ? node("path", { class: "dot", d: `M${px[i]} ${py[i] - s - 1}L${px[i] + s + 1} ${py[i]}L${px[i]} ${py[i] + s + 1}L${px[i] - s - 1} ${py[i]}Z` })
    : node("circle", { class: "dot", cx: px[i], cy: py[i], r: s }));
  return a;
}

/** Direct labels where there is room: the points of the front by their setting, the seed once, the front once. */
function labels(area, data, px, py, order, seeds) {
  const g = node("g", { "aria-hidden": "true" });
  const taken = [];
  const put = (u, v, text, name, anchor = "start") => {
    const w = text.length * 6.2;
    const x0 = anchor === "start" ? u : u - w;
    if (x0 < area.left || x0 + w > area.right + 8 || v < area.top || v > area.bottom - 14) return false;
    if (taken.some((b) => x0 < b[2] && x0 + w > b[0] && v - 12 < b[3] && v > b[1])) return false;
    taken.push([x0, v - 12, x0 + w, v + 2]);
    g.append(node("text", { class: `label ${name}`, x: u, y: v, "text-anchor": anchor }, text));
    return true;
  };
  const good = data.axes[data.x].direction === "max" ? [9, "start"] : [-9, "end"];
  const out = data.axes[data.y].direction === "max" ? -6 : 14;
  const mid = order[Math.floor(order.length / 2)];
  if (mid !== undefined) put(px[mid] + good[0], py[mid] + out, "front", "frontlabel", good[1]) || put(px[mid] + 9, py[mid] - 7, "front", "frontlabel");
  const worst = seeds.filter((i) => !data.front.includes(i)).sort((a, b) => px[a] - px[b]);
  const s = worst[Math.floor(worst.length / 2)] ?? seeds[0];
  if (s !== undefined) put(px[s] + 9, py[s] - 5, "seed", "seedlabel") || put(px[s] + 9, py[s] + 14, "seed", "seedlabel") || put(px[s] - 9, py[s] - 5, "seed", "seedlabel", "end");
  const told = new Set();
  if (order.length <= 40 && area.width > NARROW) for (const i of order) {
    const text = data.labels[data.label[i]];
    if (text && !told.has(text) && put(px[i] + good[0], py[i] + out, text, "", good[1])) told.add(text);
  }
  area.svg.append(g);
}

function brushing(area, x, y, query, choose, click) {
  const rect = node("rect", { class: "brush", visibility: "hidden" });
  area.svg.append(rect);
  const show = (a, b, c, d) => {
    rect.setAttribute("visibility", "visible");
    for (const [name, value] of Object.entries({ x: Math.min(a, c), y: Math.min(b, d), width: Math.abs(c - a), height: Math.abs(d - b) })) rect.setAttribute(name, value);
  };
  const box = ["x0", "x1", "y0", "y1"].map((name) => parseFloat(query.get(name)));
  if (box.every(Number.isFinite)) show(x.at(box[0]), y.at(box[2]), x.at(box[1]), y.at(box[3]));
  let from = null;
  const place = (event) => {
    const b = area.box.getBoundingClientRect();
    return [Math.min(area.right, Math.max(area.left, event.clientX - b.left)), Math.min(area.bottom, Math.max(area.top, event.clientY - b.top))];
  };
  area.svg.addEventListener("pointerdown", (event) => {
    if (event.button || event.pointerType === "touch") return;
    event.preventDefault();
    from = place(event);
    area.svg.setPointerCapture(event.pointerId);
  });
  area.svg.addEventListener("pointermove", (event) => { if (from) show(...from, ...place(event)); });
  area.svg.addEventListener("pointerup", (event) => {
    if (!from) { return; }
    const to = place(event), start = from;
    from = null;
    if (Math.hypot(to[0] - start[0], to[1] - start[1]) < 5) {
      if (box.every(Number.isFinite)) { rect.setAttribute("visibility", "hidden"); choose(null); } else { rect.setAttribute("visibility", "hidden"); click(event); }
      return;
    }
    const six = (v) => Number(v.toPrecision(6));
    const us = [x.back(start[0]), x.back(to[0])].sort((a, b) => a - b), vs = [y.back(start[1]), y.back(to[1])].sort((a, b) => a - b);
    choose({ x0: six(us[0]), x1: six(us[1]), y0: six(vs[0]), y1: six(vs[1]) });
  });
  area.svg.addEventListener("click", (event) => { if (event.detail && event.target.closest("a")) event.preventDefault(); });
}

// ------------------------------------------------------------------------------------------------------------- curve

function curve(figure, data) {
  const caption = figure.querySelector("figcaption");
  const area = frame(figure, figure.getAttribute("aria-label"));
  if (!data.steps.length) { caption.textContent = "No valid point yet."; return; }
  area.box.append(area.svg);
  const first = data.steps[0].hypervolume, last = data.steps.at(-1);
  const x = scale(0, Math.max(1, data.last), area.left, area.right, false);
  const y = scale(first, last.hypervolume, area.bottom, area.top, false);
  area.svg.append(axesOf(area, x, y, "iteration", "hypervolume", "", ""));
  let path = `M${x.at(data.steps[0].iteration)} ${y.at(first)}`;
  for (const step of data.steps.slice(1)) path += `H${x.at(step.iteration)}V${y.at(step.hypervolume)}`;
  area.svg.append(node("path", { class: "seedline", "aria-hidden": "true", d: `M${area.left} ${y.at(first)}H${area.right}` }));
  area.svg.append(node("path", { class: "frontline", "aria-hidden": "true", d: `${path}H${x.at(data.last)}` }));
  area.svg.append(node("text", { class: "label seedlabel", x: area.right, y: y.at(first) - 5, "text-anchor": "end", "aria-hidden": "true" }, "seed"));
  const rest = `${Number(first.toPrecision(4))} → ${Number(last.hypervolume.toPrecision(4))} in ${data.steps.length - 1} steps; the last at iteration ${last.iteration} of ${data.last}`;
  caption.textContent = rest;
  let before = first;
  const gains = data.steps.slice(1).map((step) => { const gain = step.hypervolume - before; before = step.hypervolume; return [gain, step]; });
  for (const [gain, step] of gains) {
    const text = `#${step.iteration} +${Number(gain.toPrecision(3))} ${step.idea}`;
    const a = node("a", { href: href(data.run, step.id), "aria-label": text });
    a.append(node("circle", { class: "dot", cx: x.at(step.iteration), cy: y.at(step.hypervolume), r: 4 }));
    a.addEventListener("pointerenter", () => (caption.textContent = text));
    a.addEventListener("focus", () => (caption.textContent = text));
    a.addEventListener("pointerleave", () => (caption.textContent = rest));
    area.svg.append(a);
  }
  if (area.width < 380) return;
  let low = -Infinity;
  for (const [, step] of [...gains].sort((a, b) => b[0] - a[0]).slice(0, 3).sort((a, b) => a[1].iteration - b[1].iteration)) {
    const u = x.at(step.iteration), room = (area.right - u) / 6.9;
    const v = Math.max(y.at(step.hypervolume) + 15, low + 14);
    if (room < 14 || v > area.bottom - 20) continue;
    area.svg.append(node("text", { class: "label", x: u + 7, y: v, "aria-hidden": "true" }, step.idea.length > room ? step.idea.slice(0, room - 1) + "…" : step.idea));
    low = v;
  }
}

// ---------------------------------------------------------------------------------------------- parallel coordinates

function parallel(figure, data) {
  const caption = figure.querySelector("figcaption");
  const area = frame(figure, figure.getAttribute("aria-label"));
  const names = data.objectives, front = new Set(data.front);
  if (!data.owner.length) { caption.textContent = "No points yet."; return; }
  const at = (k) => area.left + 20 + (k * (area.right - area.left - 60)) / (names.length - 1);
  const scales = names.map((name) => {
    const values = data.columns[name], axis = data.axes[name];
    const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
    const ends = axis.direction === "max" ? [area.bottom, area.top + 14] : [area.top + 14, area.bottom];
    return scale(low, high, ...ends, axis.scale === "log10" && low > 0);
  });
  const canvas = document.createElement("canvas");
  const ratio = Math.min(2, devicePixelRatio || 1);
  canvas.width = area.width * ratio;
  canvas.height = area.height * ratio;
  canvas.setAttribute("aria-hidden", "true");
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const line = (i) => { pen.beginPath(); names.forEach((name, k) => pen[k ? "lineTo" : "moveTo"](at(k), scales[k].at(data.columns[name][i]))); pen.stroke(); };
  pen.strokeStyle = colour("--point");
  pen.globalAlpha = Math.min(0.5, 60 / data.owner.length + 0.03);
  for (let i = 0; i < data.owner.length; i++) if (!front.has(i)) line(i);
  pen.globalAlpha = 0.9;
  for (const i of data.front) { pen.strokeStyle = colour(data.candidates[data.owner[i]][2] === "s" ? "--seed" : "--front"); pen.lineWidth = 1.5; line(i); }
  area.box.append(canvas, area.svg);
  names.forEach((name, k) => {
    area.svg.append(node("line", { class: "tick", x1: at(k), x2: at(k), y1: area.top + 10, y2: area.bottom }));
    for (const v of scales[k].ticks) area.svg.append(node("text", { x: at(k) + 5, y: scales[k].at(v) + 4 }, short(v)));
    area.svg.append(node("text", { class: "label", x: at(k), y: 14, "text-anchor": k === names.length - 1 ? "end" : "start" }, name + said(data.axes[name])));
  });
  caption.textContent = `${data.front.length} points of the front among ${data.owner.length.toLocaleString()}; the better end of every axis is up`;
}
