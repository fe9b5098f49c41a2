// The legend of the scatter: a switch for each layer; what is off stands in the address.
import { cross, diamond, node, star, triangle } from "./axes.js";

/** Layers in their order: name -> how it is called. */
const LAYERS = {
  evolved: "evolved", front: "front", seed: "seed", elite: "elite", certified: "certified",
  methods: "published methods", references: "references", figures: "literature",
};

/** The layers that are switched off, as the address says. */
export const off = () => new Set((new URLSearchParams(location.search).get("off") ?? "").split(".").filter(Boolean));

/** One switch for each layer that there is; what is off stands in the address. */
export function legend(figure, data, found, hidden) {
  const methods = found?.methods ?? [];
  const kinds = new Set(data.candidates.map((one) => one[2]));
  const there = {
    evolved: kinds.has("e"), front: data.front.length, seed: kinds.has("s"), elite: data.elites.length, certified: data.certified.length,
    methods: methods.some((one) => !one.reference), references: kinds.has("r") || methods.some((one) => one.reference), figures: found?.figures.length,
  };
  let box = figure.querySelector(".legend");
  if (!box) {
    box = document.createElement("div");
    box.className = "legend";
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", "What is drawn");
    figure.querySelector("figcaption").before(box);
    box.addEventListener("click", (event) => toggle(event.target.closest("button")?.dataset.layer));
  }
  for (const [name, text] of Object.entries(LAYERS)) {
    let button = box.querySelector(`[data-layer=${name}]`);
    if (!there[name]) { button?.remove(); continue; }
    if (!button) {
      button = document.createElement("button");
      button.type = "button";
      button.dataset.layer = name;
      button.append(glyph(name), text);
      const next = Object.keys(LAYERS).slice(Object.keys(LAYERS).indexOf(name) + 1).map((one) => box.querySelector(`[data-layer=${one}]`)).find(Boolean);
      box.insertBefore(button, next ?? null);
    }
    button.setAttribute("aria-pressed", String(!hidden.has(name)));
  }
}

function toggle(name) {
  if (!name) return;
  const hidden = off();
  if (!hidden.delete(name)) hidden.add(name);
  const query = new URLSearchParams(location.search);
  if (hidden.size) query.set("off", [...hidden].join(".")); else query.delete("off");
  history.replaceState(null, "", location.pathname + (query.size ? `?${query}` : "") + location.hash);
  for (const figure of document.querySelectorAll("[data-plot=scatter]")) figure.repaint?.();
}

function glyph(name) {
  const svg = node("svg", { viewBox: "0 0 16 12", class: `glyph of-${name}`, "aria-hidden": "true" });
  const shape = {
    evolved: () => [node("circle", { cx: 8, cy: 6, r: 2.6 })],
    front: () => [node("path", { class: "line", d: "M1 2H6V10H15" }), node("circle", { cx: 6, cy: 6, r: 3 })],
    seed: () => [node("path", { d: diamond(8, 6, 5) })],
    elite: () => [node("path", { d: star(8, 6, 6) })],
    certified: () => [node("circle", { class: "line", cx: 8, cy: 6, r: 4.6 }), node("circle", { cx: 8, cy: 6, r: 2 })],
    methods: () => [node("path", { d: triangle(8, 6, 4.4) })],
    references: () => [node("path", { class: "line", d: cross(8, 6) })],
    figures: () => [node("path", { class: "line", d: "M0 6H16" })],
  }[name];
  svg.append(...shape());
  return svg;
}
