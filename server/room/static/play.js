// Begins an episode in a short session and opens its page, which goes on with it.

import { element, episodeAddress } from "./dom.js";
import { Session } from "./session.js";

const form = document.getElementById("begin");
const told = document.getElementById("told");

function choose() {
  const game = form.game.value;
  form.task_id.setAttribute("list", `tasks-${game}`);
  form.task_id.placeholder = document.querySelector(`#tasks-${game} option`)?.value ?? "";
  const rubrics = document.querySelector(`[data-rubrics="${game}"]`).content.cloneNode(true);
  form.rubric.replaceChildren(element("option", { value: "" }, "the task's own"), rubrics);
  const splits = document.querySelector(`[data-splits="${game}"]`).content.cloneNode(true);
  form.split.replaceChildren(element("option", { value: "" }, "a task by name"), splits);
  chooseSplit();
}

/** A task is named, or it is a number of a split. A fork has the task, the seed and the rubric of its parent. */
function chooseSplit() {
  const split = form.split.selectedOptions[0], isNumber = Boolean(split?.value), isFork = Boolean(form.fork_from.value.trim());
  form.task_id.closest("label").hidden = isNumber || isFork;
  form.index.closest("label").hidden = !isNumber || isFork;
  for (const name of ["split", "seed", "rubric"]) form[name].closest("label").hidden = isFork;
  form.index.title = isNumber ? `0 to ${split.dataset.count - 1}` : "";
}

form.game.addEventListener("change", choose);
form.split.addEventListener("change", chooseSplit);
form.fork_from.addEventListener("input", chooseSplit);
choose();
form.querySelector("button").disabled = false; // not before: a browser would send the form by itself

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  const options = {};
  for (const name of ["task_id", "rubric", "agent", "fork_from"]) {
    if (form[name].value.trim() && !form[name].closest("label").hidden) options[name] = form[name].value.trim();
  }
  if (!form.index.closest("label").hidden) Object.assign(options, { split: form.split.value, index: Number(form.index.value) });
  options.agent ??= form.agent.placeholder;
  if (form.seed.value && !form.seed.closest("label").hidden) options.seed = Number(form.seed.value);
  button.disabled = true;
  told.className = "quiet";
  told.textContent = "Beginning …";
  try {
    const session = await Session.open(form.game.selectedOptions[0].dataset.prefix);
    const observation = await session.reset(options).finally(() => session.close());
    location.assign(`${episodeAddress(observation.episode_id)}&play=1`);
  } catch (error) {
    told.className = "problem";
    told.textContent = error.message;
    button.disabled = false;
  }
});
