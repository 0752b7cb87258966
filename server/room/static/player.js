// Forms for the tools of a game, made of their own JSON schemas. The server checks every value and says what is wrong.

import { element } from "./dom.js";
import { Session } from "./session.js";

const part = (id) => document.getElementById(id);

/** Offer to play an episode that no session has open, and play it. */
export class Player {
  /** `onopen` is called when the episode is open, so that the page can follow it. */
  constructor(prefix, name, onopen) {
    this.prefix = prefix;
    this.name = name;
    this.onopen = onopen;
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
      await this.session.reset({ episode_id: this.name, resume: true });
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
    return element("details", { name: "tool" }, element("summary", {}, tool.name.replaceAll("_", " ")), form);
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

const read = (text, kind) => (kind === "number" ? Number(text) : kind === "boolean" ? text === "true" : text);

function field(tool, name, schema, isRequired) {
  const id = `${tool}-${name}`;
  const choices = schema.type === "boolean" ? ["true", "false"] : schema.enum;
  const isNumber = schema.type === "integer" || schema.type === "number";
  const common = { id, name, required: isRequired, "data-kind": isNumber ? "number" : schema.type, "aria-describedby": `${id}-hint` };
  const input = choices
    ? element("select", common, ...(isRequired ? [] : [element("option", { value: "" }, "unchanged")]), ...choices.map((one) => element("option", { value: one }, one)))
    : element("input", { ...common, type: isNumber ? "number" : "text", min: schema.minimum, max: schema.maximum,
      step: schema.type === "integer" ? 1 : isNumber ? "any" : null });
  return element("label", {}, name.replaceAll("_", " "), input, element("span", { id: `${id}-hint`, class: "hint" }, schema.description ?? ""));
}
