// The scatter of operating points: a run's own, and beside them what was published on the problem.
import { axesOf, canvas, colour, cross, diamond, frame, href, NARROW, node, said, scale, SIZE, star, triangle } from "./axes.js";
import { brushing } from "./brush.js";
import { legend, off } from "./legend.js";

export function scatter(figure, data, choose) {
  const area = frame(figure, figure.getAttribute("aria-label"));
  const caption = figure.querySelector("figcaption");
  const query = new URLSearchParams(location.search);
  const hidden = off();
  const own = { x: inside(data, data.x, data.columns[data.x]), y: inside(data, data.y, data.columns[data.y]) };
  const known = beside(figure.beside, data, hidden);
  legend(figure, data, figure.beside, hidden);
  if (!own.x.length && !known.methods.length) { caption.textContent = `No points on the ${data.split} split yet.`; return; }

  const log = (name) => {
    const wanted = query.get(`${name}scale`);
    return own[name].every((v) => v > 0) && (wanted ? wanted === "log" : data.axes[data[name]].scale === "log10");
  };
  const span = (name) => {
    let low = Infinity, high = -Infinity;
    const widen = (v) => { if (v < low) low = v; if (v > high) high = v; };
    own[name].forEach(widen);
    for (const method of [...known.methods, ...known.references]) for (const point of method.points) if (!method.reference || !point.beyond) widen(point[name]);
    if (name === "y") for (const one of known.figures) widen(one.value);
    return [low, high];
  };
  const x = scale(...span("x"), area.left, area.right, log("x"));
  const y = scale(...span("y"), area.bottom, area.top, log("y"));
  const px = Float32Array.from(own.x, x.at), py = Float32Array.from(own.y, y.at);
  const kind = (i) => data.candidates[data.owner[i]][2];
  const front = new Set(data.front), certified = new Set(data.certified), elites = new Set(data.elites);
  const shown = (i) => !hidden.has(front.has(i) ? "front" : { s: "seed", r: "references" }[kind(i)] ?? "evolved");
  const marks = placed(known, x, y, area);

  const sheet = dots(area, data, px, py, (i) => kind(i) !== "s" && shown(i));
  area.box.append(sheet, area.svg);
  area.svg.append(axesOf(area, x, y, data.x, data.y, data.axes[data.x].unit, data.axes[data.y].unit));
  area.svg.append(published(area, marks, known.figures, y));
  const order = [...data.front].sort((a, b) => px[a] - px[b] || py[b] - py[a] || elites.has(a) - elites.has(b));
  const plain = data.objectives.length === 2 && data.objectives.includes(data.x) && data.objectives.includes(data.y);
  if (plain && order.length && !hidden.has("front")) area.svg.append(staircase(area, data, px, py, order));
  const seeds = [];
  for (let i = 0; i < px.length; i++) if (kind(i) === "s") seeds.push(i);
  const rings = hidden.has("certified") ? new Set() : certified;
  const stars = hidden.has("elite") ? new Set() : elites;
  for (const i of new Set([...seeds, ...order, ...rings, ...stars])) {
    if (shown(i)) area.svg.append(reached(data, px, py, i, { front: front.has(i), ring: rings.has(i), star: stars.has(i) }));
  }
  labels(area, data, px, py, hidden.has("front") ? [] : order, hidden.has("seed") ? [] : seeds, marks);

  const best = new Set(data.front.map((i) => data.owner[i])).size;
  const rest = [
    `${data.candidates.length.toLocaleString("en")} candidates, ${px.length.toLocaleString("en")} points, ${best} on the front`,
    [data.x, data.y].filter((name) => said(data.axes[name])).map((name) => name + said(data.axes[name])).join(", "),
    figure.beside?.note ?? "",
  ].filter(Boolean).join("; ");
  caption.textContent = rest;
  const over = node("circle", { class: "over", r: 6, visibility: "hidden" });
  area.svg.append(over);
  const nearest = (event) => {
    const box = area.box.getBoundingClientRect(), u = event.clientX - box.left, v = event.clientY - box.top;
    let found = null, least = 196;
    for (let i = 0; i < px.length; i++) {
      const d = (px[i] - u) ** 2 + (py[i] - v) ** 2;
      if (d < least && shown(i)) { least = d; found = { u: px[i], v: py[i], text: () => tell(data, i), href: href(data.run, data.candidates[data.owner[i]][0]) }; }
    }
    for (const mark of marks) for (const point of mark.points) {
      const d = (point.u - u) ** 2 + (point.v - v) ** 2;
      if (d < least) { least = d; found = { ...point, text: () => mark.tell(point), href: null, mark }; }
    }
    return found;
  };
  area.svg.addEventListener("pointermove", (event) => {
    const found = nearest(event);
    over.setAttribute("visibility", found ? "visible" : "hidden");
    caption.textContent = found ? found.text() : rest;
    if (found) { over.setAttribute("cx", found.u); over.setAttribute("cy", found.v); }
    light(found?.mark);
  });
  const light = (mark) => { for (const one of marks) one.drawn.classList.toggle("lit", one === mark); };
  area.svg.addEventListener("pointerleave", () => { light(null); over.setAttribute("visibility", "hidden"); caption.textContent = rest; });
  area.svg.addEventListener("focusin", (event) => { const a = event.target.closest("a"); if (a) caption.textContent = a.getAttribute("aria-label"); });
  brushing(area, x, y, query, choose, (event) => {
    const found = nearest(event);
    if (found?.href) location.assign(found.href);
  });
}

