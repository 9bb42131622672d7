// Figures as data: their colours in either theme, marks on top of them, and their texts as words.

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
