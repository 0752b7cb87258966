// Heat maps over each other: a row for each part, a column for each unit. Full colour is much. Pointing at a cell, or the arrow
// keys, read that cell in all maps. Dashed verticals are events, and frames are what the end told.

import { element, figure } from "./dom.js";

const ROW = 16, LABEL = 60, AXIS = 20;
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** All heat maps of an episode. `specs` have a title, the names of figures, and the label of each row. */
export class HeatMaps {
  constructor(specs, unit) {
    this.unit = unit;
    this.at = null; // the row and the column that are read
    this.read = element("p", { class: "read", role: "status" });
    this.truth = element("p", { class: "quiet", hidden: true });
    this.maps = specs.map((spec) => new HeatMap(spec, unit, (part, column) => this.tell(part, column)));
    this.events = element("ol", { class: "events", tabindex: 0, "aria-label": "Events" });
    this.root = element("div", { class: "stack" }, this.read, this.truth, ...this.maps.map((map) => map.root), this.events);
  }

  /** Show columns by the names of figures, events before `shown` units, and what the end told, traces on the rows. */
  update(columns, happenings, truth) {
    this.columns = columns;
    const shown = columns.seconds.length;
    const told = happenings.filter((one) => one.after <= shown);
    for (const map of this.maps) map.update(columns, told.map((one) => one.after), truth);
    if (this.at && this.at[1] >= shown) this.at = null;
    this.at ??= shown ? [0, shown - 1] : null;
    this.showTruth(truth);
    this.showEvents(told);
    if (this.at) this.tell(...this.at);
    else this.read.textContent = "nothing yet";
  }

  tell(part, column) {
    this.at = [part, column];
    const clock = this.columns.clock_s?.[column], node = this.columns[`node/${part}`]?.[column];
    const where = [`${this.unit} ${column + 1}`, clock === undefined || clock === null ? "" : `${clock} s`,
      this.maps[0].spec.labels[part] + (node === undefined || node === null ? "" : ` on node ${node}`)];
    const values = this.maps.filter((map) => !map.root.hidden).map((map) => `${map.spec.title} ${figure(map.rows[part][column])}`);
    const text = `${where.filter(Boolean).join(", ")}: ${values.join("; ")}`;
    if (this.read.textContent !== text) this.read.textContent = text;
    this.maps.forEach((map) => map.mark(part, column));
  }

  showTruth(truth) {
    const kinds = new Map();
    for (const one of truth) kinds.set(one.label, [...(kinds.get(one.label) ?? []), one]);
    const labels = this.maps[0].spec.labels;
    const place = ({ part, first, last }) => `${labels[part]} ${first === last ? `${this.unit} ${first + 1}` : `${this.unit}s ${first + 1} to ${last + 1}`}`;
    const sentence = ([kind, traces]) => `${kind.replaceAll("_", " ")}: ${traces.slice(0, 3).map(place).join(", ")}${traces.length > 3 ? `, and ${traces.length - 3} more` : ""}.`;
    this.truth.hidden = !truth.length;
    this.truth.textContent = `Framed, as the end told: ${[...kinds].map(sentence).join(" ")}`;
  }

  showEvents(told) {
    const key = told.map((one) => one.text).join("\n");
    this.events.hidden = !told.length;
    if (key === this.shownEvents) return;
    this.shownEvents = key;
    this.events.replaceChildren(...told.map((one) => element("li", { onpointerenter: () => this.maps.forEach((map) => map.light(one.after)), onpointerleave: () => this.maps.forEach((map) => map.light(null)) },
      element("span", { class: "quiet number" }, `${figure(one.clock_s)} s`), element("span", {}, `after ${this.unit} ${one.after}: ${one.text}`))));
  }
}

