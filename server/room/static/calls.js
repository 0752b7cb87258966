// The calls of an episode as a list. A call that is chosen is marked here and on the curves.

import { callText, element, figure } from "./dom.js";

/** A text that may be broken behind brackets and commas. */
const breakable = (text) => text.split(/(?<=[(,])/).flatMap((piece, index) => (index ? [element("wbr"), piece] : [piece]));

export class Calls {
  constructor(list, onchoose) {
    this.list = list;
    this.onchoose = onchoose;
    this.items = new Map();
    this.calls = new Map();
    this.running = element("li", { "aria-busy": "true" });
  }

  add(call) {
    if (this.items.has(call.number)) return;
    const reward = call.reply?.reward;
    const head = element("button", { type: "button", class: "head", "aria-pressed": "false", onclick: () => this.onchoose(call.number) },
      element("span", { class: "quiet number" }, call.number),
      element("span", { class: "code" }, breakable(callText(call))),
      reward ? element("span", { class: reward > 0 ? "gain number" : "loss number" }, `${reward > 0 ? "+" : "−"}${figure(Math.abs(reward))}`) : "");
    const told = call.error ?? call.reply?.message ?? "";
    const whole = element("details", { ontoggle: (event) => this.fill(event.target, call) }, element("summary", {}, "arguments and reply"));
    const item = element("li", {}, head,
      element("div", { class: "told" },
        call.reason ? element("p", { class: "reason" }, call.reason) : "",
        call.inherited ? element("p", {}, "inherited from the parent") : "",
        element("p", { class: call.error ? "refused" : "" }, call.error ? `refused: ${told}` : told),
        whole));
    this.items.set(call.number, item);
    this.calls.set(call.number, call);
    this.list.insertBefore(item, this.running.isConnected ? this.running : null);
  }

  fill(details, call) {
    if (!details.open || details.querySelector("pre")) return;
    const shown = { arguments: call.arguments, reply: call.reply, error: call.error };
    details.append(element("pre", {}, element("code", {}, JSON.stringify(shown, null, 1))));
  }

  /** Show the call that is being carried out, or none. */
  showRunning(running) {
    if (!running) { this.running.remove(); return; }
    const amount = running.total ? ` · ${running.done} of ${running.total}` : "";
    this.running.replaceChildren(
      element("div", { class: "head" }, element("span", { class: "quiet number" }, "…"),
        element("span", { class: "code" }, breakable(callText(running))), ""),
      running.reason ? element("p", { class: "told reason" }, running.reason) : "",
      element("p", { class: "told" }, `runs now${amount}${running.message ? `: ${running.message}` : ""}`));
    if (!this.running.isConnected) this.list.append(this.running);
  }

  /** Mark the chosen call, and dim those that begin after `upto` units. `starts` by the number of the call. */
  show(chosen, starts, upto) {
    for (const [number, item] of this.items) {
      item.classList.toggle("chosen", number === chosen);
      item.classList.toggle("later", starts.get(number) > upto);
      item.querySelector(".head").setAttribute("aria-pressed", String(number === chosen));
    }
  }

  /** Open a call and scroll to it. */
  reveal(number) {
    const item = this.items.get(number);
    if (!item) return;
    const details = item.querySelector("details");
    details.open = true;
    this.fill(details, this.calls.get(number)); // before it is scrolled to: the event of its opening comes later
    item.scrollIntoView({ block: "nearest" });
  }
}
