// Plots of lines: hypervolume over evaluations, and parallel coordinates.
import { axesOf, canvas, colour, frame, href, node, said, scale, short } from "./axes.js";

export function curve(figure, data) {
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
  if (area.width >= 380) ideas(area, x, y, gains);
}

/** What the greatest steps owe to whom, beside each: below and to the right, else above and to the left. */
function ideas(area, x, y, gains) {
  const taken = gains.map(([, step]) => [x.at(step.iteration) - 4, y.at(step.hypervolume) - 4, x.at(step.iteration) + 4, y.at(step.hypervolume) + 4]);
  for (const [, step] of [...gains].sort((a, b) => b[0] - a[0]).slice(0, 3)) {
    const u = x.at(step.iteration), v = y.at(step.hypervolume);
    for (const [at, down, room, anchor] of [[u + 7, v + 15, area.right - u - 7, "start"], [u - 7, v - 7, u - 7 - area.left, "end"]]) {
      const most = Math.floor(room / 6.3);
      if (most < 14 || down < area.top || down > area.bottom - 18) continue;
      const text = step.idea.length > most ? `${step.idea.slice(0, most - 1)}…` : step.idea;
      const width = text.length * 6.3, left = anchor === "start" ? at : at - width;
      if (taken.some((b) => left < b[2] && left + width > b[0] && down - 11 < b[3] && down + 2 > b[1])) continue;
      taken.push([left, down - 11, left + width, down + 2]);
      area.svg.append(node("text", { class: "label", x: at, y: down, "text-anchor": anchor, "aria-hidden": "true" }, text));
      break;
    }
  }
}

export function parallel(figure, data) {
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
  const [sheet, pen] = canvas(area);
  const line = (i) => { pen.beginPath(); names.forEach((name, k) => pen[k ? "lineTo" : "moveTo"](at(k), scales[k].at(data.columns[name][i]))); pen.stroke(); };
  pen.strokeStyle = colour("--point");
  pen.globalAlpha = Math.min(0.5, 60 / data.owner.length + 0.03);
  for (let i = 0; i < data.owner.length; i++) if (!front.has(i)) line(i);
  pen.globalAlpha = 0.9;
  for (const i of data.front) { pen.strokeStyle = colour(data.candidates[data.owner[i]][2] === "s" ? "--seed" : "--front"); pen.lineWidth = 1.5; line(i); }
  area.box.append(sheet, area.svg);
  names.forEach((name, k) => {
    area.svg.append(node("line", { class: "tick", x1: at(k), x2: at(k), y1: area.top + 10, y2: area.bottom }));
    for (const v of scales[k].ticks) area.svg.append(node("text", { x: at(k) + 5, y: scales[k].at(v) + 4 }, short(v)));
    area.svg.append(node("text", { class: "label", x: at(k), y: 14, "text-anchor": k === names.length - 1 ? "end" : "start" }, name + said(data.axes[name])));
  });
  caption.textContent = `${data.front.length} points of the front among ${data.owner.length.toLocaleString()}; the better end of every axis is up`;
}
