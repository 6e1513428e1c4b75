// Small plots of a quarter of an hour. A plot is a control as well: the pointer or the arrow keys read single values.

const SVG = "http://www.w3.org/2000/svg";
const PLOT_HEIGHT = 116;
const GUTTER = 52; // for the marks, left of the courses

function svgNode(name, className) {
  const node = document.createElementNS(SVG, name);
  if (className) node.setAttribute("class", className);
  return node;
}

// From zero to the next larger of 1, 2, 5 times a power of ten; marks at zero, half and all of it.
function linear(values) {
  const most = Math.max(1, ...values);
  const power = 10 ** Math.floor(Math.log10(most));
  const top = [1, 2, 5, 10].map((step) => step * power).find((step) => step >= most * 0.999);
  return { place: (value) => value / top, marks: [top / 2, top] };
}

// By powers of ten: one call of a minute does not press all others flat.
function logarithmic(values) {
  if (!values.length) return { place: () => 0, marks: [] };
  const low = Math.floor(Math.log10(Math.max(Math.min(...values), 1e-4)) + 1e-9);
  const high = Math.max(Math.ceil(Math.log10(Math.max(...values, 1e-4)) - 1e-9), low + 1);
  const marks = Array.from({ length: high - low }, (_, step) => 10 ** (low + step + 1));
  return { place: (value) => (Math.log10(Math.max(value, 1e-4)) - low) / (high - low), marks };
}

