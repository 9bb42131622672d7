// One picture: plotly.js draws the figure that Python set, and marks on top of it.
// plotly.js itself comes once a page, with the one picture whose `library` is not empty.

const PATIENCE = 30_000; // ms until the words appear that the library has not come

// ---- The library, once a page -------------------------------------------------------------------------------------

function shelf(edition) {
  // Kernels with different versions may share one page (JupyterLab), so every edition has a place of its own.
  const key = Symbol.for(`semviz.plotly ${edition}`);
  globalThis[key] ??= { plotly: null, error: null, script: null, wanted: false, loading: false, waiting: new Set() };
  return globalThis[key];
}

function settle(place, plotly, error) {
  place.loading = false;
  place.plotly = plotly;
  place.error = error;
  if (plotly) place.script = null;
  for (const tell of [...place.waiting]) tell();
}

// Unpacking takes no time of the page. Running blocks it for about a second, so it waits until a view wants to draw and
// the page is idle: widgets that are still starting then do not miss anywidget's deadline of two seconds.
function bring(place, bytes) {
  if (place.plotly || place.script) return;
  if (typeof DecompressionStream === "undefined") {
    settle(place, null, new Error("this browser cannot unpack it; use one of 2023 or later"));
    return;
  }
  const packed = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  place.script = new Response(packed).blob();
  place.script.then(
    () => place.wanted && run(place),
    () => {
      place.script = null;
      settle(place, null, new Error("it could not be unpacked"));
    },
  );
}

function want(place) {
  place.wanted = true;
  if (place.script && !place.plotly) place.script.then(() => run(place), () => {});
}

async function run(place) {
  if (place.loading || place.plotly) return;
  place.loading = true;
  await new Promise((go) => {
    if (globalThis.requestIdleCallback) requestIdleCallback(go, { timeout: 500 });
    else setTimeout(go, 100);
  });
  const slot = `semviz_plotly_${Math.random().toString(36).slice(2)}`;
  let url = "";
  try {
    // A module scope of its own: whether the page has AMD (`define`) does not matter, and its Plotly stays its own.
    const code = new Blob(
      [`globalThis.${slot} = function (module, exports, define) {\n`, await place.script, "\n};"],
      { type: "text/javascript" },
    );
    url = URL.createObjectURL(code);
    await new Promise((loaded, failed) => {
      const script = document.createElement("script");
      script.src = url;
      script.onload = () => (script.remove(), loaded());
      script.onerror = () => (script.remove(), failed(new Error("the page forbids scripts of its own (blob:)")));
      document.head.append(script);
    });
    const had = Object.getOwnPropertyDescriptor(globalThis, "Plotly");
    const box = { exports: {} };
    globalThis[slot].call(globalThis, box, box.exports, undefined);
    if (had) Object.defineProperty(globalThis, "Plotly", had);
    else delete globalThis.Plotly;
    if (typeof box.exports.react !== "function") throw new Error("what came is not plotly.js");
    settle(place, box.exports, null);
  } catch (error) {
    settle(place, null, error);
  } finally {
    delete globalThis[slot];
    if (url) URL.revokeObjectURL(url);
  }
}

// ---- Colours and paths --------------------------------------------------------------------------------------------

function isDark() {
  const said = document.body.dataset.jpThemeLight; // JupyterLab, Notebook 7 and Voilà
  return said === undefined ? document.body.classList.contains("theme-dark") : said === "false";
}

// As semviz.figures.themes.dark: only where a key says that a text is a colour. Always a copy, for Plotly writes in it.
function paint(node, swaps, colour = false) {
  if (Array.isArray(node)) return node.map((child) => paint(child, swaps, colour));
  if (node && typeof node === "object") {
    return Object.fromEntries(
      Object.entries(node).map(([key, child]) => [key, paint(child, swaps, key.includes("color"))]),
    );
  }
  return colour && swaps && typeof node === "string" && Object.hasOwn(swaps, node) ? swaps[node] : node;
}

