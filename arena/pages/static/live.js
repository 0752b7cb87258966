// Parts of a page that say where they come from are fetched again every few seconds.
for (const part of document.querySelectorAll("[data-live]")) {
  const renew = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch(part.dataset.live);
        if (answer.ok) merge(part, await answer.text());
      } catch { /* the service is away: try again */ }
    }
    setTimeout(renew, 3000);
  };
  setTimeout(renew, 3000);
}

// A part's children have ids. One that was there before stays the element it is, with its focus, its scrolling, and
// whether the reader has opened it; only what it holds is replaced, if that is new.
function merge(part, text) {
  const fresh = [...new DOMParser().parseFromString(text, "text/html").body.children];
  const ids = new Set(fresh.map((child) => child.id));
  for (const child of [...part.children]) if (!ids.has(child.id)) child.remove();
  let next = part.firstElementChild;
  for (const child of fresh) {
    if (child.id === next?.id) {
      if (child.innerHTML !== next.innerHTML) next.innerHTML = child.innerHTML;
      next = next.nextElementSibling;
    } else {
      part.insertBefore(child, next);
    }
  }
}
