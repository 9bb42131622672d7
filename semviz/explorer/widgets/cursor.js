// A cell cursor over the first heatmap of a picture, for the keyboard and for screen readers.

class Cursor {
  constructor(stage, mark, voice, { gd, plotly, open }) {
    Object.assign(this, { stage, mark, voice, gd, plotly, open, row: 0, column: 0, on: false });
  }

  // The first heatmap, as Plotly understood it: edges of the cells, values, axes.
  map() {
    const found = this.gd.calcdata?.find(([first]) => first?.trace?.type === "heatmap" && first.z?.length);
    if (!found) return null;
    const { x, y, z, trace } = found[0];
    const axis = (name) => this.gd._fullLayout[name.replace(/^([xy])/, "$1axis")];
    return { x, y, z, trace, xaxis: axis(trace.xaxis), yaxis: axis(trace.yaxis) };
  }

  start() {
    const map = this.map();
    if (!map) return;
    if (!this.on) {
      this.on = true;
      const top = map.yaxis.c2p(map.y[0]) > map.yaxis.c2p(map.y[1]) ? map.z.length - 1 : 0;
      if (!this.met) [this.row, this.column] = [top, 0];
      this.met = true;
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
    const map = this.map();
    if (!map) return false;
    const up = map.yaxis.c2p(map.y[0]) > map.yaxis.c2p(map.y[1]) ? 1 : -1;
    const right = map.xaxis.c2p(map.x[1]) > map.xaxis.c2p(map.x[0]) ? 1 : -1;
    const last = map.z[0].length - 1;
    const [ends, end] = right > 0 ? [0, last] : [last, 0];
    if (key === "ArrowUp") this.row += up;
    else if (key === "ArrowDown") this.row -= up;
    else if (key === "ArrowRight") this.column += right;
    else if (key === "ArrowLeft") this.column -= right;
    else if (key === "Home") this.column = ends;
    else if (key === "End") this.column = end;
    else return false;
    this.show();
    return true;
  }

  show() {
    const map = this.map();
    if (!map || !this.on) {
      this.mark.hidden = true;
      return;
    }
    this.row = Math.min(Math.max(this.row, 0), map.z.length - 1);
    this.column = Math.min(Math.max(this.column, 0), map.z[0].length - 1);
    const { row, column } = this;
    const across = [map.xaxis.c2p(map.x[column]), map.xaxis.c2p(map.x[column + 1])];
    const down = [map.yaxis.c2p(map.y[row]), map.yaxis.c2p(map.y[row + 1])];
    // A column of a thousand may be narrower than a pixel: the mark stays wide enough to see.
    const width = Math.max(Math.abs(across[1] - across[0]), 5);
    const height = Math.max(Math.abs(down[1] - down[0]), 5);
    Object.assign(this.mark.style, {
      left: `${map.xaxis._offset + (across[0] + across[1]) / 2 - width / 2}px`,
      top: `${map.yaxis._offset + (down[0] + down[1]) / 2 - height / 2}px`,
      width: `${width}px`,
      height: `${height}px`,
    });
    this.mark.hidden = false;
    this.voice.textContent = this.words(map);
    const middle = { xpx: (across[0] + across[1]) / 2, ypx: (down[0] + down[1]) / 2 };
    this.plotly().Fx.hover(this.gd, middle, map.trace.xaxis + map.trace.yaxis);
  }

  words({ z, trace, xaxis, yaxis }) {
    const { row, column } = this;
    const named = (axis, at) => {
      const tick = axis.tickvals ? Array.from(axis.tickvals).indexOf(at) : -1;
      return plain(tick >= 0 ? axis.ticktext?.[tick] : at);
    };
    const title = (axis) => plain(axis.title?.text).split(/[,(]/)[0].trim();
    const value = z[row][column];
    const said = Number.isFinite(value) ? String(Number(value.toPrecision(4))).replace("-", "minus ") : "no value";
    const head = trace.customdata?.[row]?.[column];
    return [
      `${title(yaxis) || "row"} ${named(yaxis, trace._y?.[row] ?? trace.y?.[row] ?? row)}`,
      `${title(xaxis) || "column"} ${named(xaxis, trace._x?.[column] ?? trace.x?.[column] ?? column)}`,
      said,
      plain(Array.isArray(head) ? head[0] : head),
    ].filter(Boolean).join("; ");
  }

  press() {
    const map = this.map();
    if (!map || !this.on) return;
    const { row, column } = this;
    this.open({
      name: map.trace.name ?? "",
      x: map.trace.x?.[column] ?? column,
      y: map.trace.y?.[row] ?? row,
      index: [row, column],
    });
  }
}
