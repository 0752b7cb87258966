// A session over the server's public WebSocket: one message, one answer.

/** Why no session was opened, as an Error. Browsers do not tell; a link of the page leads to the sign-in. */
async function explain() {
  const answer = await fetch("/health").catch(() => null);
  if (!answer?.ok) return new Error("The server cannot be reached. Check that it runs, then try again.");
  document.getElementById("sign-in").hidden = false;
  return new Error("The server opened no session. An observer's token only reads: sign in with the server's token to play. Or the server has as many sessions as it takes: try again later.");
}

export class Session {
  /** Connect to the game at a prefix ("" or "/fleet"). `onclose` is called when the connection ends. */
  static open(prefix, onclose = () => {}) {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}${prefix}/ws`);
    return new Promise((resolve, reject) => {
      socket.onopen = () => resolve(new Session(socket, onclose));
      socket.onerror = () => explain().then(reject);
    });
  }

  constructor(socket, onclose) {
    this.socket = socket;
    this.waiting = [];
    socket.onerror = null;
    socket.onmessage = (event) => this.waiting.shift()?.(JSON.parse(event.data));
    socket.onclose = () => {
      this.waiting.splice(0).forEach((answer) => answer({ type: "error", data: { message: "The connection was lost." } }));
      onclose();
    };
  }

  /** Send a message. Returns the data of its answer; throws an Error with the server's own message. */
  async ask(type, data) {
    if (this.socket.readyState !== WebSocket.OPEN) throw new Error("The connection was lost.");
    const answer = await new Promise((resolve) => {
      this.waiting.push(resolve);
      this.socket.send(JSON.stringify({ type, data }));
    });
    if (answer.type === "error") throw new Error(answer.data?.message ?? "The server refused.");
    return answer.data;
  }

  async reset(options) {
    return (await this.ask("reset", options)).observation;
  }

  async tools() {
    return (await this.ask("step", { type: "list_tools" })).observation.tools;
  }

  /** Call a tool. Returns the reply; throws an Error with the reason of a refusal. */
  async call(name, given) {
    const told = await this.ask("step", { type: "call_tool", tool_name: name, arguments: given });
    if (told.observation.error) throw new Error(told.observation.error.message);
    return told.observation.result?.data ?? told.observation.result;
  }

  close() {
    this.socket.close();
  }
}