/** The figures of an axis, those beyond its good end on it: an error of 1e-15 is not worth thirteen decades. */
function inside(data, name, values) {
  const { best, direction } = data.axes[name];
  if (best === undefined || best === null) return values;
  return values.map((v) => (direction === "min" ? Math.max(v, best) : Math.min(v, best)));
}

/** What was published, as far as it is switched on. A reference beyond the good end of an axis, such as dense
 * attention, sets no range: it would leave the rest a corner. */
function beside(found, data, hidden) {
  const points = (method) => {
    const [xs, ys] = [data.x, data.y].map((name) => inside(data, name, method.points.map((one) => one.figures[name])));
    const beyond = (one, k) => xs[k] !== one.figures[data.x] || ys[k] !== one.figures[data.y];
    return method.points.map((one, k) => ({ ...one, x: xs[k], y: ys[k], beyond: beyond(one, k) })).sort((a, b) => a.x - b.x || a.y - b.y);
  };
  const all = (found?.methods ?? []).map((method) => ({ ...method, points: points(method) }));
  return {
    methods: hidden.has("methods") ? [] : all.filter((method) => !method.reference),
    references: hidden.has("references") ? [] : all.filter((method) => method.reference),
    figures: hidden.has("figures") ? [] : found?.figures ?? [],
  };
}

/** Methods and references with their places, as far as these lie inside the frame. */
function placed(known, x, y, area) {
  const within = (point) => point.u >= area.left - 1 && point.u <= area.right + 1 && point.v >= area.top - 1 && point.v <= area.bottom + 1;
  return [...known.methods, ...known.references].map((method) => ({
    name: method.name,
    reference: method.reference,
    points: method.points.map((point) => ({ ...point, u: x.at(point.x), v: y.at(point.y) })).filter(within),
    tell: (point) => `${method.name}${point.label ? ` at ${point.label}` : ""}: ${Object.entries(point.figures).map(([name, value]) => `${name} ${Number(value.toPrecision(4))}`).join(", ")}; ${method.reference ? "a reference" : "published"}. ${method.title}`,
  })).filter((mark) => mark.points.length);
}

function tell(data, i) {
  const [id, iteration, , idea] = data.candidates[data.owner[i]];
  const at = data.labels[data.label[i]], place = data.places[data.owner[i]];
  const values = [...new Set([data.x, data.y, ...data.objectives])].map((name) => `${name} ${Number(data.columns[name][i].toPrecision(4))}`);
  return `#${iteration} ${id.slice(0, 10)}${at ? ` at ${at}` : ""}: ${values.join(", ")}${data.certified.includes(i) ? ", certified" : ""}${place ? `, ${place}` : ""}${idea ? `. ${idea}` : ""}`;
}

function dots(area, data, px, py, wanted) {
  const [sheet, pen] = canvas(area);
  pen.fillStyle = pen.strokeStyle = colour("--point");
  const many = px.length > 4000;
  pen.globalAlpha = many ? 0.35 : 0.75;
  const r = many ? 1.4 : px.length > 800 ? 2 : 2.6;
  for (let i = 0; i < px.length; i++) {
    if (!wanted(i)) continue;
    if (data.candidates[data.owner[i]][2] === "r") {
      pen.stroke(new Path2D(cross(px[i], py[i])));
    } else if (many) pen.fillRect(px[i] - r, py[i] - r, 2 * r, 2 * r);
    else { pen.beginPath(); pen.arc(px[i], py[i], r, 0, 7); pen.fill(); }
  }
  return sheet;
}