class HeatMap {
  constructor(spec, unit, onread) {
    this.spec = spec;
    this.unit = unit;
    this.onread = onread;
    this.cell = [0, 0];
    const point = (event) => this.point(event);
    this.canvas = element("canvas", { tabindex: 0, role: "img", onkeydown: (event) => this.key(event), onpointermove: point, onpointerdown: point });
    this.scale = element("span", { class: "quiet" });
    this.root = element("div", { class: "heat" }, element("h3", {}, spec.title, " ", this.scale), this.canvas);
    new ResizeObserver(() => this.draw()).observe(this.root);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  update(columns, events, truth) {
    this.rows = this.spec.figures.map((name) => columns[name] ?? []);
    this.events = events;
    this.truth = truth;
    const known = this.rows.flat().filter((value) => value !== null).sort((one, other) => one - other);
    this.root.hidden = !known.length;
    if (!known.length) return;
    const share = (part) => known[Math.min(known.length - 1, Math.floor(part * known.length))];
    this.low = share(0.02);
    this.high = Math.max(share(0.98), this.low + this.spec.least_span);
    this.isLog = !this.spec.least_span && this.low > 0 && known.at(-1) > 8 * this.low;
    if (this.isLog) this.high = known.at(-1);
    const where = this.rows.flatMap((row, part) => row.map((value, column) => [value ?? -Infinity, part, column]));
    const top = where.reduce((best, one) => (one[0] > best[0] ? one : best), [-Infinity, 0, 0]);
    this.canvas.setAttribute("aria-label", `${this.spec.title}, ${this.rows[0].length} ${this.unit}s. The greatest is ${figure(top[0])}, ${this.spec.labels[top[1]]}, ${this.unit} ${top[2] + 1}. Arrow keys read cells.`);
    this.scale.textContent = `from ${figure(known[0])} to ${figure(known.at(-1))}; full colour from ${figure(this.high)}${this.isLog ? ", logarithmic" : ""}`;
  }

  mark(part, column) {
    this.cell = [part, column];
    this.draw();
  }

  /** Stress the event after so many units. None for null. */
  light(after) {
    this.lit = after;
    this.draw();
  }

  draw() {
    const width = this.root.clientWidth;
    if (!width || !this.rows?.[0].length) return;
    const height = this.rows.length * ROW + AXIS, scale = devicePixelRatio;
    this.canvas.width = width * scale;
    this.canvas.height = height * scale;
    const ctx = this.canvas.getContext("2d");
    ctx.scale(scale, scale);
    ctx.font = "12px system-ui, sans-serif";
    ctx.textBaseline = "middle";
    const count = this.rows[0].length, cell = (width - LABEL) / count, x = (column) => LABEL + column * cell;
    const hot = colour("--hot"), ink = colour("--ink"), quiet = colour("--quiet");
    this.rows.forEach((row, part) => {
      ctx.globalAlpha = 1;
      ctx.fillStyle = quiet;
      ctx.fillText(this.spec.labels[part], 0, part * ROW + ROW / 2);
      ctx.fillStyle = hot;
      row.forEach((value, column) => {
        if (value === null || value === undefined) return;
        ctx.globalAlpha = 0.06 + 0.94 * this.share(value);
        ctx.fillRect(x(column), part * ROW, Math.max(cell - (cell > 4 ? 1 : 0), 0.6), ROW - 2);
      });
    });
    ctx.globalAlpha = 1;
    const line = (at, dash, style, wide) => {
      ctx.beginPath();
      ctx.setLineDash(dash);
      ctx.strokeStyle = style;
      ctx.lineWidth = wide;
      ctx.moveTo(at, 0);
      ctx.lineTo(at, this.rows.length * ROW);
      ctx.stroke();
    };
    for (const after of new Set(this.events)) line(x(after), [3, 3], quiet, after === this.lit ? 3 : 1);
    ctx.setLineDash([]);
    ctx.strokeStyle = ink;
    ctx.lineWidth = 1.5;
    for (const { part, first, last } of this.truth) {
      if (first < count) ctx.strokeRect(x(first), part * ROW - 1, Math.max(2, (Math.min(last, count - 1) - first + 1) * cell), ROW);
    }
    const [part, column] = this.cell;
    ctx.lineWidth = 2;
    ctx.strokeStyle = colour("--accent");
    ctx.strokeRect(Math.min(x(column), width - 5) + 1, part * ROW + 1, Math.max(cell - 2, 3), ROW - 3);
    ctx.fillStyle = quiet;
    ctx.fillText("1", LABEL, height - AXIS / 2);
    ctx.textAlign = "right";
    ctx.fillText(`${this.unit} ${count}`, width, height - AXIS / 2);
  }

  share(value) {
    const [low, high, at] = this.isLog ? [this.low, this.high, value].map(Math.log) : [this.low, this.high, value];
    return Math.min(1, Math.max(0, (at - low) / (high - low || 1)));
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect(), count = this.rows?.[0]?.length ?? 0;
    const column = Math.floor(((event.clientX - box.left - LABEL) / (box.width - LABEL)) * count);
    const part = Math.floor((event.clientY - box.top) / ROW);
    if (column >= 0 && part >= 0 && part < this.rows.length && column < count) this.onread(part, column);
  }

  key(event) {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -Infinity], End: [0, Infinity] };
    const move = moves[event.key], rows = this.rows;
    if (!move || !rows?.[0].length) return;
    event.preventDefault();
    const clamp = (value, most) => Math.min(most - 1, Math.max(0, value));
    this.onread(clamp(this.cell[0] + move[0], rows.length), clamp(this.cell[1] + move[1], rows[0].length));
  }
}
