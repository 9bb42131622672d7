// What a reader of a drawn picture cannot read: texts that are cut off or cover each other, and labels on lines.
// Evaluates to a function of the picture's element that returns a sentence for each fault.
(gd) => {
  const frame = gd.querySelector("svg.main-svg").getBoundingClientRect();
  const panels = [...gd.querySelectorAll("rect.nsewdrag, .bglayer .bg")].map((node) => node.getBoundingClientRect());
  const faults = new Set();
  const texts = [];
  for (const node of gd.querySelectorAll("svg.main-svg text")) {
    const content = node.textContent.replaceAll("\u200b", "").trim();
    if (!content || node.closest(".hoverlayer") || !isVisible(node)) continue;
    const turned = Number(/rotate\((-?[\d.]+)/.exec(node.getAttribute("transform"))?.[1] ?? 0);
    const lines = turned ? [] : [...node.querySelectorAll("tspan.line")];
    for (const part of lines.length ? lines : [node]) {
      const box = part.getBoundingClientRect();
      if (box.width) texts.push({ box, node, content: part.textContent, isSlanted: turned % 90 !== 0 });
    }
  }

  for (const { box, content } of texts) {
    const isInside =
      box.left >= frame.left - 1 && box.right <= frame.right + 1 && box.top >= frame.top - 1 && box.bottom <= frame.bottom + 1;
    if (!isInside) faults.add(`"${content}" is cut off`);
  }

  texts.forEach((one, i) => {
    for (const other of texts.slice(0, i)) {
      // Words in cells and numbers in markers are where their data are.
      if (one.node === other.node || (isOnData(one) && isOnData(other))) continue;
      if (one.isSlanted || other.isSlanted) {
        // Side by side on one axis, such texts are nearer to each other than their ends.
        const apart = Math.abs(one.box.right - other.box.right) * Math.SQRT1_2;
        if (one.node.closest(".xtick") && other.node.closest(".xtick") && apart < 9)
          faults.add(`"${other.content}" and "${one.content}" cover each other`);
        continue;
      }
      const across = Math.min(one.box.right, other.box.right) - Math.max(one.box.left, other.box.left);
      const down = Math.min(one.box.bottom, other.box.bottom) - Math.max(one.box.top, other.box.top);
      // Boxes are higher than letters: upright neighbours may touch by that much.
      const [least, most] = isUpright(one) && isUpright(other) ? [4.5, 4] : [1.5, 4];
      if (across > least && down > most) faults.add(`"${other.content}" and "${one.content}" cover each other`);
    }
  });

  const labels = texts.filter(({ node }) => node.closest(".annotation") && !hasGround(node.closest(".annotation")));
  for (const line of gd.querySelectorAll(".scatterlayer path.js-line, .barlayer path.errorbar")) {
    const place = line.getScreenCTM();
    for (let at = 0; at <= line.getTotalLength(); at += 2) {
      const { x, y } = line.getPointAtLength(at).matrixTransform(place);
      if (!panels.some((panel) => contains(panel, x, y, 0))) continue; // the part beyond a panel is not drawn
      for (const { box, content } of labels) if (contains(box, x, y, 3)) faults.add(`"${content}" is on a line`);
    }
  }
  return [...faults];

  function isVisible(node) {
    for (let part = node; part && part !== gd; part = part.parentElement) {
      const { opacity, display, visibility } = getComputedStyle(part);
      if (Number(opacity) === 0 || display === "none" || visibility === "hidden") return false;
    }
    return true;
  }
  function isOnData({ node }) {
    return Boolean(node.closest(".heatmaplayer, .scatterlayer"));
  }
  function isUpright({ node }) {
    return /rotate\(-?90/.test(node.getAttribute("transform") ?? "");
  }
  function hasGround(annotation) {
    return Number(getComputedStyle(annotation.querySelector("rect.bg")).fillOpacity) > 0.5;
  }
  function contains(box, x, y, inset) {
    return x > box.left && x < box.right && y > box.top + inset && y < box.bottom - inset;
  }
}
