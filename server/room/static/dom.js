// Elements and texts. Text is always set as text, never as HTML: names and messages come from anybody.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element. `attributes` with the value null or false are left out, `true` is an empty one. */
export function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** Make an SVG element. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : String(value));
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

const large = new Intl.NumberFormat(undefined, { notation: "compact", maximumSignificantDigits: 4 });

/** A figure with 4 significant digits; "–" for none. */
export function figure(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (Math.abs(value) < 1e-9) return "0";
  if (Math.abs(value) >= 1e6) return large.format(value);
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
}

/** A call as text: its tool and arguments. */
export function callText(call) {
  const given = Object.entries(call.arguments ?? {}).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  return `${call.tool}(${given.join(", ")})`;
}

/** The address of an episode's page. */
export const episodeAddress = (name) => `/room/episode?name=${encodeURIComponent(name)}`;

/** Fetch JSON. Throws an Error with the server's own message. */
export async function fetchJson(address) {
  let answer;
  try {
    answer = await fetch(address, { headers: { Accept: "application/json" } });
  } catch {
    throw new Error("The server cannot be reached. Check that it runs, then load the page again.");
  }
  if (answer.ok) return answer.json();
  const told = await answer.json().catch(() => ({}));
  throw new Error(typeof told.detail === "string" ? told.detail : `The server answered ${answer.status}.`);
}

/** Follow server-sent events. `handlers` by the name of the event. Tells in the page's header how the connection is. */
export function follow(address, handlers) {
  const status = document.getElementById("connection");
  const source = new EventSource(address);
  source.onopen = () => { status.textContent = "connected"; status.className = "good"; };
  source.onerror = () => {
    status.textContent = source.readyState === EventSource.CLOSED
      ? "not connected: load the page again"
      : "connection lost: trying again";
    status.className = "bad";
  };
  for (const [name, handle] of Object.entries(handlers)) {
    source.addEventListener(name, (event) => handle(JSON.parse(event.data), source));
  }
  return source;
}

/** The line of some values as a small picture. Gaps where a value is missing. */
export function sparkline(values, width = 96, height = 28) {
  const known = values.filter((value) => value !== null);
  if (known.length < 2) return svg("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  const low = Math.min(...known), high = Math.max(...known), pad = 3;
  let path = "", isDown = false;
  values.forEach((value, index) => {
    if (value === null) { isDown = false; return; }
    const x = pad + ((width - 2 * pad) * index) / (values.length - 1);
    const y = height - pad - ((height - 2 * pad) * (value - low)) / (high - low || 1);
    path += `${isDown ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    isDown = true;
  });
  return svg("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, svg("path", { d: path }));
}
