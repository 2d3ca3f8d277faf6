"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const get = (id) => document.getElementById(id);
// cividis: lighter means more, in grey and for everybody's eyes.
const STOPS = [[0, 34, 78], [26, 56, 111], [67, 78, 108], [97, 101, 111], [125, 124, 120], [155, 148, 118], [188, 174, 108], [222, 201, 88], [254, 232, 56]];
const colour = (share) => {
  const at = Math.min(Math.max(share, 0), 1) * 8, low = Math.min(Math.floor(at), 7);
  return STOPS[low].map((from, n) => Math.round(from + (STOPS[low + 1][n] - from) * (at - low)));
};
const paint = (element, share) => {
  element.style.background = `rgb(${colour(share)})`;
  element.style.color = share < 0.5 ? "#fff" : "#000";
};
const number = (value) => (value === null ? "none" : String(+value.toPrecision(4)));
const make = (name, text = "", attributes = {}) => {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};
const legend = (place, low, high) => {
  const bar = make("i");
  bar.style.background = `linear-gradient(to right, ${STOPS.map((each) => `rgb(${each})`)})`;
  place.replaceChildren(make("span", number(low)), bar, make("span", number(high)));
};
const bytes = (text) => Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
const state = {layer: 0, head: 0, examples: 4};
const grid = get("grid"), map = get("map"), track = get("track");

const drawGrid = () => {
  const shown = data.maps[map.value], found = shown.values.flat().filter((value) => value !== null);
  const low = Math.min(...found), high = Math.max(...found);
  get("map-caption").textContent = `Colour: ${shown.caption}.`;
  legend(get("map-legend"), low, high);
  const head = make("thead"), body = make("tbody"), names = make("tr");
  names.append(make("th", "", {"aria-label": "layer"}));
  const count = shown.values[0].length;
  for (let n = 0; n < count; n++) names.append(make("th", count > 1 ? n : "all", {scope: "col"}));
  head.append(names);
  shown.values.forEach((row, place) => {
    const line = make("tr");
    line.append(make("th", shown.layers[place], {scope: "row"}));
    row.forEach((value, n) => {
      const words = `layer ${shown.layers[place]}, ${count > 1 ? `head ${n}` : "all heads"}: ${number(value)}`;
      const cell = make("td", value === null ? "" : +value.toPrecision(3), {tabindex: -1, title: words, "aria-label": words});
      if (value === null) cell.className = "none";
      else paint(cell, high > low ? (value - low) / (high - low) : 0.5);
      cell.dataset.layer = shown.layers[place];
      cell.dataset.head = n;
      line.append(cell);
    });
    body.append(line);
  });
  grid.replaceChildren(head, body);
  mark();
};
const cells = () => [...grid.querySelectorAll("td")];
const mark = () => {
  const all = cells();
  let chosen = all.find((cell) => +cell.dataset.layer === state.layer && +cell.dataset.head === state.head);
  for (const cell of all) {
    cell.setAttribute("aria-selected", cell === chosen);
    cell.tabIndex = -1;
  }
  chosen = chosen || all[0];
  chosen.tabIndex = 0;
  get("chosen").textContent = `Chosen: layer ${state.layer}, head ${state.head}.`;
};
const choose = (cell) => {
  state.layer = +cell.dataset.layer;
  state.head = +cell.dataset.head;
  const own = data.maps[map.value].track;
  if (own !== null) track.value = own;
  mark();
  drawLines();
  drawWeights();
};
grid.addEventListener("click", ({target}) => target.tagName === "TD" && choose(target));
grid.addEventListener("keydown", (event) => {
  const cell = event.target.closest("td");
  if (!cell) return;
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    choose(cell);
    return;
  }
  const width = cell.parentElement.cells.length - 1, all = cells(), place = all.indexOf(cell);
  const step = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -width, ArrowDown: width}[event.key];
  const next = step && all[place + step];
  if (!next || (Math.abs(step) === 1 && width > 1 && next.parentElement !== cell.parentElement)) return;
  event.preventDefault();
  cell.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
  get("chosen").textContent = next.title;
});
map.addEventListener("change", drawGrid);

