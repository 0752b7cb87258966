// Parts of a page that say where they come from are fetched again every few seconds, until they say that they are done.
for (const part of document.querySelectorAll("[data-live]")) {
  const renew = async () => {
    if (part.querySelector("[data-over]")) return;
    if (!document.hidden) {
      try {
        const answer = await fetch(part.dataset.live);
        if (answer.ok) {
          const held = part.contains(document.activeElement);
          part.innerHTML = await answer.text();
          if (held) part.querySelector("[tabindex]")?.focus();
        }
      } catch { /* the service is away: try again */ }
    }
    setTimeout(renew, 3000);
  };
  setTimeout(renew, 3000);
}
