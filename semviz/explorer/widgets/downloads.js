// Buttons that request a file from Python and download it in the browser.

const element = (name, kind) => Object.assign(document.createElement(name), { className: `semviz-${kind}` });

function formatSize(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  if (bytes < 1_000_000) return `${Math.round(bytes / 1000)} kB`;
  return `${(bytes / 1_000_000).toFixed(1)} MB`;
}

function saveFile(bytes, filename, mime) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes], { type: mime }));
  link.download = filename;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function render({ model, el }) {
  const root = element("div", "handover");
  const row = element("div", "row");
  const status = element("p", "status");
  status.setAttribute("role", "status");
  status.setAttribute("aria-live", "polite");
  root.append(row, status);
  el.append(root);

  // Other views of this widget receive the replies too; each takes only those to its own requests.
  const pending = new Map();
  let count = 0;
  const view = Math.random().toString(36).slice(2);

  function showStatus(text, isError = false) {
    status.textContent = text;
    status.classList.toggle("semviz-alarm", isError);
  }

  function draw() {
    pending.clear();
    row.replaceChildren(
      ...model.get("labels").map((label, index) => {
        const button = element("button", "offer");
        button.type = "button";
        button.textContent = label;
        button.addEventListener("click", () => {
          if (button.getAttribute("aria-disabled") === "true") return;
          const ticket = `${view} ${(count += 1)}`;
          pending.set(ticket, button);
          // Not `disabled`: the button would lose the focus.
          button.setAttribute("aria-disabled", "true");
          showStatus(`Preparing “${label}” …`);
          model.send({ event: "press", index, ticket });
        });
        return button;
      }),
    );
  }

  function onMessage(message, buffers) {
    const button = pending.get(message?.ticket);
    if (!button) return;
    pending.delete(message.ticket);
    button.removeAttribute("aria-disabled");
    if (message.event !== "file") {
      showStatus(message.text ?? "The file could not be made.", true);
      return;
    }
    const bytes = buffers?.[0] ?? new ArrayBuffer(0);
    saveFile(bytes, message.filename, message.mime);
    showStatus(`Saved ${message.filename} (${formatSize(bytes.byteLength)}).`);
  }

  model.on("msg:custom", onMessage);
  model.on("change:labels", draw);
  draw();

  return () => {
    model.off("msg:custom", onMessage);
    model.off("change:labels", draw);
    root.remove();
  };
}

export default { render };
