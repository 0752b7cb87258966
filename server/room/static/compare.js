// Episodes laid over each other: one figure, over units or over seconds of training, each alone or the mean of each
// agent, with a band of one standard deviation.

import { Chart } from "./chart.js";
import { element, fetchJson } from "./dom.js";

const part = (id) => document.getElementById(id);
const names = [...document.querySelectorAll("[data-episode]")].map((one) => one.dataset.episode);
const controls = ["figure", "axis", "lines"].map(part);
let episodes = [];

async function load() {
  try {
    episodes = await Promise.all(names.map((name) => fetchJson(`/room/api/episode?name=${encodeURIComponent(name)}`)));
  } catch (error) {
    part("told").textContent = error.message;
    return;
  }
  const figures = new Map(episodes.flatMap((one) => one.view.charts.flatMap((chart) =>
    Object.entries(chart.figures).map(([key, label]) => [key, `${label}, ${chart.title}`]))));
  part("figure").replaceChildren(...[...figures].map(([key, label]) => element("option", { value: key }, label)));
  controls.forEach((control) => control.addEventListener("change", draw));
  draw();
}

/** The place of each unit on the axis: its number, or the seconds of training up to its end. */
function places(episode, axis) {
  let sum = 0;
  return episode.rows.seconds.map((seconds, index) => (axis === "seconds" ? (sum += seconds ?? 0) : index + 1));
}

function lines(figure, axis, grouped) {
  const each = episodes.map((episode) => ({
    label: episode.episode.agent ?? episode.episode.name,
    points: new Map(places(episode, axis).map((x, index) => [x, episode.rows[figure]?.[index] ?? null])),
  }));
  if (!grouped) return distinct(each);
  const groups = byLabel(each);
  return [...groups].map(([label, members]) => ({ label: `${label} (${members.length})`, ...summary(members) }));
}

function byLabel(each) {
  const groups = new Map();
  for (const one of each) groups.set(one.label, [...(groups.get(one.label) ?? []), one]);
  return groups;
}

/** The value of a line at a place, in proportion between two points. Null outside of the line, and in its gaps. */
function valueAt(points, x) {
  if (points.has(x)) return points.get(x);
  const places = [...points.keys()], after = places.findIndex((place) => place > x);
  if (after < 1) return null;
  const [left, right] = [places[after - 1], places[after]], [low, high] = [points.get(left), points.get(right)];
  return low === null || high === null ? null : low + ((high - low) * (x - left)) / (right - left);
}

/** The mean at each place at which all members have a value, and its band, one standard deviation (n - 1) to each side. */
function summary(members) {
  const places = [...new Set(members.flatMap((one) => [...one.points.keys()]))].sort((one, other) => one - other);
  const shared = places.filter((x) => members.every((one) => valueAt(one.points, x) !== null));
  const points = new Map(), low = new Map(), high = new Map();
  for (const x of shared) {
    const values = members.map((one) => valueAt(one.points, x));
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const spread = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / Math.max(1, values.length - 1));
    points.set(x, mean);
    low.set(x, mean - spread);
    high.set(x, mean + spread);
  }
  return members.length > 1 ? { points, edges: [low, high] } : { points };
}

function distinct(each) {
  return each.map((one, index) => {
    const isShared = each.some((other) => other !== one && other.label === one.label);
    return { ...one, label: isShared ? `${one.label} ${index + 1}` : one.label };
  });
}

function draw() {
  const [figure, axis, how] = controls.map((control) => control.value);
  const grouped = how === "agents";
  const shown = lines(figure, axis, grouped).filter((one) => one.points.size);
  const xs = [...new Set(shown.flatMap((one) => [...one.points.keys()]))].sort((one, other) => one - other);
  const short = (label) => (label.length > 20 ? `${label.slice(0, 19)}…` : label);
  const spec = {
    title: part("figure").selectedOptions[0]?.textContent ?? "",
    figures: Object.fromEntries(shown.map((one, index) => [`line ${index}`, short(one.label)])),
    bands: Object.fromEntries(shown.flatMap((one, index) => (one.edges ? [[`line ${index}`, [`low ${index}`, `high ${index}`]]] : []))),
    share: false, log: figure === "learning_rate" || figure === "gradient_norm", span: true, fractions: axis === "seconds",
  };
  const chart = new Chart(spec, { unit: axis === "seconds" ? "second" : episodes[0].view.unit, height: 360 });
  part("curves").replaceChildren(chart.root);
  chart.update({
    xs, marks: [], until: xs.at(-1) ?? 1,
    columns: Object.fromEntries(shown.flatMap((one, index) => [
      [`line ${index}`, one.points], ...(one.edges ?? []).map((edge, side) => [`${side ? "high" : "low"} ${index}`, edge]),
    ]).map(([name, points]) => [name, xs.map((x) => points.get(x) ?? null)])),
  });
  const banded = shown.some((one) => one.edges) ? "; bands: one standard deviation" : "";
  part("told").textContent = `${shown.length} lines, ${episodes.length} episodes${banded}`;
}

load();