const starts = [];
data.examples.reduce((start, each) => (starts.push(start), start + each.tokens.length), 0);
const tokensInAll = data.examples.reduce((sum, each) => sum + each.tokens.length, 0);
const drawLines = () => {
  if (!track) return;
  const shown = data.tracks[track.value], place = shown.layers.indexOf(state.layer), lines = get("lines");
  legend(get("track-legend"), shown.low, shown.high);
  if (place < 0) {
    lines.replaceChildren(make("p", `Layer ${state.layer} is not changed there; those that are: ${shown.layers.join(", ")}.`));
    get("more").hidden = true;
    return;
  }
  const values = bytes(shown.bytes[place]), head = shown.heads > 1 ? state.head : 0;
  const whole = `layer ${state.layer}, ${shown.heads > 1 ? `head ${head}` : "all heads"}`;
  lines.replaceChildren(make("p", `${shown.name}, ${whole}`));
  data.examples.slice(0, state.examples).forEach((example, n) => {
    const line = make("p", "", {class: "line"});
    example.tokens.forEach((token, at) => {
      const code = values[head * tokensInAll + starts[n] + at], share = (code - 1) / 254;
      const span = make("span", token, {title: code ? `${token}: ${number(shown.low + share * (shown.high - shown.low))}` : `${token}: not computed`});
      if (code) paint(span, share);
      else span.className = "none";
      line.append(span);
    });
    lines.append(make("p", example.said, {class: "note"}), line);
  });
  get("more").hidden = state.examples >= data.examples.length;
};
if (track) {
  track.addEventListener("change", drawLines);
  get("more").addEventListener("click", () => {
    state.examples += 8;
    drawLines();
  });
}

const example = get("example");
let asking = 0;
const drawWeights = () => {
  if (!example) return;
  const tokens = data.examples[example.value].tokens, size = tokens.length;
  const all = bytes(data.attention[example.value][state.layer]).subarray(state.head * size * size, (state.head + 1) * size * size);
  const most = Math.max(1, ...all);
  asking = Math.min(asking, size - 1);
  legend(get("weights-legend"), 0, most / 255);
  const line = get("weights");
  line.replaceChildren(...tokens.map((token, n) => {
    const code = all[asking * size + n], button = make("button", token, {type: "button", title: `${tokens[asking]} → ${token}: ${(code / 255).toFixed(3)}`, "aria-pressed": n === asking});
    paint(button, code / most);
    button.addEventListener("click", () => {
      asking = n;
      drawWeights();
      line.children[n].focus();
    });
    return button;
  }));
  const canvas = get("picture"), pen = canvas.getContext("2d"), scale = Math.max(2, Math.min(16, Math.floor(480 / size)));
  canvas.width = canvas.height = size;
  canvas.style.width = `${size * scale}px`;
  canvas.setAttribute("aria-label", `attention weights of layer ${state.layer}, head ${state.head}: ${size} by ${size} tokens`);
  const image = pen.createImageData(size, size);
  all.forEach((code, n) => image.data.set([...colour(code / most), 255], 4 * n));
  pen.putImageData(image, 0, 0);
  canvas.onpointermove = ({offsetX, offsetY}) => {
    const across = Math.floor((offsetX / canvas.clientWidth) * size), down = Math.floor((offsetY / canvas.clientHeight) * size);
    const code = all[down * size + across];
    if (tokens[down] !== undefined && tokens[across] !== undefined && code !== undefined) get("pointed").textContent = `${tokens[down]} → ${tokens[across]}: ${(code / 255).toFixed(3)}`;
  };
};
if (example) example.addEventListener("change", drawWeights);

// Begin where the first map has most.
const first = data.maps[0];
let most = -Infinity;
first.values.forEach((row, place) => row.forEach((value, head) => {
  if (value !== null && value > most) [most, state.layer, state.head] = [value, first.layers[place], head];
}));
drawGrid();
drawLines();
drawWeights();
