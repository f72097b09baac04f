// The page's only script: replaces what has changed, as the gateway tells it. Every page works without it.
"use strict";
(() => {
  const live = document.querySelector("[data-live]");
  if (!live || !window.EventSource) return;
  const lost = document.getElementById("lost");
  const said = document.getElementById("said");

  const show = (id, html) => {
    const place = document.getElementById(id);
    if (!place) return;
    // A keyboard that stands on a link in here keeps standing on it.
    const focused = place.contains(document.activeElement) ? document.activeElement.id : "";
    place.innerHTML = html;
    const again = focused && document.getElementById(focused);
    if (again) again.focus({ preventScroll: true });
  };

  const source = new EventSource(live.dataset.live);
  source.onopen = () => { lost.hidden = true; };
  source.onerror = () => { lost.hidden = false; };
  source.onmessage = (event) => {
    const parts = JSON.parse(event.data);
    for (const id of Object.keys(parts)) {
      // What a screen reader is told is text, and only when it changes.
      if (id === "said") {
        if (said.textContent !== parts.said) said.textContent = parts.said;
      } else {
        show(id, parts[id]);
      }
    }
  };
  // The session is over: the page that comes instead says so.
  source.addEventListener("over", () => { source.close(); location.reload(); });
  window.addEventListener("pagehide", () => source.close());
})();
