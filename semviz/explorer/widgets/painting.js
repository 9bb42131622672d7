// Figures as data: their colours in either theme, the marks on top of them, and their texts in plain form.

function isDark() {
  const isLight = document.body.dataset.jpThemeLight; // JupyterLab, Notebook 7 and Voilà
  return isLight === undefined ? document.body.classList.contains("theme-dark") : isLight === "false";
}

// As in semviz.figures.themes.dark, only where the key names a colour. Always a copy, since Plotly modifies it.
function recolour(node, swaps, colour = false) {
  if (Array.isArray(node)) return node.map((child) => recolour(child, swaps, colour));
  if (node && typeof node === "object") {
    return Object.fromEntries(
      Object.entries(node).map(([key, child]) => [key, recolour(child, swaps, key.includes("color"))]),
    );
  }
  return colour && swaps && typeof node === "string" && Object.hasOwn(swaps, node) ? swaps[node] : node;
}

const pathSteps = (path) => path.split(/[.[\]]+/).filter(Boolean);

// A copy with one value changed. The rest is shared, and Plotly redraws only what is not the same object as before.
function withValue(tree, [step, ...rest], value) {
  const copy = Array.isArray(tree) ? [...tree] : { ...tree };
  if (rest.length) copy[step] = withValue(copy[step] ?? (/^\d+$/.test(rest[0]) ? [] : {}), rest, value);
  else if (value === undefined) delete copy[step];
  else copy[step] = value;
  return copy;
}

// Marks as one flat map, "trace path" (or "layout path") → value.
function flatten(overlay) {
  const marks = new Map();
  for (const [path, value] of Object.entries(overlay?.layout ?? {})) marks.set(`layout ${path}`, value);
  for (const [trace, traceMarks] of overlay?.data ?? []) {
    for (const [path, value] of Object.entries(traceMarks)) marks.set(`${trace} ${path}`, value);
  }
  return marks;
}

function keyPath(key) {
  const space = key.indexOf(" ");
  const owner = key.slice(0, space);
  return [...(owner === "layout" ? [owner] : ["data", owner]), ...pathSteps(key.slice(space + 1))];
}

const valueAt = (tree, path) => path.reduce((node, step) => node?.[step], tree);

// What has to change on the screen: new and changed marks, and the figure's own values where a mark was removed.
function changedMarks(figure, before, after) {
  const changed = new Map();
  for (const key of before.keys()) if (!after.has(key)) changed.set(key, valueAt(figure, keyPath(key)));
  for (const [key, value] of after) {
    if (!before.has(key) || JSON.stringify(before.get(key)) !== JSON.stringify(value)) changed.set(key, value);
  }
  return changed;
}

// Plotly texts use some HTML; a screen reader gets the text without it.
function plainText(text) {
  const entities = { lt: "<", gt: ">", amp: "&", quot: '"', nbsp: " " };
  const decode = (_, code, name) => (code ? String.fromCodePoint(Number(code)) : entities[name]);
  return String(text ?? "")
    .replace(/<[^>]*>/g, " ")
    .replace(/&(?:#(\d+)|(lt|gt|amp|quot|nbsp));/g, decode)
    .replace(/\s+/g, " ")
    .trim();
}
