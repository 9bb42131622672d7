// One picture: plotly.js draws the figure that Python sent, with marks on top of it.
// It follows plotly_loader.js, painting.js and cursor.js in one module.

const LOAD_TIMEOUT = 30_000; // ms until a message says that the library has not loaded
const BURST_GAP = 60; // ms without a change, after which the next one is not part of a burst

const element = (name, kind) => Object.assign(document.createElement(name), { className: `semviz-${kind}` });

function render({ model, el }) {
  const library = sharedLibrary(model.get("edition"));
  const root = element("div", "picture");
  const stage = element("div", "stage");
  const gd = element("div", "plot");
  const mark = element("div", "cursor");
  const voice = element("div", "voice");
  const note = element("p", "note");
  voice.setAttribute("aria-live", "polite");
  note.setAttribute("role", "status");
  mark.setAttribute("aria-hidden", "true");
  mark.hidden = true;
  stage.append(gd, mark);
  root.append(note, stage, voice);
  root.dataset.semvizDrawn = "0";
  el.append(root);

  let stale = true; // the drawn figure is outdated, or has the wrong theme
  let drawn = null; // what Plotly was given: the figure in the page's colours, with marks
  let marks = new Map(); // the marks in it
  let dark = isDark();
  let width = 0; // of the drawn figure
  let [scheduled, lastDrawn, busy, drawAgain, removed, timeout] = [false, 0, false, false, false, 0];
  const send = (point) => model.send({ event: "click", ...point });
  const cursor = new Cursor(stage, mark, voice, { gd, plotly: () => library.plotly, open: send });

  function showNote(text, isError = false) {
    note.textContent = text;
    note.hidden = !text;
    note.classList.toggle("semviz-alarm", isError);
  }

  // Returns whether there is a figure, for which it reserves the height.
  function reserveSpace() {
    const figure = model.get("figure");
    const hasFigure = Boolean(figure?.data);
    root.style.minHeight = hasFigure ? `${figure.layout?.height ?? 450}px` : "";
    stage.hidden = !hasFigure;
    return hasFigure;
  }

  function updateLabel() {
    const isHeatmap = (model.get("figure")?.data ?? []).some((trace) => trace.type === "heatmap");
    const keys = " Arrow keys move over the cells, Enter opens a cell, Escape leaves.";
    stage.setAttribute("role", isHeatmap ? "application" : "img");
    stage.setAttribute("aria-label", model.get("label") + (isHeatmap ? `.${keys}` : ""));
    if (isHeatmap) {
      stage.tabIndex = 0;
      stage.setAttribute("aria-roledescription", "heatmap");
      stage.dataset.lmSuppressShortcuts = "true"; // otherwise JupyterLab handles Enter and arrows
    } else {
      const names = ["tabindex", "aria-roledescription", "data-lm-suppress-shortcuts"];
      for (const name of names) stage.removeAttribute(name);
    }
  }

  // However many changes come, the next frame draws only the newest.
  function scheduleDraw() {
    if (busy) drawAgain = true;
    else if (!scheduled && !removed) {
      scheduled = true;
      // A single change is drawn at once, to appear in the next frame; in a burst, every frame draws the newest.
      if (performance.now() - lastDrawn > BURST_GAP) setTimeout(startDraw);
      else requestAnimationFrame(startDraw);
    }
  }

  // Marks on the data make Plotly redraw the whole picture. They wait until the frame with the cheap marks is shown.
  function startDraw() {
    const isExpensive = !stale && (model.get("overlay")?.data ?? []).length > 0;
    if (isExpensive) requestAnimationFrame(() => setTimeout(update));
    else update();
  }

  async function update() {
    scheduled = false;
    if (removed) return;
    lastDrawn = performance.now();
    if (!reserveSpace()) {
      if (gd._fullLayout) library.plotly?.purge(gd);
      cursor.stop();
      [stale, marks, width] = [true, new Map(), 0];
      showNote(model.get("placeholder"));
      return;
    }
    if (!library.plotly) {
      const cannotDraw = "This picture cannot be drawn: plotly.js";
      if (library.error) showNote(`${cannotDraw} did not start (${library.error.message}).`, true);
      else if (!timeout) {
        showNote("Preparing the picture …");
        timeout = setTimeout(() => {
          if (!library.plotly) showNote(`${cannotDraw} has not loaded. Run the cell again.`, true);
        }, LOAD_TIMEOUT);
      }
      return;
    }
    const available = root.clientWidth;
    if (!available) {
      // Hidden: the observer schedules a draw when it is shown. It is restarted because JupyterLab hides a notebook for
      // less than a frame when its theme changes; the observer, which compares frames, would see no change.
      sizeObserver.unobserve(root);
      sizeObserver.observe(root);
      return;
    }
    busy = true;
    try {
      if (await draw(library.plotly, available)) {
        showNote("");
        cursor.show();
        root.dataset.semvizDrawn = String(Number(root.dataset.semvizDrawn) + 1);
      }
    } catch (error) {
      console.error(error);
      stale = true;
      showNote(`This picture cannot be drawn: ${error.message ?? error}.`, true);
    }
    busy = false;
    if (removed) library.plotly.purge(gd);
    else if (drawAgain) scheduleDraw();
    drawAgain = false;
  }

  // Returns whether something was drawn. A change while Plotly draws schedules another frame at the end.
  async function draw(plotly, available) {
    const figure = model.get("figure");
    const swaps = dark ? model.get("swaps") : null;
    const newMarks = flatten(model.get("overlay"));
    const changed = stale ? newMarks : changedMarks(figure, marks, newMarks);
    const resized = figure.layout?.width === undefined && width !== available;
    if (!stale && !changed.size && !resized) return false;
    if (stale) drawn = recolour({ data: figure.data, layout: { width: available, ...figure.layout } }, swaps);
    else if (resized) drawn = withValue(drawn, ["layout", "width"], available);
    for (const [key, value] of changed) {
      const path = keyPath(key);
      if (valueAt(drawn, path.slice(0, path[0] === "data" ? 2 : 1))) {
        drawn = withValue(drawn, path, recolour(value, swaps, path.at(-1).includes("color")));
      }
    }
    [stale, width, marks] = [false, available, newMarks];
    const isFirst = !gd._fullLayout;
    // The config is passed only once: otherwise Plotly would compare it each time.
    const config = isFirst ? { ...model.get("config"), responsive: false } : undefined;
    await plotly.react(gd, drawn.data, drawn.layout, config);
    if (isFirst) gd.on("plotly_click", ({ points: [point] }) => point && send(clickEvent(point)));
    return true;
  }

  function clickEvent(point) {
    return {
      name: point.data?.name ?? point.fullData?.name ?? "",
      x: point.x ?? null,
      y: point.y ?? null,
      index: point.pointNumber ?? point.pointIndex ?? 0,
    };
  }

  function redraw() {
    stale = true;
    updateLabel();
    reserveSpace();
    scheduleDraw();
  }

  function onKeyDown(event) {
    if (event.target !== stage || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Escape" && cursor.on) {
      cursor.stop();
    } else if (event.key === "Enter" || event.key === " ") {
      if (cursor.on) cursor.openCell();
      else cursor.start();
    } else if (event.key.startsWith("Arrow") && !cursor.on) {
      cursor.start();
    } else if (!cursor.on || !cursor.move(event.key)) {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }
  const onFocus = () => stage.matches(":focus-visible") && cursor.start();
  const onBlur = () => cursor.on && cursor.stop();

  // Also when a hidden tab is shown: the figure may have changed since, even if its width has not.
  const sizeObserver = new ResizeObserver(() => root.clientWidth && scheduleDraw());
  const themeObserver = new MutationObserver(() => {
    if (isDark() === dark) return;
    dark = !dark;
    redraw();
  });
  const listeners = {
    "change:figure": redraw,
    "change:overlay": scheduleDraw,
    "change:placeholder": scheduleDraw,
    "change:label": updateLabel,
  };

  library.waiting.add(scheduleDraw);
  for (const [name, listener] of Object.entries(listeners)) model.on(name, listener);
  stage.addEventListener("keydown", onKeyDown);
  stage.addEventListener("focus", onFocus);
  stage.addEventListener("blur", onBlur);
  sizeObserver.observe(root);
  themeObserver.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  requestLibrary(library);
  redraw();

  return () => {
    removed = true;
    clearTimeout(timeout);
    sizeObserver.disconnect();
    themeObserver.disconnect();
    library.waiting.delete(scheduleDraw);
    for (const [name, listener] of Object.entries(listeners)) model.off(name, listener);
    if (!busy && gd._fullLayout) library.plotly?.purge(gd);
    root.remove();
  };
}

export default { render };