const steps = (path) => path.split(/[.[\]]+/).filter(Boolean);

// A copy with one value changed. All else is shared, and Plotly redraws only what is not the same object as before.
function graft(tree, [step, ...rest], value) {
  const copy = Array.isArray(tree) ? [...tree] : { ...tree };
  if (rest.length) copy[step] = graft(copy[step] ?? (/^\d+$/.test(rest[0]) ? [] : {}), rest, value);
  else if (value === undefined) delete copy[step];
  else copy[step] = value;
  return copy;
}

// Marks as one flat table, "trace path" (or "layout path") → value.
function flat(overlay) {
  const table = new Map();
  for (const [path, value] of Object.entries(overlay?.layout ?? {})) table.set(`layout ${path}`, value);
  for (const [trace, changes] of overlay?.data ?? []) {
    for (const [path, value] of Object.entries(changes)) table.set(`${trace} ${path}`, value);
  }
  return table;
}

function address(key) {
  const cut = key.indexOf(" ");
  const owner = key.slice(0, cut);
  return [...(owner === "layout" ? [owner] : ["data", owner]), ...steps(key.slice(cut + 1))];
}

const look = (tree, way) => way.reduce((node, step) => node?.[step], tree);

// What has to change on the screen: new and changed marks, and the figure's own values where a mark is gone.
function changes(figure, before, after) {
  const changed = new Map();
  for (const key of before.keys()) if (!after.has(key)) changed.set(key, look(figure, address(key)));
  for (const [key, value] of after) {
    if (!before.has(key) || JSON.stringify(before.get(key)) !== JSON.stringify(value)) changed.set(key, value);
  }
  return changed;
}

