// What the page can do beyond being read: choose a layer, search, look at one run, zoom, copy, light or dark.
"use strict";
const id = (name) => document.getElementById(name);
const all = (query, inside = document) => [...inside.querySelectorAll(query)];
const data = JSON.parse(id("data").textContent);
const rows = all("#table tbody tr");
let run = 0, chosen = -1;

document.documentElement.classList.add("js");
all("button[hidden], .zoom[hidden]").forEach((each) => { each.hidden = false; });

// -- one layer: its row, its details, its place in the overview, and the values it reads and makes
function choose(index, move) {
  if (!id(`layer-${index}`)) return;
  chosen = index;
  all(".detail.chosen, tr.chosen").forEach((each) => each.classList.remove("chosen"));
  all("path.near").forEach((each) => each.classList.remove("near"));
  id(`layer-${index}`).classList.add("chosen");
  id(`row-${index}`).classList.add("chosen");
  all(`path[data-from="${index}"], path[data-to="${index}"]`).forEach((each) => each.classList.add("near"));
  point(index);
  id("details").scrollTop = 0;
  if (move) {
    const list = id("table").parentElement, row = id(`row-${index}`);
    list.scrollTop = row.offsetTop - list.clientHeight / 3;
    history.replaceState(null, "", `#layer-${index}`);
  }
}

function point(index) {
  const cursor = id("cursor"), count = data.names.length;
  cursor.hidden = index < 0;
  cursor.style.left = `${(index / count) * 100}%`;
}

document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#layer-"]');
  const row = event.target.closest("#table tbody tr");
  if (!link && !row) return;
  event.preventDefault();
  choose(link ? Number(link.hash.slice(7)) : Number(row.dataset.n), true);
  if (link && !row) id("layers").scrollIntoView();
  else if (!matchMedia("(min-width: 1001px)").matches) id(`layer-${chosen}`).scrollIntoView();
  if (link) id(`layer-${chosen}`).focus({ preventScroll: true });
});

// -- the table with the keyboard: up and down, as in any list
if (id("table")) id("table").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const links = all("tr:not([hidden]) .name a", id("table"));
  const next = links[links.indexOf(document.activeElement) + step];
  if (!step || !next) return;
  event.preventDefault();
  next.focus();
  choose(Number(next.hash.slice(7)), false);
});

// -- search: every word must be in the names, the kind, the verdict or the cause
function search() {
  const words = id("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const fitting = rows.filter((row) => {
    const cell = data.runs[run][row.dataset.n];
    const text = `${row.dataset.text} ${cell ? cell[0] : ""}`;
    const fits = words.every((word) => text.includes(word)) && (!id("only").checked || "fault" in row.dataset || (cell && cell[0] !== "pass"));
    row.hidden = !fits;
    return fits && cell;
  });
  const looking = words.length || id("only").checked;
  id("found").textContent = looking ? `${fitting.length} of ${rows.length}` : "";
  if (looking && fitting.length) choose(Number(fitting[0].dataset.n), false);
}
if (id("search")) {
  id("search").addEventListener("input", search);
  id("only").addEventListener("change", search);
}

