// Loads plotly.js into the page, and makes the controls of one Explorer usable with keyboard and screen readers.
// It shows nothing. It follows plotly_loader.js in one module.

function initialize({ model }) {
  const library = sharedLibrary(model.get("edition"));
  unpack(library, model.get("library"));
  // Running it blocks the page for a second: best now, while the kernel opens the study and no other widget starts.
  if (model.get("early")) requestLibrary(library);
}

// A slider's handle and its number have no accessible names, and Notebook 7 uses arrow keys to move between cells.
function nameSlider(handle) {
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
  // A live region that is replaced is not read out, so the status line's text is copied into one that stays.
  const announce = () => {
    const text = root.querySelector(".semviz-says .said")?.textContent ?? "";
    if (text !== voice.textContent) voice.textContent = text;
  };
  const pageObserver = new MutationObserver(connect); // slider and status line appear after this view
  const statusObserver = new MutationObserver(announce);
  let root = null;

  function connect() {
    const handles = root.querySelectorAll(".noUi-handle");
    const line = root.querySelector(".semviz-says");
    if (!handles.length || !line) return;
    pageObserver.disconnect();
    handles.forEach(nameSlider);
    announce();
    statusObserver.observe(line, { childList: true, subtree: true, characterData: true });
  }

  const start = requestAnimationFrame(() => {
    root = el.closest(".semviz");
    if (!root) return;
    pageObserver.observe(root, { childList: true, subtree: true });
    connect();
  });
  return () => {
    cancelAnimationFrame(start);
    pageObserver.disconnect();
    statusObserver.disconnect();
  };
}

export default { initialize, render };
