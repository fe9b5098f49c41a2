// A brush over the scatter: what lies in it is listed, and stands in the address.
import { node } from "./axes.js";

export function brushing(area, x, y, query, choose, click) {
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
