// The branches of an episode: where weights were saved, brought back, or drawn anew. Drawn at the width that there is.

import { svg } from "./dom.js";

const LANE = 46, TOP = 30, LEFT = 16, RIGHT = 132, FORK = 24, MOST_FORKS = 12;

/**
 * The branches of an episode by its calls, in the order in which they began. A branch is units that follow each other from
 * one state on: `start` and `end` count the episode's units, `parent` is the branch that it left at `parent_at`, null for
 * fresh weights, and `saves` are the checkpoints on it. A refused call changes nothing. A fleet's job saves by itself, so
 * a restart leaves the branch where it ends.
 */
export function branchesOf(calls) {
  const branches = [{ start: 0, end: 0, parent: null, parent_at: null, label: "start", saves: [] }];
  const saved = new Map();
  for (const call of calls) {
    const here = branches.at(-1), name = call.arguments?.name ?? call.arguments?.checkpoint;
    const begin = (parent, at, label) => branches.push({ start: here.end, end: here.end, parent, parent_at: at, label, saves: [] });
    if (call.reply && call.tool === "save_checkpoint") {
      here.saves.push([String(name), here.end]);
      saved.set(name, [branches.length - 1, here.end]);
    } else if (call.reply && ["restore_checkpoint", "restart"].includes(call.tool)) {
      begin(...(saved.get(name) ?? [branches.length - 1, here.end]), `restored ${name}`);
    } else if (call.reply && call.arguments?.reinitialize === true) {
      begin(null, null, "fresh weights");
    }
    branches.at(-1).end += call.units;
  }
  return branches;
}

/**
 * The place of each fork of an episode: its branch and the number of units before it. `forks` have a name, and where they
 * were forked: "episode@checkpoint", "episode@units", or "episode" for its end.
 */
export function placesOfForks(branches, forks, parent) {
  const saves = branches.flatMap((branch, lane) => branch.saves.map(([name, at]) => [String(name), { lane, at }]));
  const saved = new Map(saves);
  const last = { lane: branches.length - 1, at: branches.at(-1).end };
  return forks.map((fork) => {
    const place = fork.from.slice(parent.length + 1), units = Number(place);
    const lane = branches.findLastIndex((branch) => branch.start <= units);
    return { name: fork.name, ...(place ? saved.get(place) ?? (Number.isInteger(units) && lane >= 0 ? { lane, at: units } : last) : last) };
  });
}

/** Draw the branches up to a number of units, for a width in px, and the forks that other episodes are, dashed. */
export function drawTree(branches, upto, width, unit, forks = []) {
  const known = branches.filter((branch) => branch.start <= upto);
  const others = forks.filter((fork) => fork.at <= upto && fork.lane < known.length).slice(0, MOST_FORKS);
  const most = Math.max(1, upto);
  const wide = Math.max(320, width), x = (units) => LEFT + ((wide - LEFT - RIGHT) * units) / most;
  const y = (lane) => TOP + lane * LANE;
  const height = TOP + known.length * LANE - LANE / 2 + 8 + others.length * FORK;
  const drawing = svg("svg", { width: wide, height, viewBox: `0 0 ${wide} ${height}`, role: "img", "aria-label": describe(known, upto, unit, others) });
  known.forEach((branch, lane) => {
    const end = Math.min(branch.end, upto), isLast = lane === known.length - 1;
    const group = svg("g", { class: isLast ? "" : "left" });
    if (branch.parent !== null && branch.parent < lane) {
      const from = x(Math.min(branch.parent_at, most)), to = x(branch.start);
      group.append(svg("path", { d: `M${from} ${y(branch.parent)}C${from} ${y(lane)} ${from} ${y(lane)} ${Math.max(to, from + 12)} ${y(lane)}` }));
    }
    group.append(svg("path", { d: `M${x(branch.start)} ${y(lane)}H${Math.max(x(end), x(branch.start) + 1)}` }));
    if (branch.parent === null) group.append(svg("circle", { cx: x(branch.start), cy: y(lane), r: 5 }));
    let free = -Infinity;
    for (const [name, at] of branch.saves) {
      if (at > upto) continue;
      group.append(svg("circle", { cx: x(at), cy: y(lane), r: 6 }));
      const label = name.length > 14 ? `${name.slice(0, 13)}…` : name, middle = x(at);
      const half = label.length * 4 + 4;
      if (middle - half < free) continue;
      free = middle + half;
      group.append(svg("text", { x: Math.max(middle, half), y: y(lane) - 11, "text-anchor": "middle" }, label));
    }
    group.append(svg("circle", { cx: x(end), cy: y(lane), r: isLast ? 7 : 4 }));
    group.append(svg("text", { x: x(end) + 12, y: y(lane) + 4 }, `${end - branch.start} ${unit}s${isLast ? ", now" : ""}`));
    drawing.append(group);
  });
  others.forEach((fork, index) => {
    const from = x(fork.at), at = y(known.length - 1) + LANE / 2 + 4 + index * FORK;
    const isRight = from < wide / 2, most = Math.floor((isRight ? wide - from - 45 : from - 9) / 8) - 6;
    const name = fork.name.length > most ? `${fork.name.slice(0, most - 1)}…` : fork.name, end = isRight ? from + 36 : from;
    drawing.append(svg("g", { class: "fork" },
      svg("path", { d: `M${from} ${y(fork.lane)}C${from} ${at} ${from} ${at} ${end} ${at}` }),
      svg("circle", { cx: end, cy: at, r: 4 }),
      svg("text", isRight ? { x: end + 9, y: at + 4 } : { x: from - 9, y: at + 4, "text-anchor": "end" }, `fork ${name}`)));
  });
  return drawing;
}

function describe(branches, upto, unit, forks) {
  const told = forks.map((fork) => `Fork ${fork.name}, from branch ${fork.lane + 1} after ${fork.at} ${unit}s.`);
  return [...branches.map((branch, index) => {
    const saves = branch.saves.filter(([, at]) => at <= upto).map(([name, at]) => `${name} at ${at}`);
    const size = Math.min(branch.end, upto) - branch.start;
    return `Branch ${index + 1}, ${branch.label}: ${size} ${unit}s${saves.length ? `, saved ${saves.join(", ")}` : ""}.`;
  }), ...told].join(" ");
}
