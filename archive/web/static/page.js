// The page works without this file, plots apart; it adds live updates, keys, filters without a reload, and plots.
// Text of models and candidates is only ever set as textContent.

const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
const run = document.body.dataset.run;
const base = run ? `/run/${encodeURIComponent(run)}` : "";

function say(text) {
  const box = $("#said");
  box.textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => (box.textContent = ""), 2500);
}

// ------------------------------------------------------------------------------------------- parts of the page anew

let asked = 0;
async function renew(address, keep = false) {
  const number = ++asked;
  const answer = await fetch(address, { headers: { accept: "text/html" } });
  if (!answer.ok || number !== asked) return;
  const next = new DOMParser().parseFromString(await answer.text(), "text/html");
  const marked = here();
  for (const part of $$("[data-live]")) {
    const other = $(`[data-live="${part.dataset.live}"]`, next);
    if (other && other.innerHTML !== part.innerHTML) part.replaceWith(other);
  }
  if (keep && marked) mark(rows().findIndex((row) => link(row) === marked), false);
}

// -------------------------------------------------------------------------------------------------------------- live

if (run && window.EventSource) {
  let waiting = null;
  const source = new EventSource(`${base}/events?after=${document.body.dataset.head}`);
  source.addEventListener("log", (message) => {
    const news = JSON.parse(message.data);
    const known = String(news.head) === document.body.dataset.head && news.state === $(".top .state")?.textContent.trim();
    if (known) return; // the first message says how things stand, which the page mostly shows already
    document.body.dataset.head = news.head;
    const feed = $("#feed");
    for (const line of feed ? news.lines : []) feed.prepend(entry(line));
    while (feed && feed.children.length > 200) feed.lastElementChild.remove();
    clearTimeout(waiting);
    // A table that somebody reads does not move under the eyes; only pages that show the run as a whole are renewed.
    if ($("[data-live]") && !$("[data-candidate]") && !$("#rows tbody")) waiting = setTimeout(fresh, 400);
    else if (news.lines.length && $("#rows tbody")) say(`${news.lines.length} new; reload to see them`);
  });
  source.addEventListener("gone", (message) => {
    source.close();
    say(JSON.parse(message.data).error);
  });
  addEventListener("pagehide", () => source.close());
}

function fresh() {
  renew(location.href, true);
  plot();
}

/** Draw all plots there are. Keys do not wait for what draws them. */
async function plot() {
  const figures = $$("[data-plot]");
  if (!figures.length) return;
  const { draw } = await import("./plot.js");
  for (const figure of figures) draw(figure, choose);
}

function entry(line) {
  const item = document.createElement("li");
  item.className = line.gain > 0 ? "gain new" : "new";
  const add = (tag, text, name = "") => {
    const part = document.createElement(tag);
    part.textContent = text;
    part.className = name;
    item.append(part, " ");
    return part;
  };
  add("span", line.iteration ?? "", "no");
  add("span", line.kind, `status ${line.kind.replaceAll(" ", "-")}`);
  if (line.id) add("a", line.text || line.id.slice(0, 10)).href = `${base}/c/${encodeURIComponent(line.id)}`;
  else item.append(`${line.text} `);
  if (line.gained) add("b", line.gained);
  return item;
}

// ----------------------------------------------------------------------------------------- filters, brush, addresses

for (const form of $$("form.filters")) {
  form.addEventListener("change", (event) => { if (event.target.type !== "search") send(form); });
  form.addEventListener("submit", (event) => { event.preventDefault(); send(form); });
  let timer = null;
  form.addEventListener("input", (event) => {
    if (event.target.type !== "search") return;
    clearTimeout(timer);
    timer = setTimeout(() => send(form), 120);
  });
}

function send(form) {
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (value) query.set(name, value);
  const off = new URLSearchParams(location.search).get("off"); // the layers of the plot are switched beside the forms
  if (off) query.set("off", off);
  go(query, form.classList.contains("axes") || !$("#rows"));
}

function go(query, whole = false) {
  const address = location.pathname + (query.size ? `?${query}` : "");
  if (whole) { location.assign(address); return; }
  show(address);
}

