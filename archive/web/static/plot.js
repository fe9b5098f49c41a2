// Plots: thousands of points on a canvas, and everything that is read or reached (axes, front, labels, links) in SVG.
import { curve, parallel } from "./lines.js";
import { scatter } from "./scatter.js";

const KINDS = { scatter, curve, parallel };

/** Draw or renew the plot of a figure. `choose` is told a brushed box, or null. */
export async function draw(figure, choose) {
  const answer = await fetch(figure.dataset.source);
  if (!answer.ok) { figure.querySelector("figcaption").textContent = "The data of this plot cannot be had."; return; }
  figure.data = await answer.json();
  figure.repaint = () => KINDS[figure.dataset.plot](figure, figure.data, choose);
  figure.repaint();
  figure.dataset.drawn = figure.data.head;
  if (figure.dataset.beside && !figure.dataset.whole) await besides(figure);
}

/** What was published on the problem comes after a run's own points: a problem may take a second to load. */
async function besides(figure) {
  const answer = await fetch(figure.dataset.beside);
  if (answer.ok) figure.beside = await answer.json();
  figure.dataset.whole = "1";
  figure.repaint();
}
