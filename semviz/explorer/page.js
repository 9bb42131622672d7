// Makes the controls of one Explorer usable with keys and screen readers. It draws nothing.

// A slider's handle has no name of its own, and Notebook 7 takes its arrow keys for moving between cells.
function name(handle) {
  if (handle.dataset.lmSuppressShortcuts) return;
  handle.dataset.lmSuppressShortcuts = "true";
  const label = handle.closest(".widget-slider")?.querySelector(".widget-label");
  if (label) handle.setAttribute("aria-label", label.textContent);
}

function render({ el }) {
  el.hidden = true;
  let observer = null;
  const start = requestAnimationFrame(() => {
    const root = el.closest(".semviz") ?? document.body;
    const tend = () => root.querySelectorAll(".noUi-handle").forEach(name);
    tend();
    observer = new MutationObserver(tend); // sliders come after this view
    observer.observe(root, { childList: true, subtree: true });
  });
  return () => {
    cancelAnimationFrame(start);
    observer?.disconnect();
  };
}

export default { render };