/** Renew the table for an address; the plot is drawn anew only where its brush has changed. */
async function show(address) {
  const brush = (text) => ["x0", "x1", "y0", "y1"].map((name) => new URLSearchParams(text).get(name)).join();
  const before = brush(location.search);
  history.replaceState(null, "", address);
  await renew(address);
  if (brush(location.search) !== before) for (const figure of $$("[data-plot=scatter]")) figure.repaint?.();
}

function choose(box) {
  const query = new URLSearchParams(location.search);
  for (const name of ["x0", "x1", "y0", "y1", "page"]) query.delete(name);
  if (box) for (const [name, value] of Object.entries(box)) query.set(name, value);
  if ($("#rows")) {
    for (const form of $$("form.filters:not(.axes)")) for (const name of ["x0", "x1", "y0", "y1"]) {
      let field = $(`[name=${name}]`, form);
      if (!field) { field = document.createElement("input"); field.type = "hidden"; field.name = name; form.append(field); }
      field.value = box ? box[name] : "";
    }
    go(query);
  } else if (box) location.assign(`${base}/scatter?${query}`);
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.copy) {
    try { await navigator.clipboard.writeText(button.dataset.copy); say("Copied."); }
    catch { say("The browser did not allow it; mark the text and copy it."); }
  }
  if (button && "help" in button.dataset) $("#help").showModal();
  const sorting = event.target.closest("#rows thead a, #rows .pages a, #rows .found a");
  if (sorting && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    await show(sorting.href);
  }
});

// -------------------------------------------------------------------------------------------------------------- keys

const rows = () => $$("tr[data-row]");
const link = (row) => ($("a.id", row) ?? $("a", row))?.href;
const here = () => { const row = $("tr.here"); return row && link(row); };

function mark(at, move = true) {
  const all = rows();
  if (!all.length || at < 0) return;
  const row = all[Math.min(at, all.length - 1)];
  $("tr.here")?.classList.remove("here");
  row.classList.add("here");
  if (move) { ($("a.id", row) ?? $("a", row))?.focus({ preventScroll: true }); row.scrollIntoView({ block: "nearest" }); }
}

function step(by) {
  const page = $("[data-candidate]");
  if (page) {
    const next = by > 0 ? page.dataset.next : page.dataset.previous;
    if (next) location.assign(`${base}/c/${next}${location.search}`);
    else say(by > 0 ? "This is the last one." : "This is the first one.");
    return;
  }
  const all = rows();
  const at = all.findIndex((row) => row.classList.contains("here"));
  mark(Math.max(0, at < 0 ? 0 : at + by));
}

function current() {
  const page = $("[data-candidate]");
  if (page) return page.dataset.candidate;
  const marked = here();
  return marked?.includes("/c/") ? decodeURIComponent(new URL(marked).pathname.split("/c/")[1]) : null;
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input:not([type=checkbox]), select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if ($("dialog[open]")) return;
  const id = current();
  switch (event.key) {
    case "/": {
      event.preventDefault();
      const field = $("[data-search]");
      if (field) field.select();
      else if (run) location.assign(`${base}/table#search`);
      return;
    }
    case "j": return step(1);
    case "k": return step(-1);
    case "d":
      if ($("#diff")) { $("#diff").scrollIntoView(); $("#diff-h").focus({ preventScroll: true }); }
      else if (id) location.assign(`${base}/c/${id}#diff`);
      return;
    case "p": {
      const parent = $("[data-candidate]")?.dataset.parent;
      if (parent) location.assign(`${base}/c/${parent}`);
      else say("No parent here.");
      return;
    }
    case "c": {
      if (!id) { if (run) location.assign(`${base}/compare`); return; }
      const key = `compare:${run}`;
      const first = sessionStorage.getItem(key);
      if (first && first !== id) {
        sessionStorage.removeItem(key);
        location.assign(`${base}/compare?a=${first}&b=${id}`);
      } else { sessionStorage.setItem(key, id); say(`${id.slice(0, 10)} is the first; press c at the second.`); }
      return;
    }
    case "?": return $("#help").showModal();
  }
});

if (location.hash === "#search") $("[data-search]")?.focus();
plot();
let sized = null;
addEventListener("resize", () => {
  clearTimeout(sized);
  sized = setTimeout(() => { for (const figure of $$("[data-plot]")) figure.repaint?.(); }, 100);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const figure of $$("[data-plot]")) figure.repaint?.();
});
