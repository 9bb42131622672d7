// Brings plotly.js to the page, and makes the controls of one Explorer usable with keys and screen readers.
// It shows nothing. It follows plotly_loader.js in one module.

function initialize({ model }) {
  const place = shelf(model.get("edition"));
  bring(place, model.get("library"));
  // Running it stops the page for a second: best now, while the kernel still opens the study and no other widget starts.
  if (model.get("early")) want(place);
}

// A slider's handle and its number have no names of their own, and Notebook 7 takes its arrow keys for moving between cells.
function name(handle) {
  handle.dataset.lmSuppressShortcuts = "true";
  const slider = handle.closest(".widget-slider");
  const label = slider?.querySelector(".widget-label")?.textContent ?? "";
  handle.setAttribute("aria-label", label);
  slider?.querySelector(".widget-readout")?.setAttribute("aria-label", `${label}, as a number`);
}

function render({ el }) {
  const voice = document.createElement("div");
  voice.className = "semviz-voice";
  voice.setAttribute("role", "status");
  voice.setAttribute("aria-live", "polite");
  el.append(voice);
  // A region that is replaced is not read out, so the status line's words go into one that stays.
  const read = () => {
    const words = root.querySelector(".semviz-says .said")?.textContent ?? "";
    if (words !== voice.textContent) voice.textContent = words;
  };
  const found = new MutationObserver(tend); // slider and status line come after this view
  const said = new MutationObserver(read);
  let root = null;

  function tend() {
    const handles = root.querySelectorAll(".noUi-handle");
    const line = root.querySelector(".semviz-says");
    if (!handles.length || !line) return;
    found.disconnect();
    handles.forEach(name);
    read();
    said.observe(line, { childList: true, subtree: true, characterData: true });
  }

  const start = requestAnimationFrame(() => {
    root = el.closest(".semviz");
    if (!root) return;
    found.observe(root, { childList: true, subtree: true });
    tend();
  });
  return () => {
    cancelAnimationFrame(start);
    found.disconnect();
    said.disconnect();
  };
}

export default { initialize, render };
