// A heat map: a row for each part, a column for each step. Dark is much. Arrow keys read cells.

import { element, figure } from "./dom.js";

const ROW = 18, LABEL = 64, AXIS = 20;
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class HeatMap {
  constructor(spec, unit) {
    this.spec = spec;
    this.unit = unit;
    this.at = [0, 0];
    this.canvas = element("canvas", { tabindex: 0, role: "img", onkeydown: (event) => this.key(event), onpointermove: (event) => this.point(event) });
    this.read = element("p", { class: "read quiet", role: "status" });
    this.root = element("div", { class: "heat" }, element("h3", {}, spec.title), this.canvas, this.read);
    new ResizeObserver(() => this.draw()).observe(this.root);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  update(columns) {
    this.rows = this.spec.figures.map((name) => columns[name] ?? []);
    const known = this.rows.flat().filter((value) => value !== null).sort((one, other) => one - other);
    const share = (part) => known[Math.min(known.length - 1, Math.floor(part * known.length))] ?? 0;
    this.low = share(0.02);
    this.high = share(0.98);
    this.isLog = this.low > 0 && known.at(-1) > 8 * this.low;
    if (this.isLog) this.high = known.at(-1);
    const where = this.rows.flatMap((row, part) => row.map((value, step) => [value ?? -Infinity, part, step]));
    const top = where.reduce((best, one) => (one[0] > best[0] ? one : best), [-Infinity, 0, 0]);
    this.canvas.setAttribute("aria-label", known.length
      ? `${this.spec.title}, ${this.rows[0].length} ${this.unit}s. The greatest is ${figure(top[0])}, ${this.spec.labels[top[1]]}, ${this.unit} ${top[2] + 1}. Arrow keys read cells.`
      : `${this.spec.title}: nothing yet`);
    this.read.textContent = known.length
      ? `from ${figure(known[0])} (pale) to ${figure(known.at(-1))} (dark)${this.isLog ? ", logarithmic" : ""}` : "nothing yet";
    this.draw();
  }

  draw() {
    const width = this.root.clientWidth;
    if (!width || !this.rows) return;
    const height = this.rows.length * ROW + AXIS, scale = devicePixelRatio;
    this.canvas.width = width * scale;
    this.canvas.height = height * scale;
    const ctx = this.canvas.getContext("2d");
    ctx.scale(scale, scale);
    ctx.font = "12px system-ui, sans-serif";
    ctx.textBaseline = "middle";
    const steps = Math.max(1, this.rows[0].length), cell = (width - LABEL) / steps, hot = colour("--hot");
    this.rows.forEach((row, part) => {
      ctx.globalAlpha = 1;
      ctx.fillStyle = colour("--quiet");
      ctx.fillText(this.spec.labels[part], 0, part * ROW + ROW / 2);
      ctx.fillStyle = hot;
      row.forEach((value, step) => {
        if (value === null) return;
        ctx.globalAlpha = 0.06 + 0.94 * this.share(value);
        ctx.fillRect(LABEL + step * cell, part * ROW, Math.max(cell - (cell > 4 ? 1 : 0), 0.6), ROW - 2);
      });
    });
    ctx.globalAlpha = 1;
    ctx.fillStyle = colour("--quiet");
    ctx.fillText("1", LABEL, height - AXIS / 2);
    ctx.textAlign = "right";
    ctx.fillText(`${this.unit} ${steps}`, width, height - AXIS / 2);
  }

  share(value) {
    const [low, high, at] = this.isLog ? [this.low, this.high, value].map(Math.log) : [this.low, this.high, value];
    return Math.min(1, Math.max(0, (at - low) / (high - low || 1)));
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect(), steps = this.rows?.[0]?.length ?? 0;
    const step = Math.floor(((event.clientX - box.left - LABEL) / (box.width - LABEL)) * steps);
    const part = Math.floor((event.clientY - box.top) / ROW);
    if (step >= 0 && part >= 0 && part < this.rows.length && step < steps) this.tell(part, step);
  }

  key(event) {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const move = moves[event.key];
    if (!move || !this.rows?.[0]?.length) return;
    event.preventDefault();
    const clamp = (value, most) => Math.min(most - 1, Math.max(0, value));
    this.tell(clamp(this.at[0] + move[0], this.rows.length), clamp(this.at[1] + move[1], this.rows[0].length));
  }

  tell(part, step) {
    this.at = [part, step];
    this.read.textContent = `${this.spec.labels[part]}, ${this.unit} ${step + 1}: ${figure(this.rows[part][step])}`;
  }
}
