// Forms for the tools of a game, made of their own JSON schemas. The server checks every value and says what is wrong.

import { element } from "./dom.js";
import { Session } from "./session.js";

const part = (id) => document.getElementById(id);

/** Offer to play an episode that no session has open, and play it. */
export class Player {
  /**
   * `onopen` is called when the episode is open, so that the page can follow it. `now` is given the status of the
   * episode when it was opened, and returns what was told since: `settings` by name, and `saved`, the names of
   * checkpoints. Fields begin with valid values of it.
   */
  constructor(prefix, name, onopen, now) {
    this.prefix = prefix;
    this.name = name;
    this.onopen = onopen;
    this.now = now;
    part("go-on").addEventListener("click", () => this.begin());
  }

  /** Show the offer if nobody plays the episode and it has not ended. */
  offer(isFree) {
    part("play-panel").hidden = !isFree && !this.session && !this.isOver;
    part("go-on").hidden = Boolean(this.session) || !isFree;
  }

  async begin() {
    if (this.session || part("go-on").disabled) return;
    part("go-on").disabled = true;
    this.tell("Opening a session …");
    try {
      this.session = await Session.open(this.prefix, () => this.end());
      const told = await this.session.reset({ episode_id: this.name, resume: true });
      this.first = { ...told, ...told.status };
      part("about").textContent = told.task?.description ?? "";
      this.onopen();
      const tools = await this.session.tools();
      part("tools").replaceChildren(...tools.map((tool) => this.form(tool)));
      part("play-panel").hidden = false;
      part("go-on").hidden = true;
      this.tell("It is your turn. Choose a tool.");
    } catch (error) {
      this.session?.close();
      this.session = null;
      this.tell(error.message, true);
    } finally {
      part("go-on").disabled = false;
    }
  }

  end() {
    this.session = null;
    part("tools").replaceChildren();
    part("go-on").hidden = false;
    this.tell("The session has ended. What was recorded stays; you can go on with it.", true);
  }

  form(tool) {
    const { properties = {}, required = [] } = tool.input_schema ?? tool.inputSchema ?? {};
    const fields = Object.entries(properties).map(([name, schema]) => field(tool.name, name, schema, required.includes(name)));
    const button = element("button", {}, tool.title ?? tool.name.replaceAll("_", " "));
    const form = element("form", { class: "tool", onsubmit: (event) => { event.preventDefault(); this.call(tool.name, form); } },
      element("p", { class: "quiet" }, tool.description?.split("\n\n")[0] ?? ""), element("div", { class: "bar" }, ...fields, button));
    const offer = (event) => { if (event.target.open) offerValues(form, tool.name, this.now(this.first)); };
    return element("details", { name: "tool", ontoggle: offer }, element("summary", {}, tool.name.replaceAll("_", " ")), form);
  }

  async call(name, form) {
    const given = {};
    for (const input of form.elements) {
      if (input.name && input.value !== "") given[input.name] = read(input.value, input.dataset.kind);
    }
    const buttons = [...part("tools").querySelectorAll("button")];
    buttons.forEach((button) => { button.disabled = true; });
    this.tell(`${name.replaceAll("_", " ")} runs …`);
    try {
      const reply = await this.session.call(name, given);
      this.tell(reply.done ? `${reply.message} The episode is over.` : reply.message ?? "Done.");
      if (reply.done) this.finish();
    } catch (error) {
      this.tell(error.message, true);
    } finally {
      buttons.forEach((button) => { button.disabled = false; });
    }
  }

  finish() {
    this.isOver = true;
    this.session.socket.onclose = null;
    this.session.close();
    this.session = null;
    part("tools").replaceChildren();
  }

  tell(text, isBad = false) {
    part("told").textContent = text;
    part("told").className = isBad ? "problem" : "quiet";
  }
}

/** Show the values of now in a form that is opened. Required fields are filled with a valid one, others name it. */
function offerValues(form, tool, { settings, saved }) {
  for (const input of form.elements) {
    if (!input.name) continue;
    const known = settings[input.name] ?? (input.name.endsWith("_lr") ? settings.learning_rate : undefined);
    const given = typeof known === "object" ? undefined : known;
    if (input.dataset.kind === "string" && input.tagName === "INPUT") {
      const names = tool.startsWith("save") || !["name", "checkpoint"].includes(input.name) ? [] : saved;
      input.setAttribute("list", `${input.id}-list`);
      form.querySelector(`[id="${input.id}-list"]`).replaceChildren(...names.map((one) => element("option", {}, one)));
      if (input.required && !input.value) input.value = names.at(-1) ?? (tool.startsWith("save") ? `checkpoint-${saved.length + 1}` : "");
    } else if (input.required && !input.value) {
      input.value = given ?? (input.max && Number(input.min) >= 1 ? Math.min(5, input.max) : input.min);
    } else if (given !== undefined && !input.required) {
      if (input.tagName === "SELECT") input.options[0].textContent = `leave out: ${given}`;
      else input.placeholder = String(given);
    }
  }
}

const read = (text, kind) => (kind === "number" ? Number(text) : kind === "boolean" ? text === "true" : text);

function field(tool, name, schema, isRequired) {
  const id = `${tool}-${name}`;
  const choices = schema.type === "boolean" ? ["true", "false"] : schema.enum;
  const isNumber = schema.type === "integer" || schema.type === "number";
  const common = { id, name, required: isRequired, "data-kind": isNumber ? "number" : schema.type, "aria-describedby": `${id}-hint` };
  const input = choices
    ? element("select", common, ...(isRequired ? [] : [element("option", { value: "" }, "leave out")]), ...choices.map((one) => element("option", { value: one }, one)))
    : element("input", { ...common, type: isNumber ? "number" : "text", min: schema.minimum, max: schema.maximum,
      step: schema.type === "integer" ? 1 : isNumber ? "any" : null });
  const list = input.type === "text" ? element("datalist", { id: `${id}-list` }) : "";
  return element("label", {}, name.replaceAll("_", " "), input, list, element("span", { id: `${id}-hint`, class: "hint" }, schema.description ?? ""));
}
