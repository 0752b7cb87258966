// Fetches each part of the page that has a `data-live` URL every 3 seconds.
for (const part of document.querySelectorAll("[data-live]")) {
  const renew = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch(part.dataset.live);
        if (answer.ok) merge(part, await answer.text());
      } catch { /* the service is unavailable: try again */ }
    }
    setTimeout(renew, 3000);
  };
  setTimeout(renew, 3000);
}

// Merges new HTML into a part. Its children have ids. A child with a known id keeps its element, and so its focus, its
// scroll position and its open state. Only changed content is replaced.
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
