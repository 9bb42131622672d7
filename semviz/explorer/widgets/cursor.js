// A cell cursor on the first heatmap of a picture, for the keyboard and screen readers.

class Cursor {
  constructor(stage, mark, voice, { gd, plotly, open }) {
    Object.assign(this, { stage, mark, voice, gd, plotly, open, row: 0, column: 0, on: false });
  }

  // The first heatmap, as Plotly computed it: edges of the cells, values, axes.
  heatmap() {
    const calculated = this.gd.calcdata?.find(([first]) => first?.trace?.type === "heatmap" && first.z?.length);
    if (!calculated) return null;
    const { x, y, z, trace } = calculated[0];
    const axis = (name) => this.gd._fullLayout[name.replace(/^([xy])/, "$1axis")];
    return { x, y, z, trace, xaxis: axis(trace.xaxis), yaxis: axis(trace.yaxis) };
  }

  start() {
    const heatmap = this.heatmap();
    if (!heatmap) return;
    if (!this.on) {
      this.on = true;
      const top = heatmap.yaxis.c2p(heatmap.y[0]) > heatmap.yaxis.c2p(heatmap.y[1]) ? heatmap.z.length - 1 : 0;
      if (!this.wasStarted) [this.row, this.column] = [top, 0];
      this.wasStarted = true;
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
    const heatmap = this.heatmap();
    if (!heatmap) return false;
    const up = heatmap.yaxis.c2p(heatmap.y[0]) > heatmap.yaxis.c2p(heatmap.y[1]) ? 1 : -1;
    const right = heatmap.xaxis.c2p(heatmap.x[1]) > heatmap.xaxis.c2p(heatmap.x[0]) ? 1 : -1;
    const last = heatmap.z[0].length - 1;
    const [leftmost, rightmost] = right > 0 ? [0, last] : [last, 0];
    if (key === "ArrowUp") this.row += up;
    else if (key === "ArrowDown") this.row -= up;
    else if (key === "ArrowRight") this.column += right;
    else if (key === "ArrowLeft") this.column -= right;
    else if (key === "Home") this.column = leftmost;
    else if (key === "End") this.column = rightmost;
    else return false;
    this.show();
    return true;
  }

  show() {
    const heatmap = this.heatmap();
    if (!heatmap || !this.on) {
      this.mark.hidden = true;
      return;
    }
    this.row = Math.min(Math.max(this.row, 0), heatmap.z.length - 1);
    this.column = Math.min(Math.max(this.column, 0), heatmap.z[0].length - 1);
    const { row, column } = this;
    const across = [heatmap.xaxis.c2p(heatmap.x[column]), heatmap.xaxis.c2p(heatmap.x[column + 1])];
    const down = [heatmap.yaxis.c2p(heatmap.y[row]), heatmap.yaxis.c2p(heatmap.y[row + 1])];
    // One of a thousand columns may be narrower than a pixel: the mark stays wide enough to see.
    const width = Math.max(Math.abs(across[1] - across[0]), 5);
    const height = Math.max(Math.abs(down[1] - down[0]), 5);
    Object.assign(this.mark.style, {
      left: `${heatmap.xaxis._offset + (across[0] + across[1]) / 2 - width / 2}px`,
      top: `${heatmap.yaxis._offset + (down[0] + down[1]) / 2 - height / 2}px`,
      width: `${width}px`,
      height: `${height}px`,
    });
    this.mark.hidden = false;
    this.voice.textContent = this.describe(heatmap);
    const middle = { xpx: (across[0] + across[1]) / 2, ypx: (down[0] + down[1]) / 2 };
    this.plotly().Fx.hover(this.gd, middle, heatmap.trace.xaxis + heatmap.trace.yaxis);
  }

  describe({ z, trace, xaxis, yaxis }) {
    const { row, column } = this;
    const tickLabel = (axis, position) => {
      const tick = axis.tickvals ? Array.from(axis.tickvals).indexOf(position) : -1;
      return plainText(tick >= 0 ? axis.ticktext?.[tick] : position);
    };
    const title = (axis) => plainText(axis.title?.text).split(/[,(]/)[0].trim();
    const value = z[row][column];
    const valueText = Number.isFinite(value) ? String(Number(value.toPrecision(4))).replace("-", "minus ") : "no value";
    const hover = trace.customdata?.[row]?.[column];
    return [
      `${title(yaxis) || "row"} ${tickLabel(yaxis, trace._y?.[row] ?? trace.y?.[row] ?? row)}`,
      `${title(xaxis) || "column"} ${tickLabel(xaxis, trace._x?.[column] ?? trace.x?.[column] ?? column)}`,
      valueText,
      plainText(Array.isArray(hover) ? hover[0] : hover),
    ].filter(Boolean).join("; ");
  }

  openCell() {
    const heatmap = this.heatmap();
    if (!heatmap || !this.on) return;
    const { row, column } = this;
    this.open({
      name: heatmap.trace.name ?? "",
      x: heatmap.trace.x?.[column] ?? column,
      y: heatmap.trace.y?.[row] ?? row,
      index: [row, column],
    });
  }
}
