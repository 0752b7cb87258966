// Times in the reader's zone. Elements <time data-at="seconds since 1970"> are filled in.

const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export function showTimes(root = document) {
  for (const one of root.querySelectorAll("time[data-at]")) {
    const at = new Date(Number(one.dataset.at) * 1000);
    one.dateTime = at.toISOString();
    one.textContent = exact.format(at);
  }
}

showTimes();
