// Buttons that ask Python for a file and hand it to the browser's downloads.

const element = (name, kind) => Object.assign(document.createElement(name), { className: `semviz-${kind}` });

function weight(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  if (bytes < 1_000_000) return `${Math.round(bytes / 1000)} kB`;
  return `${(bytes / 1_000_000).toFixed(1)} MB`;
}

function hand(bytes, filename, mime) {
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

  // Other views of this widget hear the answers too; each takes those to its own questions.
  const asked = new Map();
  let count = 0;
  const view = Math.random().toString(36).slice(2);

  function say(words, alarm = false) {
    status.textContent = words;
    status.classList.toggle("semviz-alarm", alarm);
  }

  function draw() {
    asked.clear();
    row.replaceChildren(
      ...model.get("labels").map((label, index) => {
        const button = element("button", "offer");
        button.type = "button";
        button.textContent = label;
        button.addEventListener("click", () => {
          if (button.getAttribute("aria-disabled") === "true") return;
          const ticket = `${view} ${(count += 1)}`;
          asked.set(ticket, button);
          // Not `disabled`: that would throw the focus away.
          button.setAttribute("aria-disabled", "true");
          say(`Preparing “${label}” …`);
          model.send({ event: "press", index, ticket });
        });
        return button;
      }),
    );
  }

  function heard(message, buffers) {
    const button = asked.get(message?.ticket);
    if (!button) return;
    asked.delete(message.ticket);
    button.removeAttribute("aria-disabled");
    if (message.event !== "file") {
      say(message.text ?? "The file could not be made.", true);
      return;
    }
    const bytes = buffers?.[0] ?? new ArrayBuffer(0);
    hand(bytes, message.filename, message.mime);
    say(`Saved ${message.filename} (${weight(bytes.byteLength)}).`);
  }

  model.on("msg:custom", heard);
  model.on("change:labels", draw);
  draw();

  return () => {
    model.off("msg:custom", heard);
    model.off("change:labels", draw);
    root.remove();
  };
}

export default { render };
