// A table of rows to choose from: sorted in the browser, walked with the arrow keys.

function element(name, kind) {
  const made = document.createElement(name);
  if (kind) made.className = `semviz-${kind}`;
  return made;
}

// Numbers before texts, and what is not known last, whichever way the table is sorted.
function compare(a, b, way) {
  const known = (value) => value !== null && value !== undefined && value !== "";
  if (known(a) !== known(b)) return known(a) ? -1 : 1;
  if (!known(a)) return 0;
  if (typeof a === "number" && typeof b === "number") return way * (a - b);
  if (typeof a !== typeof b) return way * (typeof a === "number" ? -1 : 1);
  return way * String(a).localeCompare(String(b), undefined, { numeric: true });
}

function render({ model, el }) {
  const root = element("div", "table");
  const table = element("table");
  const caption = element("caption");
  const head = element("thead");
  const body = element("tbody");
  const empty = element("p", "note");
  table.setAttribute("role", "grid"); // a row of a plain table cannot be selected
  table.dataset.lmSuppressShortcuts = "true"; // else Enter and arrows are JupyterLab's
  table.append(caption, head, body);
  root.append(table, empty);
  el.append(root);

  let sort = null; // { key, way: 1 or -1 }
  let at = ""; // the row that Tab leads to

  const sorted = () => {
    const rows = [...model.get("rows")];
    if (!sort) return rows;
    const value = (row) => (Object.hasOwn(row._sort ?? {}, sort.key) ? row._sort[sort.key] : row[sort.key]);
    return rows.sort((a, b) => compare(value(a), value(b), sort.way));
  };

  function top() {
    const columns = model.get("columns");
    if (sort && !columns.some(({ key }) => key === sort.key)) sort = null;
    const line = element("tr");
    for (const { key, title, numeric, help } of columns) {
      const cell = element("th", numeric ? "numeric" : "");
      const button = element("button");
      const way = sort?.key === key ? sort.way : 0;
      const arrow = element("span", "arrow");
      cell.scope = "col";
      if (way) cell.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
      button.type = "button";
      button.dataset.key = key;
      if (help) button.title = help;
      const order = { "-1": "sorted, largest first", 1: "sorted, smallest first" }[way];
      const state = order ? `${order}; press to reverse` : "press to sort";
      button.setAttribute("aria-label", `${title}, ${state}${help ? `. ${help}` : ""}`);
      arrow.setAttribute("aria-hidden", "true");
      arrow.textContent = { "-1": "▼", 0: "", 1: "▲" }[way];
      // On the side where it does not push the title off its column's edge.
      button.append(...(numeric ? [arrow, title] : [title, arrow]));
      button.addEventListener("click", () => {
        sort = { key, way: way ? -way : 1 };
        draw();
      });
      cell.append(button);
      line.append(cell);
    }
    head.replaceChildren(line);
  }

  function rows() {
    const [columns, chosen] = [model.get("columns"), model.get("chosen")];
    const shown = sorted();
    const has = (id) => shown.some(({ _id }) => _id === id);
    if (!has(at)) at = has(chosen) ? chosen : (shown[0]?._id ?? "");
    body.replaceChildren(
      ...shown.map((row) => {
        const line = element("tr");
        line.setAttribute("role", "row");
        line.dataset.id = row._id;
        columns.forEach(({ key, numeric }, i) => {
          const cell = element(i ? "td" : "th", numeric ? "numeric" : "");
          if (!i) cell.scope = "row";
          cell.textContent = row[key] ?? "";
          line.append(cell);
        });
        return line;
      }),
    );
    empty.textContent = shown.length ? "" : model.get("placeholder");
    empty.hidden = Boolean(shown.length);
    table.hidden = !shown.length;
    choice();
  }

  function choice() {
    for (const line of body.rows) {
      const is = line.dataset.id === model.get("chosen");
      line.setAttribute("aria-selected", String(is));
      line.classList.toggle("semviz-chosen", is);
      line.tabIndex = line.dataset.id === at ? 0 : -1;
    }
  }

  // Whatever had the focus has it again afterwards.
  function draw() {
    const holder = root.contains(document.activeElement) ? document.activeElement : null;
    const [key, id] = [holder?.dataset.key, holder?.dataset.id];
    caption.textContent = model.get("caption");
    top();
    rows();
    if (key !== undefined) [...head.querySelectorAll("button")].find((button) => button.dataset.key === key)?.focus();
    if (id !== undefined) [...body.rows].find((line) => line.dataset.id === id)?.focus();
    root.dataset.semvizDrawn = String(Number(root.dataset.semvizDrawn ?? 0) + 1);
  }

  function choose(line) {
    at = line.dataset.id;
    model.set("chosen", at);
    model.save_changes();
    // The event travels alone too: choosing the chosen row again changes nothing, but is meant.
    model.send({ event: "choose", id: at });
    choice();
  }

  function clicked(event) {
    const line = event.target.closest("tr");
    // Who marks a text to copy it does not choose.
    if (line && !String(getSelection() ?? "")) choose(line);
  }

  function pressed(event) {
    const line = event.target;
    if (line.parentNode !== body || event.altKey || event.ctrlKey || event.metaKey) return;
    const last = body.rows.length - 1;
    const now = line.sectionRowIndex;
    const next = { ArrowDown: Math.min(now + 1, last), ArrowUp: Math.max(now - 1, 0), Home: 0, End: last }[event.key];
    if (event.key === "Enter" || event.key === " ") choose(line);
    else if (next !== undefined) {
      at = body.rows[next].dataset.id;
      choice();
      body.rows[next].focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  const names = ["change:columns", "change:rows", "change:caption", "change:placeholder"];
  // Rows and columns often come together: one drawing for both.
  let due = false;
  const soon = () => {
    if (due) return;
    due = true;
    queueMicrotask(() => {
      due = false;
      draw();
    });
  };
  for (const name of names) model.on(name, soon);
  model.on("change:chosen", choice);
  body.addEventListener("click", clicked);
  body.addEventListener("keydown", pressed);
  draw();

  return () => {
    for (const name of names) model.off(name, soon);
    model.off("change:chosen", choice);
    root.remove();
  };
}

export default { render };
