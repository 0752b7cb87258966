// The page of an episode: fetches it, follows it while it is live, and shows it up to the place of the slider.

import { Calls } from "./calls.js";
import { Chart, chartsPng } from "./chart.js";
import { element, fetchJson, figure, follow } from "./dom.js";
import { HeatMaps } from "./heat.js";
import { Player } from "./player.js";
import { branchesOf, drawTree, placesOfForks } from "./tree.js";

const FRAME_MS = 120;
const AT_THE_END = ["score", "details", "graded_epoch", "test_accuracy", "submitted_accuracy", "submitted_loss", "best_accuracy",
  "best_loss", "held_out_loss", "nothing_loss", "clean_loss", "incidents", "faults", "reports"];

const part = (id) => document.getElementById(id);
const name = part("episode").dataset.name;
const query = `name=${encodeURIComponent(name)}`;
const stillness = matchMedia("(prefers-reduced-motion: reduce)");

let told = null; // what the server told: view, rows, calls, forks, happenings, truth, live
let upto = null; // the slider's place; null follows what is new
let chosen = null; // number of the chosen call
let source = null, film = null, charts = [], maps = null, rewards = null;
let wantsPlay = new URLSearchParams(location.search).has("play");
const starts = new Map(); // units before each call
const calls = new Calls(part("calls"), choose);
const player = new Player(part("episode").dataset.prefix, name, () => load(), now);

const count = () => told.rows.seconds.length;
const place = () => (upto === null ? count() : Math.min(upto, count()));

async function load() {
  try {
    told = await fetchJson(`/room/api/episode?${query}`);
  } catch (error) {
    part("problem").textContent = error.message;
    part("problem").hidden = false;
    part("waiting")?.remove();
    return;
  }
  if (!charts.length) build();
  told.calls.forEach((call) => calls.add(call));
  show();
  if (told.live) watch();
  else if (wantsPlay && told.episode.state === "unfinished") { wantsPlay = false; player.begin(); }
}

/** The settings that the last reply told, and the names of checkpoints, for the forms. */
function now(first) {
  const told_of = (key) => told.calls.findLast((call) => call.reply?.[key])?.reply[key] ?? first[key];
  const saved = told.calls.filter((call) => call.reply && call.tool === "save_checkpoint").map((call) => call.arguments.name);
  const newest = told_of("newest_checkpoint");
  return { settings: told_of("configuration") ?? told_of("settings") ?? {}, saved: [...new Set(newest ? ["step-0", newest] : saved)] };
}

function build() {
  part("waiting")?.remove();
  const options = { unit: told.view.unit };
  charts = told.view.charts.map((spec, index) => new Chart(spec, { ...options, height: index ? 170 : 280 }));
  part("charts").append(...charts.map((chart) => chart.root));
  if (charts.length) charts[0].onlayout = showMarks;
  else part("charts").append(element("p", { class: "empty" }, "This game has no curves. Its calls are beside."));
  if (!told.view.heat_maps.length) return;
  maps = new HeatMaps(told.view.heat_maps, told.view.unit);
  part("heat").append(maps.root);
}

function watch() {
  source?.close();
  source = follow(`/room/api/episode/events?${query}&rows=${count()}&calls=${told.calls.length}`, {
    live: (live) => { told.live = live; show(); },
    rows: ({ first, columns }) => {
      for (const [figureName, values] of Object.entries(columns)) told.rows[figureName].splice(first, Infinity, ...values);
      show();
    },
    insight: (insight) => { Object.assign(told, insight); show(); },
    calls: (fresh) => {
      for (const call of fresh) {
        if (call.number !== told.calls.length + 1) continue;
        told.calls.push(call);
        calls.add(call);
      }
      show();
    },
    closed: () => { source.close(); document.getElementById("connection").textContent = ""; load(); },
  });
}