// Plotly texts are a small HTML; a screen reader gets what they look like.
function plain(text) {
  const signs = { lt: "<", gt: ">", amp: "&", quot: '"', nbsp: " " };
  const sign = (_, code, name) => (code ? String.fromCodePoint(Number(code)) : signs[name]);
  return String(text ?? "")
    .replace(/<[^>]*>/g, " ")
    .replace(/&(?:#(\d+)|(lt|gt|amp|quot|nbsp));/g, sign)
    .replace(/\s+/g, " ")
    .trim();
}

// ---- The cell cursor ----------------------------------------------------------------------------------------------

class Cursor {
  constructor(stage, mark, voice, { gd, plotly, open }) {
    Object.assign(this, { stage, mark, voice, gd, plotly, open, row: 0, column: 0, on: false });
  }

  // The first heatmap, as Plotly understood it: edges of the cells, values, axes.
  map() {
    const found = this.gd.calcdata?.find(([first]) => first?.trace?.type === "heatmap" && first.z?.length);
    if (!found) return null;
    const { x, y, z, trace } = found[0];
    const axis = (name) => this.gd._fullLayout[name.replace(/^([xy])/, "$1axis")];
    return { x, y, z, trace, xaxis: axis(trace.xaxis), yaxis: axis(trace.yaxis) };
  }

  start() {
    const map = this.map();
    if (!map) return;
    if (!this.on) {
      this.on = true;
      const top = map.yaxis.c2p(map.y[0]) > map.yaxis.c2p(map.y[1]) ? map.z.length - 1 : 0;
      if (!this.met) [this.row, this.column] = [top, 0];
      this.met = true;
    }
    this.show();
  }

  stop() {
    this.on = false;
    this.mark.hidden = true;
    this.voice.textContent = "";
    if (this.gd._fullLayout) this.plotly().Fx.unhover(this.gd);
  }

  move(key) {
    const map = this.map();
    if (!map) return false;
    const up = map.yaxis.c2p(map.y[0]) > map.yaxis.c2p(map.y[1]) ? 1 : -1;
    const right = map.xaxis.c2p(map.x[1]) > map.xaxis.c2p(map.x[0]) ? 1 : -1;
    const last = map.z[0].length - 1;
    const [ends, end] = right > 0 ? [0, last] : [last, 0];
    if (key === "ArrowUp") this.row += up;
    else if (key === "ArrowDown") this.row -= up;
    else if (key === "ArrowRight") this.column += right;
    else if (key === "ArrowLeft") this.column -= right;
    else if (key === "Home") this.column = ends;
    else if (key === "End") this.column = end;
    else return false;
    this.show();
    return true;
  }

  show() {
    const map = this.map();
    if (!map || !this.on) {
      this.mark.hidden = true;
      return;
    }
    this.row = Math.min(Math.max(this.row, 0), map.z.length - 1);
    this.column = Math.min(Math.max(this.column, 0), map.z[0].length - 1);
    const { row, column } = this;
    const across = [map.xaxis.c2p(map.x[column]), map.xaxis.c2p(map.x[column + 1])];
    const down = [map.yaxis.c2p(map.y[row]), map.yaxis.c2p(map.y[row + 1])];
    // A column of a thousand may be narrower than a pixel: the mark stays wide enough to see.
    const width = Math.max(Math.abs(across[1] - across[0]), 5);
    const height = Math.max(Math.abs(down[1] - down[0]), 5);
    Object.assign(this.mark.style, {
      left: `${map.xaxis._offset + (across[0] + across[1]) / 2 - width / 2}px`,
      top: `${map.yaxis._offset + (down[0] + down[1]) / 2 - height / 2}px`,
      width: `${width}px`,
      height: `${height}px`,
    });
    this.mark.hidden = false;
    this.voice.textContent = this.words(map);
    const middle = { xpx: (across[0] + across[1]) / 2, ypx: (down[0] + down[1]) / 2 };
    this.plotly().Fx.hover(this.gd, middle, map.trace.xaxis + map.trace.yaxis);
  }

  words({ z, trace, xaxis, yaxis }) {
    const { row, column } = this;
    const named = (axis, at) => {
      const tick = axis.tickvals ? Array.from(axis.tickvals).indexOf(at) : -1;
      return plain(tick >= 0 ? axis.ticktext?.[tick] : at);
    };
    const title = (axis) => plain(axis.title?.text).split(/[,(]/)[0].trim();
    const value = z[row][column];
    const said = Number.isFinite(value) ? String(Number(value.toPrecision(4))).replace("-", "minus ") : "no value";
    const head = trace.customdata?.[row]?.[column];
    return [
      `${title(yaxis) || "row"} ${named(yaxis, trace._y?.[row] ?? trace.y?.[row] ?? row)}`,
      `${title(xaxis) || "column"} ${named(xaxis, trace._x?.[column] ?? trace.x?.[column] ?? column)}`,
      said,
      plain(Array.isArray(head) ? head[0] : head),
    ].filter(Boolean).join("; ");
  }

  press() {
    const map = this.map();
    if (!map || !this.on) return;
    const { row, column } = this;
    this.open({
      name: map.trace.name ?? "",
      x: map.trace.x?.[column] ?? column,
      y: map.trace.y?.[row] ?? row,
      index: [row, column],
    });
  }
}

// ---- The view -----------------------------------------------------------------------------------------------------

const element = (name, kind) => Object.assign(document.createElement(name), { className: `semviz-${kind}` });

function initialize({ model }) {
  const library = model.get("library");
  if (library?.byteLength) bring(shelf(model.get("edition")), library);
}

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
  let [frame, busy, later, gone, slow] = [0, false, false, false, 0];
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
    else if (!frame && !gone) frame = requestAnimationFrame(work);
  }

  async function work() {
    frame = 0;
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
    if (!space) return; // hidden: the observer asks again
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
  const size = new ResizeObserver(ask);
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
    cancelAnimationFrame(frame);
    clearTimeout(slow);
    size.disconnect();
    theme.disconnect();
    place.waiting.delete(ask);
    for (const [name, hear] of Object.entries(listens)) model.off(name, hear);
    if (!busy && gd._fullLayout) place.plotly?.purge(gd);
    root.remove();
  };
}

export default { initialize, render };