// -- one run: the curves, the colours and the numbers of the table
function show(number) {
  run = number;
  all(".curves").forEach((each) => { each.toggleAttribute("hidden", Number(each.dataset.run) !== run); });
  const spreads = data.runs[run].map((cell) => cell && (cell[0] === "introduces" || cell[0] === "inherits"));
  all("path[data-from]").forEach((each) => each.classList.toggle("spread", Boolean(spreads[each.dataset.from])));
  const strip = id("strip").children;
  rows.forEach((row, index) => {
    const cell = data.runs[run][index];
    if (row.classList.contains("v-input")) return;
    const [verdict, heat, introduced, propagated, ...places] = cell || ["not run", "n", "–", "–"];
    row.className = `v-${verdict.replace(" ", "-")}${index === chosen ? " chosen" : ""}`;
    row.querySelector("circle").setAttribute("class", `h${heat}`);
    strip[index].className = strip[index].classList.contains("w") ? `h${heat} w` : `h${heat}`;
    [introduced, propagated].forEach((words, at) => {
      const [first, second] = words.split(" · "), [large, little] = all(".num", row)[at].children;
      large.textContent = second || first;
      little.textContent = second ? first : "";
    });
    row.querySelector(".verdict").textContent = verdict;
    ["f", "a", "i", "p"].forEach((kind, at) => {
      const mark = row.querySelector(`.plot .${kind}`);
      if (!mark) return;
      mark.hidden = places[at] == null;
      mark.style.left = `${places[at]}%`;
    });
  });
  search();
}
if (id("run")) id("run").addEventListener("change", () => show(Number(id("run").value)));

// -- the overview: what is under the pointer, and zoom
const canvas = id("canvas");
if (canvas) {
  const under = (event) => {
    const box = canvas.getBoundingClientRect();
    return Math.min(data.names.length - 1, Math.floor(((event.clientX - box.left) / box.width) * data.names.length));
  };
  const legend = id("tip").innerHTML;
  canvas.addEventListener("pointermove", (event) => {
    const index = under(event), cell = data.runs[run][index];
    const words = cell ? `introduced ${cell[2]}, propagated ${cell[3]}: ${cell[0]}` : "an input";
    id("tip").textContent = `${data.names[index]}: ${words}`;
    point(index);
  });
  canvas.addEventListener("pointerleave", () => { id("tip").innerHTML = legend; point(chosen); });
  canvas.addEventListener("click", (event) => { if (!event.target.closest("a")) choose(under(event), true); });
  // Names below the layers, where there is room for them.
  const label = (width) => {
    const labels = id("labels");
    labels.hidden = width < 56;
    if (!labels.hidden && !labels.childElementCount) {
      labels.append(...data.names.map((name, index) => {
        const each = document.createElement("span");
        each.textContent = name;
        each.style.left = `${((index + 0.5) / data.names.length) * 100}%`;
        return each;
      }));
    }
    all("span", labels).forEach((each) => { each.style.maxWidth = `${width}px`; });
  };
  label(canvas.clientWidth / data.names.length);
  let zoom = 1;
  const zoomTo = (wanted) => {
    const middle = (id("scroll").scrollLeft + id("scroll").clientWidth / 2) / canvas.clientWidth;
    zoom = Math.max(1, Math.min(64, wanted));
    canvas.style.setProperty("--zoom", zoom);
    const at = chosen >= 0 ? (chosen + 0.5) / data.names.length : middle;
    id("scroll").scrollLeft = at * canvas.clientWidth - id("scroll").clientWidth / 2;
    label(canvas.clientWidth / data.names.length);
  };
  id("in").addEventListener("click", () => zoomTo(zoom * 2));
  id("out").addEventListener("click", () => zoomTo(zoom / 2));
  id("fit").addEventListener("click", () => zoomTo(1));
}

// -- copy a command; light or dark
all(".copy").forEach((button) => button.addEventListener("click", async () => {
  const code = button.previousElementSibling;
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "copied";
  } catch {
    getSelection().selectAllChildren(code);
  }
}));
id("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});

// -- what is looked at first: what the address says, else the first layer that is at fault, else the first layer
const named = () => /^#layer-(\d+)$/.exec(location.hash);
addEventListener("hashchange", () => { if (named()) choose(Number(named()[1]), true); });
const faulty = all(".detail.faulty")[0] || all(".detail")[0];
if (named()) choose(Number(named()[1]), true);
if (chosen < 0 && faulty) {
  choose(Number(faulty.id.slice(6)), false);
  const list = id("table").parentElement;
  list.scrollTop = id(`row-${chosen}`).offsetTop - list.clientHeight / 3;
}
