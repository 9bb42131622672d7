// A table of rows to choose from: sorted in the browser, navigated with the arrow keys.

function element(name, kind) {
  const node = document.createElement(name);
  if (kind) node.className = `semviz-${kind}`;
  return node;
}

// Numbers before texts, and missing values last, whichever way the table is sorted.
function compare(a, b, direction) {
  const hasValue = (value) => value !== null && value !== undefined && value !== "";
  if (hasValue(a) !== hasValue(b)) return hasValue(a) ? -1 : 1;
  if (!hasValue(a)) return 0;
  if (typeof a === "number" && typeof b === "number") return direction * (a - b);
  if (typeof a !== typeof b) return direction * (typeof a === "number" ? -1 : 1);
  return direction * String(a).localeCompare(String(b), undefined, { numeric: true });
}

function render({ model, el }) {
  const root = element("div", "table");
  const table = element("table");
  const caption = element("caption");
  const head = element("thead");
  const body = element("tbody");
  const empty = element("p", "note");
  table.setAttribute("role", "grid"); // a row of a plain table cannot be selected
  table.dataset.lmSuppressShortcuts = "true"; // otherwise JupyterLab handles Enter and arrows
  table.append(caption, head, body);
  root.append(table, empty);
  el.append(root);

  let sort = null; // { key, direction: 1 or -1 }
  let tabRow = ""; // id of the row that Tab leads to

  const sorted = () => {
    const rows = [...model.get("rows")];
    if (!sort) return rows;
    const value = (row) => (Object.hasOwn(row._sort ?? {}, sort.key) ? row._sort[sort.key] : row[sort.key]);
    return rows.sort((a, b) => compare(value(a), value(b), sort.direction));
  };

  function drawHeader() {
    const columns = model.get("columns");
    if (sort && !columns.some(({ key }) => key === sort.key)) sort = null;
    const line = element("tr");
    for (const { key, title, numeric, help } of columns) {
      const cell = element("th", numeric ? "numeric" : "");
      const button = element("button");
      const direction = sort?.key === key ? sort.direction : 0;
      const arrow = element("span", "arrow");
      cell.scope = "col";
      if (direction) cell.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      button.type = "button";
      button.dataset.key = key;
      if (help) button.title = help;
      const order = { "-1": "sorted, largest first", 1: "sorted, smallest first" }[direction];
      const state = order ? `${order}; press to reverse` : "press to sort";
      button.setAttribute("aria-label", `${title}, ${state}${help ? `. ${help}` : ""}`);
      arrow.setAttribute("aria-hidden", "true");
      arrow.textContent = { "-1": "▼", 0: "", 1: "▲" }[direction];
      // On the side where it does not push the title away from its column's edge.
      button.append(...(numeric ? [arrow, title] : [title, arrow]));
      button.addEventListener("click", () => {
        sort = { key, direction: direction ? -direction : 1 };
        draw();
      });
      cell.append(button);
      line.append(cell);
    }
    head.replaceChildren(line);
  }

  function drawRows() {
    const [columns, chosen] = [model.get("columns"), model.get("chosen")];
    const shown = sorted();
    const has = (id) => shown.some(({ _id }) => _id === id);
    if (!has(tabRow)) tabRow = has(chosen) ? chosen : (shown[0]?._id ?? "");
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
    markChosen();
  }

  function markChosen() {
    for (const line of body.rows) {
      const isChosen = line.dataset.id === model.get("chosen");
      line.setAttribute("aria-selected", String(isChosen));
      line.classList.toggle("semviz-chosen", isChosen);
      line.tabIndex = line.dataset.id === tabRow ? 0 : -1;
    }
  }

  // Whatever had the focus gets it back afterwards.
  function draw() {
    const focused = root.contains(document.activeElement) ? document.activeElement : null;
    const [key, id] = [focused?.dataset.key, focused?.dataset.id];
    caption.textContent = model.get("caption");
    drawHeader();
    drawRows();
    if (key !== undefined) [...head.querySelectorAll("button")].find((button) => button.dataset.key === key)?.focus();
    if (id !== undefined) [...body.rows].find((line) => line.dataset.id === id)?.focus();
    root.dataset.semvizDrawn = String(Number(root.dataset.semvizDrawn ?? 0) + 1);
  }

  function choose(line) {
    tabRow = line.dataset.id;
    model.set("chosen", tabRow);
    model.save_changes();
    // The event is also sent on its own: choosing the chosen row again changes no value, but is intended.
    model.send({ event: "choose", id: tabRow });
    markChosen();
  }

  function onClick(event) {
    const line = event.target.closest("tr");
    // Selecting text to copy it does not choose the row.
    if (line && !String(getSelection() ?? "")) choose(line);
  }

  function onKeyDown(event) {
    const line = event.target;
    if (line.parentNode !== body || event.altKey || event.ctrlKey || event.metaKey) return;
    const last = body.rows.length - 1;
    const current = line.sectionRowIndex;
    const [up, down] = [Math.max(current - 1, 0), Math.min(current + 1, last)];
    const next = { ArrowDown: down, ArrowUp: up, Home: 0, End: last }[event.key];
    if (event.key === "Enter" || event.key === " ") choose(line);
    else if (next !== undefined) {
      tabRow = body.rows[next].dataset.id;
      markChosen();
      body.rows[next].focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  const names = ["change:columns", "change:rows", "change:caption", "change:placeholder"];
  // Rows and columns often change together: draw once for both.
  let scheduled = false;
  const scheduleDraw = () => {
    if (scheduled) return;
    scheduled = true;
    queueMicrotask(() => {
      scheduled = false;
      draw();
    });
  };
  for (const name of names) model.on(name, scheduleDraw);
  model.on("change:chosen", markChosen);
  body.addEventListener("click", onClick);
  body.addEventListener("keydown", onKeyDown);
  draw();

  return () => {
    for (const name of names) model.off(name, scheduleDraw);
    model.off("change:chosen", markChosen);
    root.remove();
  };
}

export default { render };