/** Methods as triangles, references as crosses, each with a line through its points; the literature as levels. */
function published(area, marks, figures, y) {
  const g = node("g");
  for (const mark of marks) {
    const name = mark.reference ? "reference" : "method";
    const one = node("g", { class: name, role: "img", "aria-label": `${mark.name}, ${mark.reference ? "a reference" : "published"}: ${mark.points.length} points` });
    mark.drawn = one;
    one.append(node("path", { class: "way", d: mark.points.map((point, k) => `${k ? "L" : "M"}${point.u} ${point.v}`).join("") }));
    one.append(node("path", { class: "shape", d: mark.points.map((point) => (mark.reference ? cross : triangle)(point.u, point.v, 3.4)).join("") }));
    g.append(one);
  }
  for (const one of figures) {
    const level = node("g", { class: "figure", role: "img", "aria-label": `${one.name}: ${one.value}` });
    level.append(node("title", {}, `${one.name}: ${one.value}. ${one.source}`), node("path", { class: "way", d: `M${area.left} ${y.at(one.value)}H${area.right}` }));
    g.append(level);
  }
  g.append(...levels(area, figures, y));
  return g;
}

/** The names of levels: of those too close to each other, one line says how many there are. */
function levels(area, figures, y) {
  const made = [];
  let last = null;
  for (const one of [...figures].sort((a, b) => b.value - a.value)) {
    const v = y.at(one.value) - 4;
    if (last && Math.abs(v - last.v) < 13) { last.names.push(one.name); last.text.textContent = `${last.names[0]} and ${last.names.length - 1} more, ${last.value}`; continue; }
    const text = node("text", { class: "label known", x: area.left + 6, y: Math.max(v, area.top - 4), "aria-hidden": "true" }, `${one.name}, ${one.value}`);
    last = { v, names: [one.name], value: one.value, text };
    made.push(text);
  }
  return made;
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

/** A point that is a link: a diamond for a seed, a star where an elite is held to be better, with a ring if certified. */
function reached(data, px, py, i, { front, ring, star: best }) {
  const [id, , kind] = data.candidates[data.owner[i]], u = px[i], v = py[i];
  const names = [kind === "s" ? "seed" : front ? "" : "plain", best ? "elite" : ""].filter(Boolean).join(" ");
  const a = node("a", { href: href(data.run, id), class: names, "aria-label": tell(data, i) });
  if (ring) a.append(node("circle", { class: "ring", cx: u, cy: v, r: SIZE + (best ? 5 : 3.2) }));
  if (kind === "s") a.append(node("path", { class: "dot", d: diamond(u, v) }));
  else if (best) a.append(node("path", { class: "dot", d: star(u, v, SIZE + (front ? 2.4 : 1.2)) }));
  else a.append(node("circle", { class: "dot", cx: u, cy: v, r: SIZE }));
  return a;
}

/** Direct labels where there is room: the front once, the seed once, settings of the front's points, methods. */
function labels(area, data, px, py, order, seeds, marks) {
  const g = node("g", { "aria-hidden": "true" });
  const taken = [];
  const put = (u, v, text, name, anchor = "start") => {
    const w = text.length * 6.2;
    const x0 = anchor === "start" ? u : u - w;
    if (x0 < area.left || x0 + w > area.right + 8 || v < area.top || v > area.bottom - 4) return false;
    if (taken.some((b) => x0 < b[2] && x0 + w > b[0] && v - 11 < b[3] && v > b[1])) return false;
    taken.push([x0, v - 11, x0 + w, v + 2]);
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
  if (area.width > NARROW) {
    const told = new Set();
    if (order.length <= 40) for (const i of order) {
      const text = data.labels[data.label[i]];
      if (text && !told.has(text) && put(px[i] + good[0], py[i] + out, text, "", good[1])) told.add(text);
    }
    for (let i = 0; i < px.length && px.length < 4000; i++) taken.push([px[i] - 2, py[i] - 2, px[i] + 2, py[i] + 2]);
    for (const mark of marks) for (const point of mark.points) taken.push([point.u - 3, point.v - 3, point.u + 3, point.v + 3]);
    for (const mark of marks) mark.points.some(({ u, v }) => put(u + 7, v + 4, mark.name, "known") || put(u - 7, v + 4, mark.name, "known", "end") || put(u + 3, v - 7, mark.name, "known") || put(u + 3, v + 16, mark.name, "known"));
  }
  area.svg.append(g);
}
