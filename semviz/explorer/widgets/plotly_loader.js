// plotly.js comes to a page once, with the `Page` of an Explorer; all pictures wait for it here.

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
