// plotly.js is sent to a page once, with the `Page` of an Explorer; all pictures wait for it here.

// What all widgets of the page share about one version of plotly.js.
function sharedLibrary(edition) {
  // Kernels with different versions may share one page (JupyterLab), so every version has its own entry.
  // Other versions of semviz use the same entry: its keys must not change.
  const key = Symbol.for(`semviz.plotly ${edition}`);
  globalThis[key] ??= { plotly: null, error: null, script: null, wanted: false, loading: false, waiting: new Set() };
  return globalThis[key];
}

function finishLoading(library, plotly, error) {
  library.loading = false;
  library.plotly = plotly;
  library.error = error;
  if (plotly) library.script = null;
  for (const notify of [...library.waiting]) notify();
}

// Unpacking does not block the page. Running blocks it for about a second, so it waits until a view wants to draw and
// the page is idle: widgets that are still starting then do not miss anywidget's deadline of two seconds.
function unpack(library, bytes) {
  if (library.plotly || library.script) return;
  if (typeof DecompressionStream === "undefined") {
    finishLoading(library, null, new Error("this browser cannot unpack it; use a version from 2023 or later"));
    return;
  }
  const packed = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  library.script = new Response(packed).blob();
  library.script.then(
    () => library.wanted && runScript(library),
    () => {
      library.script = null;
      finishLoading(library, null, new Error("it could not be unpacked"));
    },
  );
}

function requestLibrary(library) {
  library.wanted = true;
  if (library.script && !library.plotly) library.script.then(() => runScript(library), () => {});
}

async function runScript(library) {
  if (library.loading || library.plotly) return;
  library.loading = true;
  await new Promise((resolve) => {
    if (globalThis.requestIdleCallback) requestIdleCallback(resolve, { timeout: 500 });
    else setTimeout(resolve, 100);
  });
  const globalName = `semviz_plotly_${Math.random().toString(36).slice(2)}`;
  let url = "";
  try {
    // In its own module scope, so that the page may have AMD (`define`) or another Plotly.
    const code = new Blob(
      [`globalThis.${globalName} = function (module, exports, define) {\n`, await library.script, "\n};"],
      { type: "text/javascript" },
    );
    url = URL.createObjectURL(code);
    await new Promise((loaded, failed) => {
      const script = document.createElement("script");
      script.src = url;
      script.onload = () => (script.remove(), loaded());
      script.onerror = () => (script.remove(), failed(new Error("the page does not allow blob: scripts")));
      document.head.append(script);
    });
    const pagePlotly = Object.getOwnPropertyDescriptor(globalThis, "Plotly");
    const module = { exports: {} };
    globalThis[globalName].call(globalThis, module, module.exports, undefined);
    if (pagePlotly) Object.defineProperty(globalThis, "Plotly", pagePlotly);
    else delete globalThis.Plotly;
    if (typeof module.exports.react !== "function") throw new Error("the loaded script is not plotly.js");
    finishLoading(library, module.exports, null);
  } catch (error) {
    finishLoading(library, null, error);
  } finally {
    delete globalThis[globalName];
    if (url) URL.revokeObjectURL(url);
  }
}
