// One picture: plotly.js draws the figure that Python set, and marks on top of it.
// It follows plotly_loader.js, painting.js and cursor.js in one module.

const PATIENCE = 30_000; // ms until the words appear that the library has not come
const CALM = 60; // ms without a change, after which the next one is not part of a burst

const element = (name, kind) => Object.assign(document.createElement(name), { className: `semviz-${kind}` });

function render({ model, el }) {
  const place = shelf(model.get("edition"));
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

  let stale = true; // the figure (or the theme) is not what is drawn
  let drawn = null; // what Plotly was given: the figure in the page's colours, marked
  let marks = new Map(); // the marks in it
  let dark = isDark();
  let width = 0; // of what is drawn
  let [asked, last, busy, later, gone, slow] = [false, 0, false, false, false, 0];
  const send = (point) => model.send({ event: "click", ...point });
  const cursor = new Cursor(stage, mark, voice, { gd, plotly: () => place.plotly, open: send });

  function say(words, alarm = false) {
    note.textContent = words;
    note.hidden = !words;
    note.classList.toggle("semviz-alarm", alarm);
  }

  function room() {
    const figure = model.get("figure");
    const full = Boolean(figure?.data);
    root.style.minHeight = full ? `${figure.layout?.height ?? 450}px` : "";
    stage.hidden = !full;
    return full;
  }

  function label() {
    const walks = (model.get("figure")?.data ?? []).some((trace) => trace.type === "heatmap");
    const keys = " Arrow keys move over the cells, Enter opens a cell, Escape leaves.";
    stage.setAttribute("role", walks ? "application" : "img");
    stage.setAttribute("aria-label", model.get("label") + (walks ? `.${keys}` : ""));
    if (walks) {
      stage.tabIndex = 0;
      stage.setAttribute("aria-roledescription", "heatmap");
      stage.dataset.lmSuppressShortcuts = "true"; // else Enter and arrows are JupyterLab's
    } else {
      const names = ["tabindex", "aria-roledescription", "data-lm-suppress-shortcuts"];
      for (const name of names) stage.removeAttribute(name);
    }
  }

  // However many changes come, the next frame draws the newest only.
  function ask() {
    if (busy) later = true;
    else if (!asked && !gone) {
      asked = true;
      // A single change is drawn at once, to be on the next frame already; of a burst every frame draws the newest.
      if (performance.now() - last > CALM) setTimeout(turn);
      else requestAnimationFrame(turn);
    }
  }

  // Marks on the data make Plotly draw a whole picture anew. They wait until the frame with the cheap ones is seen.
  function turn() {
    const dear = !stale && (model.get("overlay")?.data ?? []).length > 0;
    if (dear) requestAnimationFrame(() => setTimeout(work));
    else work();
  }

  async function work() {
    asked = false;
    if (gone) return;
    last = performance.now();
    if (!room()) {
      if (gd._fullLayout) place.plotly?.purge(gd);
      cursor.stop();
      [stale, marks, width] = [true, new Map(), 0];
      say(model.get("placeholder"));
      return;
    }
    if (!place.plotly) {
      if (place.error) say(`This picture cannot be drawn: plotly.js did not start (${place.error.message}).`, true);
      else if (!slow) {
        say("Preparing the picture …");
        slow = setTimeout(() => {
          if (!place.plotly) say("This picture cannot be drawn: plotly.js has not arrived. Run the cell again.", true);
        }, PATIENCE);
      }
      return;
    }
    const space = root.clientWidth;
    if (!space) {
      // Hidden: the observer asks when it is shown. Observed anew, for JupyterLab hides a notebook for less than a frame
      // when its theme changes, and the observer, which compares frames, would see no change.
      size.unobserve(root);
      size.observe(root);
      return;
    }
    busy = true;
    try {
      if (await draw(place.plotly, space)) {
        say("");
        cursor.show();
        root.dataset.semvizDrawn = String(Number(root.dataset.semvizDrawn) + 1);
      }
    } catch (error) {
      console.error(error);
      stale = true;
      say(`This picture cannot be drawn: ${error.message ?? error}.`, true);
    }
    busy = false;
    if (gone) place.plotly.purge(gd);
    else if (later) ask();
    later = false;
  }

  // Returns whether something was drawn. What changes while Plotly draws asks for another frame at the end.
  async function draw(plotly, space) {
    const figure = model.get("figure");
    const swaps = dark ? model.get("swaps") : null;
    const wanted = flat(model.get("overlay"));
    const changed = stale ? wanted : changes(figure, marks, wanted);
    const wide = figure.layout?.width === undefined && width !== space;
    if (!stale && !changed.size && !wide) return false;
    if (stale) drawn = paint({ data: figure.data, layout: { width: space, ...figure.layout } }, swaps);
    else if (wide) drawn = graft(drawn, ["layout", "width"], space);
    for (const [key, value] of changed) {
      const way = address(key);
      if (look(drawn, way.slice(0, way[0] === "data" ? 2 : 1))) {
        drawn = graft(drawn, way, paint(value, swaps, way.at(-1).includes("color")));
      }
    }
    [stale, width, marks] = [false, space, wanted];
    const fresh = !gd._fullLayout;
    // The settings only once: given again, Plotly would compare them each time.
    await plotly.react(gd, drawn.data, drawn.layout, fresh ? { ...model.get("config"), responsive: false } : undefined);
    if (fresh) gd.on("plotly_click", ({ points: [point] }) => point && send(facts(point)));
    return true;
  }

  function facts(point) {
    return {
      name: point.data?.name ?? point.fullData?.name ?? "",
      x: point.x ?? null,
      y: point.y ?? null,
      index: point.pointNumber ?? point.pointIndex ?? 0,
    };
  }

  function redraw() {
    stale = true;
    label();
    room();
    ask();
  }

  function pressed(event) {
    if (event.target !== stage || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Escape" && cursor.on) {
      cursor.stop();
    } else if (event.key === "Enter" || event.key === " ") {
      if (cursor.on) cursor.press();
      else cursor.start();
    } else if (event.key.startsWith("Arrow") && !cursor.on) {
      cursor.start();
    } else if (!cursor.on || !cursor.move(event.key)) {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }
  const entered = () => stage.matches(":focus-visible") && cursor.start();
  const left = () => cursor.on && cursor.stop();

  // Also when a hidden tab is shown: much may have changed since, its width perhaps not.
  const size = new ResizeObserver(() => root.clientWidth && ask());
  const theme = new MutationObserver(() => {
    if (isDark() === dark) return;
    dark = !dark;
    redraw();
  });
  const listens = { "change:figure": redraw, "change:overlay": ask, "change:placeholder": ask, "change:label": label };

  place.waiting.add(ask);
  for (const [name, hear] of Object.entries(listens)) model.on(name, hear);
  stage.addEventListener("keydown", pressed);
  stage.addEventListener("focus", entered);
  stage.addEventListener("blur", left);
  size.observe(root);
  theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  want(place);
  redraw();

  return () => {
    gone = true;
    clearTimeout(slow);
    size.disconnect();
    theme.disconnect();
    place.waiting.delete(ask);
    for (const [name, hear] of Object.entries(listens)) model.off(name, hear);
    if (!busy && gd._fullLayout) place.plotly?.purge(gd);
    root.remove();
  };
}

export default { render };
