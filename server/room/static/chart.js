// Lines over epochs, drawn by uPlot. Each line has its name at its end, calls are dashed verticals. Pointing at a place, or
// the arrow keys, read the values there.

import { element, figure } from "./dom.js";

const GAP = 15; // px between the names of two lines
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/**
 * A chart. `spec` has a title, the labels of figures by name, and whether values are shares or want a log axis.
 * `spec.bands` gives a figure the names of two more columns, the lower and upper edge of the band around its line.
 */
export class Chart {
  constructor(spec, { unit = "epoch", height = 190 } = {}) {
    this.spec = spec;
    this.unit = unit;
    this.height = height;
    this.read = element("p", { class: "read" });
    this.host = element("div", { role: "img", tabindex: 0, onkeydown: (event) => this.key(event) });
    this.root = element("div", { class: "chart" }, element("h3", {}, spec.title), this.host, this.read);
    this.names = Object.keys(spec.figures);
    this.edges = this.names.flatMap((name) => spec.bands?.[name] ?? []);
    this.data = { xs: [], columns: {}, marks: [], until: 1 };
    new ResizeObserver(() => this.resize()).observe(this.host);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.rebuild());
  }

  /** Show values: `xs`, a column for each figure, places of `marks`, and `until`, the end of the axis. */
  update(data) {
    this.data = data;
    const isLog = this.wantsLog();
    if (!this.plot || isLog !== this.isLog) this.rebuild();
    else this.plot.setData(this.table());
    this.host.setAttribute("aria-label", this.summary());
    this.tell(null);
  }

  table() {
    return [this.data.xs, ...[...this.names, ...this.edges].map((name) => this.data.columns[name] ?? [])];
  }

  wantsLog() {
    const values = this.names.flatMap((name) => this.data.columns[name] ?? []).filter((value) => value !== null);
    return Boolean(this.spec.log) && values.length > 0 && Math.min(...values) > 0 && Math.max(...values) > 3 * Math.min(...values);
  }

  rebuild() {
    this.plot?.destroy();
    this.plot = null;
    const width = this.host.clientWidth;
    if (!width) return;
    this.isLog = this.wantsLog();
    const ink = colour("--quiet"), line = colour("--line");
    const axis = { stroke: ink, font: "12px system-ui", grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
    const labels = Math.max(...Object.values(this.spec.figures).map((label) => label.length)) * 7.8 + 16;
    this.plot = new globalThis.uPlot({
      width,
      height: this.height,
      padding: [8, Math.min(labels, width / 3), 0, 0],
      legend: { show: false },
      cursor: { sync: { key: "room" }, drag: { x: false, y: false }, points: { size: 7 } },
      scales: {
        x: { time: false, range: () => [0, Math.max(1, this.data.until)] },
        y: this.isLog ? { distr: 3 } : { range: (_, low, high) => this.range(low, high) },
      },
      axes: [{ ...axis, size: 32, incrs: this.spec.fractions ? undefined : [1, 2, 5].flatMap((one) => [1, 10, 100, 1000].map((ten) => one * ten)).sort((one, other) => one - other) }, { ...axis, size: 56, values: (_, ticks) => ticks.map((tick) => tick === null ? "" : figure(tick)) }],
      series: [{}, ...this.names.map((name, index) => ({
        stroke: colour(`--c${index % 8}`),
        width: 2,
        spanGaps: Boolean(this.spec.span),
        dash: index % 2 ? [6, 4] : undefined,
        paths: this.spec.stepped ? globalThis.uPlot.paths.stepped({ align: 1 }) : undefined,
        points: { show: this.data.xs.length < 3 },
      })), ...this.edges.map(() => ({ stroke: "transparent", width: 0, points: { show: false } }))],
      bands: this.bands(),
      hooks: {
        drawClear: [(plot) => this.drawMarks(plot)],
        draw: [(plot) => this.drawNames(plot)],
        setCursor: [(plot) => this.tell(plot.cursor.idx)],
      },
    }, this.table(), this.host);
  }

  /** The areas between the edges, in the colours of their lines. */
  bands() {
    return this.names.flatMap((name, index) => {
      const [low, high] = this.spec.bands?.[name] ?? [];
      const place = (edge) => 1 + this.names.length + this.edges.indexOf(edge);
      return low ? [{ series: [place(high), place(low)], fill: `${colour(`--c${index % 8}`)}33` }] : [];
    });
  }

  /** The ends of the y axis: a little beyond the values, and of shares never beyond 0 and 1. */
  range(low, high) {
    if (low === null || high === null) return [0, 1];
    const margin = 0.06 * (high - low) || 0.1 * Math.abs(high) || 1;
    const ends = [low < 0 ? low - margin : Math.max(0, low - margin), high + margin];
    return this.spec.share ? [ends[0], Math.min(1, ends[1])] : ends;
  }

  resize() {
    const width = this.host.clientWidth;
    if (!width) return;
    if (!this.plot) this.rebuild();
    else if (width !== this.plot.width) this.plot.setSize({ width, height: this.height });
    this.onlayout?.();
  }

  /** The place of a value on the x axis, in px from the left of the chart. */
  left(x) {
    return this.plot ? this.plot.bbox.left / devicePixelRatio + this.plot.valToPos(x, "x") : 0;
  }

  drawMarks(plot) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = colour("--c7");
    ctx.globalAlpha = 0.45;
    ctx.setLineDash([3 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    for (const x of new Set(this.data.marks)) {
      const at = plot.valToPos(x, "x", true);
      ctx.moveTo(at, bbox.top);
      ctx.lineTo(at, bbox.top + bbox.height);
    }
    ctx.stroke();
    ctx.restore();
  }

  drawNames(plot) {
    const { ctx, bbox } = plot, gap = GAP * devicePixelRatio;
    const ends = this.names.map((name, index) => {
      const values = plot.data[index + 1];
      let last = values.length - 1;
      while (last >= 0 && (values[last] === null || values[last] === undefined)) last -= 1;
      return last < 0 ? null : {
        text: this.spec.figures[name], colour: colour(`--c${index % 8}`),
        x: plot.valToPos(plot.data[0][last], "x", true), y: plot.valToPos(values[last], "y", true),
      };
    }).filter(Boolean).sort((one, other) => one.y - other.y);
    ends.forEach((end, index) => {
      const least = index ? ends[index - 1].y + gap : bbox.top + gap / 2;
      end.y = Math.max(end.y, least);
    });
    for (let index = ends.length - 1, most = bbox.top + bbox.height - gap / 2; index >= 0; index -= 1) {
      ends[index].y = Math.min(ends[index].y, most);
      most = ends[index].y - gap;
    }
    ctx.save();
    ctx.font = `600 ${12 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.textBaseline = "middle";
    ctx.textAlign = "left";
    for (const end of ends) {
      ctx.fillStyle = end.colour;
      ctx.fillText(end.text, end.x + 8 * devicePixelRatio, end.y);
    }
    ctx.restore();
  }

  tell(index) {
    const at = index ?? this.data.xs.length - 1;
    const parts = this.names.map((name) => `${this.spec.figures[name]} ${figure(this.data.columns[name]?.[at])}`);
    this.read.textContent = at < 0 ? "nothing yet" : `${this.unit} ${figure(this.data.xs[at])}: ${parts.join(", ")}`;
  }

  summary() {
    const last = this.data.xs.length - 1;
    if (last < 0) return `${this.spec.title}: nothing yet`;
    const parts = this.names.map((name) => {
      const values = (this.data.columns[name] ?? []).filter((value) => value !== null);
      return values.length ? `${this.spec.figures[name]} from ${figure(values[0])} to ${figure(values.at(-1))}` : "";
    });
    return `${this.spec.title} over ${figure(this.data.xs[last])} ${this.unit}s: ${parts.filter(Boolean).join("; ")}. Arrow keys read values.`;
  }

  /** Move the cursor by a key, and read the values there. */
  key(event) {
    const last = this.data.xs.length - 1, here = this.plot?.cursor.idx ?? last;
    const at = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: last }[event.key];
    if (at === undefined || last < 0 || !this.plot) return;
    event.preventDefault();
    const x = this.data.xs[Math.min(last, Math.max(0, at))];
    this.read.setAttribute("aria-live", "polite"); // from now on: whoever only watches is told nothing at every change
    this.plot.setCursor({ left: this.plot.valToPos(x, "x"), top: this.plot.over.clientHeight / 2 });
  }
}

/** Charts as one PNG, under each other, each with its title. */
export function chartsPng(charts) {
  const head = 28 * devicePixelRatio, drawn = charts.map((chart) => chart.plot.ctx.canvas);
  const height = drawn.reduce((sum, one) => sum + one.height + head, 0);
  const canvas = element("canvas", { width: Math.max(...drawn.map((one) => one.width)), height });
  const ctx = canvas.getContext("2d");
  ctx.fillStyle = colour("--card");
  ctx.fillRect(0, 0, canvas.width, canvas.height);
  ctx.fillStyle = colour("--ink");
  ctx.font = `600 ${14 * devicePixelRatio}px system-ui, sans-serif`;
  ctx.textBaseline = "middle";
  let top = 0;
  drawn.forEach((one, index) => {
    ctx.fillText(charts[index].spec.title, 12 * devicePixelRatio, top + head / 2);
    ctx.drawImage(one, 0, top + head);
    top += one.height + head;
  });
  return new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); });
}
