// The curves of the episodes of a run, one figure of all of them over each other.

import { Chart } from "./chart.js";
import { element, fetchJson } from "./dom.js";

const MOST = 8;
const part = (id) => document.getElementById(id);
const { kind, name } = part("run").dataset;
const query = new URLSearchParams({ kind, name });

function draw(episodes) {
  const figure = part("figure").value;
  const shown = episodes.filter((one) => one.curve[figure]);
  const short = (text) => (text.length > 22 ? `${text.slice(0, 21)}…` : text);
  const until = Math.max(1, ...shown.map((one) => one.curve[figure].length));
  const xs = Array.from({ length: until }, (_, index) => index + 1);
  const spec = {
    title: figure.replaceAll("_", " "), log: figure === "learning_rate", share: figure.endsWith("accuracy"), span: true,
    figures: Object.fromEntries(shown.map((one, index) => [`line ${index}`, short(`${index + 1}. ${one.task}`)])),
  };
  const chart = new Chart(spec, { unit: figure === "loss" ? "step" : "epoch", height: 360 });
  part("curves").replaceChildren(chart.root);
  const columns = shown.map((one, index) => [`line ${index}`, xs.map((x) => one.curve[figure][x - 1] ?? null)]);
  chart.update({ xs, marks: [], until, columns: Object.fromEntries(columns) });
}

const run = await fetchJson(`/room/api/run?${query}`).catch((error) => ({ problem: error.message, episodes: [] }));
const drawn = run.episodes.filter((one) => Object.keys(one.curve).length);
if (drawn.length) {
  const names = new Set(drawn.flatMap((one) => Object.keys(one.curve)));
  part("figure").append(...[...names].map((one) => element("option", { value: one, selected: one === "val_accuracy" }, one.replaceAll("_", " "))));
  part("told").textContent = drawn.length > MOST ? `the first ${MOST} of ${drawn.length} episodes` : "";
  part("figure").addEventListener("change", () => draw(drawn.slice(0, MOST)));
  part("curves-panel").hidden = false;
  draw(drawn.slice(0, MOST));
}
