"use strict";
const number = (text) => { const found = parseFloat(text.replace("<", "").replace("−", "-")); return Number.isNaN(found) ? null : found; };
const compare = (a, b) => {
  const [x, y] = [number(a), number(b)];
  if (x !== null && y !== null && x !== y) return x - y;
  if ((x === null) !== (y === null)) return x === null ? 1 : -1;
  return a.localeCompare(b);
};
const tables = [...document.querySelectorAll("table")], MOST = 25;
for (const table of tables) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  // A long table begins with its first rows, as sorted and filtered; paper has all.
  let isWhole = body.rows.length <= MOST + 5;
  const more = document.createElement("button");
  more.type = "button";
  more.className = "more";
  const cut = () => {
    const rows = [...body.rows].filter((row) => !row.hidden);
    rows.forEach((row, place) => row.classList.toggle("rest", !isWhole && place >= MOST));
    more.hidden = isWhole || rows.length <= MOST;
    more.textContent = `Show all ${rows.length} rows`;
    return rows;
  };
  more.addEventListener("click", () => {
    isWhole = true;
    cut()[MOST].querySelector("a, summary")?.focus();
  });
  table.parentElement.after(more);
  table.cut = cut;
  cut();
  heads.forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const text = (row) => row.cells[place].textContent.trim();
      body.append(...[...body.rows].sort((a, b) => (falling ? -1 : 1) * compare(text(a), text(b))));
      cut();
    });
  });
  if (body.rows.length < 5) continue;
  const filter = document.createElement("input"), left = document.createElement("output");
  filter.type = "search";
  filter.placeholder = "filter rows";
  filter.setAttribute("aria-label", `filter rows: ${table.caption.textContent}`);
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/);
    for (const row of body.rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    left.textContent = `${cut().length} of ${body.rows.length} rows`;
  });
  table.parentElement.before(filter, left);
}
// Cards of a telephone: the names of the columns, and the roles that elements lose when they are no table's to the eye.
const named = () => {
  for (const table of tables.splice(0)) {
    const names = [...table.tHead.rows[0].cells].map((head) => head.textContent);
    table.classList.add("named");
    table.setAttribute("role", "table");
    for (const part of [table.tHead, table.tBodies[0]]) part.setAttribute("role", "rowgroup");
    for (const row of table.rows) {
      row.setAttribute("role", "row");
      [...row.cells].forEach((cell, place) => {
        cell.setAttribute("role", cell.tagName === "TD" ? "cell" : cell.scope === "col" ? "columnheader" : "rowheader");
        cell.dataset.name = names[place];
        if (!cell.textContent.trim()) cell.classList.add("none");
      });
    }
  }
};
const narrow = matchMedia("(max-width: 40rem)");
narrow.addEventListener("change", () => narrow.matches && named());
if (narrow.matches) named();
const choice = document.getElementById("choice"), runs = [...document.querySelectorAll("#runs tbody tr")];
let chosen = null;
const choose = (link) => {
  chosen = link;
  const ids = link && new Set(link.dataset.runs.split(" ").map((place) => "run-" + place));
  for (const row of runs) row.hidden = ids !== null && !ids.has(row.id);
  document.querySelector("#runs table").cut();
  choice.hidden = ids === null;
  if (link) choice.querySelector("span").textContent = `Only the ${ids.size} run${ids.size === 1 ? "" : "s"} of the number ${link.textContent.trim()}.`;
};
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-runs]");
  if (link) choose(link);
});
const [all, back] = choice.querySelectorAll("button");
all.addEventListener("click", () => choose(null));
back.addEventListener("click", () => {
  chosen.scrollIntoView({block: "center"});
  chosen.focus();
});
const SVG = "http://www.w3.org/2000/svg";
const add = (parent, name, attributes, text = "") => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  parent.append(made);
  return made;
};
const label = (value) => (value !== 0 && Math.abs(value) < 0.001 ? value.toExponential() : value);
// A learning curve as [steps, values, place of the best one], below its words.
const draw = (place, [steps, values, best]) => {
  const [left, right, top, bottom] = [58, 300, 8, 92];
  const [first, last, low, high] = [steps[0], steps.at(-1), Math.min(...values), Math.max(...values)];
  const between = (start, end, part, whole) => (start + (end - start) * (whole > 0 ? part / whole : 0.5)).toFixed(1);
  const x = (step) => between(left, right, step - first, last - first), y = (value) => between(bottom, top, value - low, high - low);
  const svg = add(place, "svg", {viewBox: "0 0 320 124", role: "img", "aria-label": place.textContent});
  add(svg, "polyline", {class: "axis", points: `${left},${top} ${left},${bottom} ${right},${bottom}`});
  for (const value of new Set([low, high])) add(svg, "text", {x: left - 5, y: +y(value) + 3, "text-anchor": "end"}, label(value));
  for (const step of new Set([first, last])) add(svg, "text", {x: x(step), y: bottom + 14, "text-anchor": "middle"}, step);
  add(svg, "text", {x: (left + right) / 2, y: bottom + 28, "text-anchor": "middle"}, "step");
  add(svg, "polyline", {points: steps.map((step, each) => `${x(step)},${y(values[each])}`).join(" ")});
  add(svg, "circle", {cx: x(steps[best]), cy: y(values[best]), r: 3});
};
const drawn = (details) => {
  const data = details.querySelector("script");
  if (!data) return;
  const places = details.querySelectorAll(".curve");
  JSON.parse(data.textContent).forEach((points, place) => draw(places[place], points));
  data.remove();
};
document.addEventListener("toggle", ({target}) => target.open && drawn(target), true);
const open = () => {
  const target = document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
  if (!target?.classList.contains("rest")) return;
  target.classList.remove("rest");
  target.scrollIntoView();
};
addEventListener("hashchange", open);
open();
// Paper opens nothing: what is closed is opened while it is printed, but for the runs, which may be thousands.
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")].filter((each) => !each.closest("#runs"));
  for (const each of closed) each.open = true;
});
addEventListener("afterprint", () => closed.forEach((each) => (each.open = false)));
