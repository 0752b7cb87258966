// The live list: a card for each episode, kept in place and changed as events come.

import { element, episodeAddress, figure, follow, sparkline } from "./dom.js";

const list = document.getElementById("live");
const find = document.getElementById("find");
const sort = document.getElementById("sort");
const summary = document.getElementById("summary");
const episodes = new Map();
const cards = new Map();

document.querySelector("[data-address]").textContent = location.origin;

function card(row) {
  const budget = row.budget ? ` / ${row.budget}` : "";
  const running = row.running;
  const doing = running
    ? `${running.tool}${running.total ? ` · ${running.done} of ${running.total}` : ""}`
    : row.state === "finished" ? "finished" : "waits for its agent";
  return element("a", { href: episodeAddress(row.name), class: "card" },
    element("span", { class: "who" }, row.agent ?? row.name),
    element("span", { class: `state ${row.signal}` }, row.signal.replaceAll("_", " ")),
    element("span", { class: "task" }, row.task),
    sparkline(row.spark),
    element("span", { class: "quiet" }, `${row.unit} ${row.epochs}${budget}`),
    element("span", { class: "value" }, row.score === undefined || row.score === null
      ? figure(row.value) : `score ${figure(row.score)}`),
    element("span", { class: "doing quiet" }, doing),
    element("progress", { max: 1, value: row.spent, "aria-label": "budget spent" }));
}

function put(row) {
  episodes.set(row.name, row);
  let item = cards.get(row.name);
  if (!item) cards.set(row.name, (item = element("li")));
  const hadFocus = item.contains(document.activeElement);
  item.replaceChildren(card(row));
  if (hadFocus) item.firstChild.focus();
}

function compare(one, other) {
  const key = sort.value, a = one[key] ?? "", b = other[key] ?? "";
  if (typeof a === "number" || typeof b === "number") return (Number(b) || 0) - (Number(a) || 0);
  return String(a).localeCompare(String(b));
}

function arrange() {
  const wanted = find.value.trim().toLowerCase();
  const matches = (row) => [row.name, row.agent ?? "", row.task].some((text) => text.toLowerCase().includes(wanted));
  const shown = [...episodes.values()].filter(matches).sort(compare);
  const items = shown.map((row) => cards.get(row.name));
  // Moving an element takes the focus from it, so only what is out of place is moved.
  items.forEach((item, index) => { if (list.children[index] !== item) list.insertBefore(item, list.children[index] ?? null); });
  while (list.children.length > items.length) list.lastChild.remove();
  const training = [...episodes.values()].filter((row) => row.running).length;
  const text = `${episodes.size} open, ${training} in a call`;
  if (summary.textContent !== text) summary.textContent = text;
  document.getElementById("nobody").hidden = episodes.size > 0;
  document.getElementById("no-match").hidden = !episodes.size || shown.length > 0;
}

let isFirst = true;
const source = follow("/room/api/live/events", {
  live: (told) => {
    if (isFirst) { episodes.clear(); cards.clear(); list.replaceChildren(); isFirst = false; }
    told.gone.forEach((name) => { episodes.delete(name); cards.delete(name); });
    told.episodes.forEach(put);
    arrange();
  },
});
source.addEventListener("open", () => { isFirst = true; });
find.addEventListener("input", arrange);
sort.addEventListener("change", arrange);