class Plot {
  // series: [{name, ink, area, quiet}], the values of each come with `draw`. word: puts a value into words.
  // quiet: no line is drawn along zero.
  constructor(host, title, series, scale, word) {
    this.series = series;
    this.scale = scale;
    this.word = word;
    this.values = series.map(() => []);
    this.moments = [];
    this.cursor = null;
    const figure = make("figure");
    this.reading = make("p", "reading");
    this.items = series.map(({ name, ink }) => {
      const item = make("span");
      item.append(make("span", `key ink-${ink}`), document.createTextNode(`${name} `), make("b"));
      this.reading.append(item);
      return item.lastChild;
    });
    this.when = make("span");
    this.reading.append(this.when);
    this.field = make("div", "field");
    this.field.tabIndex = 0;
    this.field.setAttribute("role", "slider");
    this.field.setAttribute("aria-label", title);
    this.field.setAttribute("aria-valuemin", "0");
    this.svg = svgNode("svg");
    this.svg.setAttribute("aria-hidden", "true");
    this.marks = make("div");
    this.marks.setAttribute("aria-hidden", "true");
    this.field.append(this.svg, this.marks);
    const axis = make("p", "axis");
    this.from = make("span");
    axis.append(this.from, make("span", "", "now"));
    this.summary = make("p", "summary");
    figure.append(make("figcaption", "", title), this.reading, this.field, axis, this.summary);
    host.append(figure);
    this.grid = this.svg.appendChild(svgNode("path", "grid"));
    this.paths = series.map(({ ink, area }) => ({
      area: area ? this.svg.appendChild(svgNode("path", `area ink-${ink}`)) : null,
      line: this.svg.appendChild(svgNode("path", `line ink-${ink}`)),
      dots: this.svg.appendChild(svgNode("path", `line dots ink-${ink}`)),
    }));
    this.cursorLine = this.svg.appendChild(svgNode("line", "cursor"));
    this.field.addEventListener("pointermove", (event) => {
      const box = this.field.getBoundingClientRect();
      this.read(Math.round(((event.clientX - box.left - GUTTER) / (box.width - GUTTER)) * (this.moments.length - 1)));
    });
    this.field.addEventListener("pointerleave", () => this.read(null));
    this.field.addEventListener("blur", () => this.read(null));
    this.field.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.render()).observe(this.field);
  }

  key(event) {
    const last = this.moments.length - 1;
    const at = this.cursor ?? last;
    const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, PageDown: at - 12, PageUp: at + 12, Home: 0, End: last, Escape: null };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.read(moves[event.key]);
  }

  read(index) {
    this.cursor = index === null ? null : Math.min(Math.max(index, 0), this.moments.length - 1);
    this.render();
  }

  // values: a list for each series, null where nothing was measured; moments: the Unix time of each.
  draw(values, moments, summary) {
    this.values = values;
    this.moments = moments;
    setText(this.summary, summary);
    setText(this.from, "15 min ago");
    this.render();
  }

  render() {
    const size = this.moments.length;
    const width = this.field.clientWidth;
    if (!size || !width) return;
    const scale = this.scale(this.values.flat().filter((value) => value !== null));
    const x = (index) => GUTTER + (index / (size - 1)) * (width - GUTTER - 2);
    const level = (share) => PLOT_HEIGHT - 1 - share * (PLOT_HEIGHT - 10);
    const y = (value) => level(scale.place(value));
    this.svg.setAttribute("viewBox", `0 0 ${width} ${PLOT_HEIGHT}`);
    this.grid.setAttribute("d", [level(0), ...scale.marks.map(y)].map((height) => `M${GUTTER} ${height.toFixed(1)}H${width}`).join(""));
    keep(this.marks, scale.marks, (_, index) => index, () => make("span", "mark-at"), (node, mark) => {
      setText(node, this.scale === linear ? this.word(mark) : mark < 1 ? `${+(mark * 1000).toPrecision(1)} ms` : `${+mark.toPrecision(1)} s`);
      node.style.top = `${y(mark).toFixed(1)}px`;
    });
    this.values.forEach((column, index) => {
      const runs = unbroken(this.series[index].quiet ? withoutZeros(column) : column);
      const { area, dots, line } = this.paths[index];
      const course = (run) => run.map((at) => `${x(at).toFixed(1)} ${y(column[at]).toFixed(1)}`).join("L");
      line.setAttribute("d", runs.filter((run) => run.length > 1).map((run) => `M${course(run)}`).join(""));
      dots.setAttribute("d", runs.filter((run) => run.length === 1).map((run) => `M${course(run)}h0.01`).join(""));
      if (area) area.setAttribute("d", runs.map((run) => `M${x(run[0]).toFixed(1)} ${level(0)}L${course(run)}L${x(run.at(-1)).toFixed(1)} ${level(0)}Z`).join(""));
    });
    const at = this.cursor ?? size - 1;
    this.cursorLine.style.visibility = this.cursor === null ? "hidden" : "visible";
    place(this.cursorLine, x(at), 0, x(at), PLOT_HEIGHT);
    const shown = this.values.map((column) => (this.cursor === null ? latest(column) : column[at]));
    shown.forEach((value, index) => setText(this.items[index], value === null ? "none" : this.word(value)));
    setText(this.when, this.cursor === null ? "" : `at ${clock(this.moments[at])}`);
    const words = this.series.map(({ name }, index) => `${name} ${shown[index] === null ? "none" : this.word(shown[index])}`);
    this.field.setAttribute("aria-valuemax", String(size - 1));
    this.field.setAttribute("aria-valuenow", String(at));
    this.field.setAttribute("aria-valuetext", `${this.cursor === null ? "now" : clock(this.moments[at])}: ${words.join(", ")}`);
  }
}

function place(line, x1, y1, x2, y2) {
  Object.entries({ x1, y1, x2, y2 }).forEach(([name, value]) => line.setAttribute(name, value.toFixed(1)));
}

// The indices of values, in runs that no null interrupts.
function unbroken(column) {
  const runs = [];
  column.forEach((value, index) => {
    if (value === null) return;
    if (index > 0 && column[index - 1] !== null) runs.at(-1).push(index);
    else runs.push([index]);
  });
  return runs;
}

// Zeros stay where a value is next to them: there the line goes up and comes down again.
function withoutZeros(column) {
  return column.map((value, index) => (value || column[index - 1] || column[index + 1] ? value : null));
}

function latest(column) {
  return column.findLast((value) => value !== null) ?? null;
}