function show() {
  const shown = place(), unit = told.view.unit, last = told.calls.findLast((call) => call.reply)?.reply ?? {};
  let before = 0;
  for (const call of told.calls) { starts.set(call.number, before); before += call.units; }
  const budget = told.live?.budget ?? last.max_epochs ?? 0, until = axisEnd(budget);
  const xs = Array.from({ length: shown }, (_, index) => index + 1);
  const columns = Object.fromEntries(Object.entries(told.rows).map(([key, values]) => [key, values.slice(0, shown)]));
  const marks = told.calls.filter((call) => starts.get(call.number) <= shown).map((call) => starts.get(call.number));
  for (const chart of charts) {
    const isKnown = chart.names.some((key) => told.rows[key]?.some((value) => value !== null));
    chart.root.hidden = !isKnown && chart !== charts[0];
    if (!chart.root.hidden) chart.update({ xs, columns, marks, until });
  }
  part("heat-panel").hidden = !maps || !count();
  maps?.update(columns, told.happenings, shown < count() ? [] : told.truth);
  showMarks();
  showFigures(shown, budget, last);
  showRewards(shown, until);
  showTree(shown);
  showEnd();
  part("no-calls").hidden = told.calls.length > 0 || Boolean(told.live?.running);
  calls.showRunning(told.live?.running);
  calls.show(chosen, starts, shown);
  const slider = part("upto");
  slider.max = count();
  if (upto === null) slider.value = count();
  slider.setAttribute("aria-valuetext", `${unit} ${shown} of ${count()}`);
  part("where").textContent = `${unit} ${shown} of ${count()}`;
  part("fork").href = `/room/play?game=${told.view.game}&fork_from=${encodeURIComponent(upto === null ? name : `${name}@${shown}`)}`;
  player.offer(!told.live && told.episode.state === "unfinished");
  const state = part("state"), live = told.live;
  const word = live && live.state !== "finished" ? live.signal || "live" : told.episode.state;
  state.textContent = word.replaceAll("_", " ");
  state.className = `state ${word}`;
}

/** The end of the x axis. While units come, it leaves room for more and grows seldom. */
function axisEnd(budget) {
  if (!told.live || told.live.state === "finished") return count();
  let end = 10;
  while (end < count()) end *= 2;
  return budget ? Math.max(count(), Math.min(end, budget)) : end;
}

function showFigures(shown, budget, last) {
  const headline = told.view.headline, view = told.view.charts[0];
  const paid = told.calls.filter((call) => !call.inherited && starts.get(call.number) <= shown)
    .reduce((sum, call) => sum + (call.reply?.reward ?? 0), 0);
  const rows = [
    [`${told.view.unit}s`, budget ? `${shown} / ${budget}` : shown],
    [headline ? `${view.figures[headline]}, ${view.title}` : null, headline && shown ? figure(told.rows[headline][shown - 1]) : "–"],
    ["learning rate", shown && told.rows.learning_rate ? figure(told.rows.learning_rate[shown - 1]) : "–"],
    ["reward so far", figure(paid)],
    ["left", told.live?.left || null],
    ["score", last.score ?? told.episode.score ?? null],
  ];
  part("figures").replaceChildren(...rows.filter(([label, value]) => label && value !== null)
    .map(([label, value]) => element("div", {}, element("dt", {}, label), element("dd", {}, typeof value === "number" ? figure(value) : value))));
  part("spent").value = told.live?.spent ?? (budget ? count() / budget : 1);
  part("spent").hidden = !told.live && !budget;
}

/** A button for each call above the first chart. Calls that are close to each other share one. */
function showMarks() {
  if (!told || !charts.length) return;
  const shown = place(), groups = [];
  for (const call of told.calls) {
    const at = starts.get(call.number);
    if (at > shown) continue;
    const left = charts[0].left(at), group = groups.at(-1);
    if (group && left - group.left < 26 + 8 * (group.calls.length > 1)) group.calls.push(call.number);
    else groups.push({ left, calls: [call.number] });
  }
  part("marks").replaceChildren(...groups.map(({ left, calls: numbers }) => {
    const text = numbers.length > 1 ? `${numbers[0]}–${numbers.at(-1)}` : String(numbers[0]);
    const button = element("button", { type: "button", "aria-pressed": String(numbers.includes(chosen)), "aria-label": `call ${text}`,
      onclick: () => choose(numbers[(numbers.indexOf(chosen) + 1) % numbers.length]) }, text);
    button.style.left = `${Math.min(Math.max(left, 16), part("marks").clientWidth - 20)}px`;
    return button;
  }));
}

function choose(number) {
  chosen = number;
  calls.show(chosen, starts, place());
  calls.reveal(number);
  const focused = document.activeElement?.ariaLabel;
  showMarks();
  [...part("marks").children].find((one) => one.ariaLabel === focused)?.focus();
}

function showRewards(shown, until) {
  const paid = told.calls.filter((call) => !call.inherited && call.reply?.reward_parts && starts.get(call.number) + call.units <= shown);
  const names = [...new Set(paid.flatMap((call) => Object.keys(call.reply.reward_parts)))]
    .filter((one) => paid.some((call) => call.reply.reward_parts[one] && call.reply.reward));
  part("reward-panel").hidden = !names.length;
  if (!names.length) return;
  if (!rewards || rewards.names.join() !== names.join()) {
    rewards = new Chart({ title: "sum of what was paid", figures: Object.fromEntries(names.map((one) => [one, one.replaceAll("_", " ")])), stepped: true }, { unit: told.view.unit });
    part("reward").replaceChildren(rewards.root);
  }
  const xs = [0], columns = Object.fromEntries(names.map((one) => [one, [0]]));
  for (const call of paid) {
    const at = starts.get(call.number) + call.units, isSame = xs.at(-1) === at;
    if (!isSame) xs.push(at);
    for (const one of names) {
      const sum = columns[one].at(-1) + (call.reply.reward ? call.reply.reward_parts[one] ?? 0 : 0);
      if (isSame) columns[one][columns[one].length - 1] = sum;
      else columns[one].push(sum);
    }
  }
  rewards.update({ xs, columns, marks: [], until });
}

function showTree(shown) {
  const branches = branchesOf(told.calls);
  branches.at(-1).end = Math.max(branches.at(-1).end, count()); // the running call is not recorded yet
  const isTold = branches.length > 1 || branches[0].saves.length > 0 || told.forks.length > 0;
  part("tree-panel").hidden = !isTold;
  if (!isTold) return;
  const forks = placesOfForks(branches, told.forks, name);
  part("tree").replaceChildren(drawTree(branches, shown, part("tree").clientWidth, told.view.unit, forks));
}

function showEnd() {
  const reply = told.calls.find((call) => call.reply?.done)?.reply;
  const names = AT_THE_END.filter((one) => reply?.[one] !== undefined && reply[one] !== null);
  part("end-panel").hidden = !names.length || place() < count();
  part("end").replaceChildren(...names.flatMap((one) => {
    const value = reply[one];
    const rows = value && typeof value === "object" && !Array.isArray(value) ? Object.entries(value) : [[one, value]];
    return rows.map(([label, inner]) => element("tr", {}, element("th", { scope: "row" }, label.replaceAll("_", " ")), element("td", {}, words(inner))));
  }));
}

function words(value) {
  if (Array.isArray(value)) return value.map(words).join("; ") || "none";
  if (value && typeof value === "object") return Object.entries(value).map(([label, inner]) => `${label.replaceAll("_", " ")} ${words(inner)}`).join(", ");
  return figure(value);
}

function stop() {
  clearInterval(film);
  film = null;
  part("play").setAttribute("aria-pressed", "false");
  part("play").textContent = "Replay";
}

part("upto").addEventListener("input", (event) => {
  stop();
  upto = Number(event.target.value) >= count() ? null : Number(event.target.value);
  show();
});

part("play").addEventListener("click", () => {
  if (film || !told) { stop(); return; }
  // Who wants less motion gets a film of ten pictures.
  const step = stillness.matches ? Math.ceil(count() / 10) : Math.max(1, Math.ceil(count() / 150));
  upto = 0;
  part("play").setAttribute("aria-pressed", "true");
  part("play").textContent = "Stop";
  film = setInterval(() => {
    upto += step;
    if (upto >= count()) { upto = null; stop(); }
    part("upto").value = place();
    show();
  }, stillness.matches ? 1500 : FRAME_MS);
});

part("copy").addEventListener("click", async () => {
  const answer = await fetch(`/room/api/episode/script?${query}`).catch(() => null);
  if (!answer?.ok) { part("done").textContent = "The script cannot be fetched: load the page again."; return; }
  const script = (await answer.text()).replace("http://localhost:8000", location.origin);
  part("script").textContent = script;
  part("script").hidden = false;
  try {
    await navigator.clipboard.writeText(script);
    part("done").textContent = "Copied.";
  } catch {
    getSelection().selectAllChildren(part("script"));
    part("done").textContent = "The browser does not let the page copy. The script is selected below.";
  }
});

part("png").addEventListener("click", async () => {
  const address = URL.createObjectURL(await chartsPng(charts.filter((chart) => !chart.root.hidden)));
  element("a", { href: address, download: `${name}.png` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
});

new ResizeObserver(() => { if (told) showTree(place()); }).observe(part("tree"));
load();
