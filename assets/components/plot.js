// Plotly in one node that stays: new data goes through Plotly.react, so zoom and selection outlive it, and a picture
// of the point under the pointer is shown in a tooltip of our own (Plotly shows no images there).

const ASK_AFTER = 60; // ms the pointer rests on a point before its picture is asked for
const ASK_AT_ONCE = 16; // pictures asked for, and answered, at a time
const REMEMBER = 400; // pictures kept in the browser
const MOST_SVG = 20000; // points; more are drawn by the graphics card
const plots = new WeakMap();

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  let plot = plots.get(parentElement);
  if (!plot) {
    plot = new Plot(parentElement);
    plots.set(parentElement, plot);
  }
  plot.receive(data, setStateValue);
  return () => {
    plot.close();
    plots.delete(parentElement);
  };
}

function plotly(source) {
  if (window.Plotly) return Promise.resolve(window.Plotly);
  window.semsightPlotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = source;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => {
      window.semsightPlotly = undefined; // the next drawing tries again
      script.remove();
      reject(new Error("The plotting library could not be loaded; reload the page."));
    };
    document.head.append(script);
  });
  return window.semsightPlotly;
}

class Plot {
  constructor(root) {
    this.find = (selector) => root.querySelector(selector);
    this.area = this.find(".semsight-plot-area");
    this.tip = this.find(".semsight-plot-tip");
    this.details = new Map(); // id -> {image, text}
    this.asked = [];
    this.selected = [];
    this.drawn = Promise.resolve();
    this.resize = new ResizeObserver(() => this.ready && window.Plotly.Plots.resize(this.area));
    this.resize.observe(this.area);
  }

  close() {
    this.closed = true;
    this.resize.disconnect();
    clearTimeout(this.timer);
    if (this.ready) window.Plotly.purge(this.area);
  }

  receive(data, setStateValue) {
    this.data = data;
    this.setStateValue = setStateValue;
    for (const [id, detail] of Object.entries(data.details)) this.details.set(Number(id), detail);
    while (this.details.size > REMEMBER) this.details.delete(this.details.keys().next().value);
    this.area.setAttribute("aria-label", data.alt);
    this.area.style.height = `${data.height}px`;
    this.drawn = this.drawn.then(() => this.draw(data)).catch((error) => this.complain(error));
    if (this.hovered !== undefined) this.fillTip(this.hovered);
  }

  complain(error) {
    const problem = this.find(".semsight-plot-problem");
    problem.hidden = false;
    problem.textContent = error.message;
  }

  async draw(data) {
    const library = await plotly(data.library);
    if (this.closed || data !== this.data) return; // newer data is on its way
    const style = getComputedStyle(this.area);
    const count = data.traces.reduce((sum, trace) => sum + trace.ids.length, 0);
    const type = count > MOST_SVG ? "scattergl" : "scatter";
    if (this.ready && type !== this.type) {
      library.purge(this.area); // a node keeps one kind of drawing: react cannot change it
      this.ready = false;
    }
    this.type = type;
    const traces = data.traces.map((trace) => this.trace(trace, type, style));
    await library.react(this.area, traces, layout(data, style), CONFIG);
    if (!this.ready) this.listen();
    this.ready = true;
    this.area.dataset.points = String(count);
    for (const [name, value] of Object.entries(data.facts)) this.area.dataset[name] = value;
  }

  trace(trace, type, style) {
    const chosen = new Set(this.selected);
    const picked = trace.ids.flatMap((id, index) => (chosen.has(id) ? [index] : []));
    const colour = style.getPropertyValue(trace.colour).trim();
    return {
      type,
      mode: "markers",
      name: trace.name,
      showlegend: trace.ids.length > 0,
      uid: trace.key, // the same through new data, so that Plotly knows it again
      x: trace.x,
      y: trace.y,
      customdata: trace.ids,
      hoverinfo: "none",
      selectedpoints: chosen.size ? picked : null,
      marker: { color: colour, symbol: trace.symbol, size: 8, opacity: 0.75, line: { width: 1, color: colour } },
      unselected: { marker: { opacity: 0.15 } },
    };
  }

  listen() {
    this.area.on("plotly_hover", (event) => this.hover(event));
    this.area.on("plotly_unhover", () => this.leave());
    this.area.on("plotly_selected", (event) => event && this.select(event.points.map((point) => point.customdata)));
    this.area.on("plotly_deselect", () => this.select([]));
    this.area.on("plotly_doubleclick", () => this.selected.length && this.select([]));
    this.area.on("plotly_click", (event) => this.select(event.points.map((point) => point.customdata)));
  }

  select(ids) {
    this.selected = [...new Set(ids)];
    if (!ids.length && this.area.layout.selections?.length) window.Plotly.relayout(this.area, { selections: [] });
    window.Plotly.restyle(this.area, {
      selectedpoints: this.data.traces.map((trace) => {
        const chosen = new Set(this.selected);
        return chosen.size ? trace.ids.flatMap((id, index) => (chosen.has(id) ? [index] : [])) : null;
      }),
    });
    this.setStateValue("selected", this.selected.slice(0, this.data.mostSelected));
  }

  // --- the picture under the pointer --------------------------------------------------------------------
  hover(event) {
    const point = event.points[0];
    this.hovered = point.customdata;
    this.fillTip(this.hovered);
    this.tip.hidden = false;
    this.place(event.event);
    if (this.details.has(this.hovered)) return;
    this.asked = [...this.asked.filter((id) => id !== this.hovered), this.hovered].slice(-ASK_AT_ONCE);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.setStateValue("asked", this.asked), ASK_AFTER);
  }

  leave() {
    this.hovered = undefined;
    this.tip.hidden = true;
  }

  fillTip(id) {
    const detail = this.details.get(id);
    const image = this.tip.querySelector("img");
    image.style.visibility = detail ? "visible" : "hidden";
    if (detail) image.src = detail.image;
    image.dataset.id = detail ? id : "";
    this.tip.querySelector("div").textContent = detail ? detail.text : "…";
  }

  place(pointer) {
    const box = this.area.getBoundingClientRect();
    const [x, y] = [pointer.clientX - box.left, pointer.clientY - box.top];
    const onLeft = x > box.width / 2;
    this.tip.style.left = onLeft ? "auto" : `${x + 14}px`;
    this.tip.style.right = onLeft ? `${box.width - x + 14}px` : "auto";
    this.tip.style.top = `${Math.max(0, Math.min(y - 20, box.height - 116))}px`;
  }
}

const CONFIG = {
  displaylogo: false,
  displayModeBar: true,
  scrollZoom: false,
  modeBarButtonsToRemove: ["autoScale2d"],
  showSendToCloud: false,
};

function layout(data, style) {
  const colour = (name) => style.getPropertyValue(name).trim();
  const empty = data.traces.every((trace) => trace.x.length === 0);
  const axis = (spec) => ({
    title: { text: spec.title, standoff: 12 },
    autorange: spec.range ? false : spec.reversed ? "reversed" : true,
    ...(spec.range ? { range: spec.range } : {}),
    gridcolor: colour("--st-border-color"),
    linecolor: colour("--st-border-color"),
    zeroline: false,
    automargin: true,
    exponentformat: "e", // 4e-5, not 40µ: the digits that cards and tables show
    ...(spec.percent ? { tickformat: ".0%" } : {}),
    ...(empty && !spec.range ? { showticklabels: false } : {}), // without data the numbers would be Plotly's own
  });
  return {
    uirevision: data.revision, // the same revision keeps zoom across new data
    selectionrevision: data.revision,
    xaxis: axis(data.xaxis),
    yaxis: axis(data.yaxis),
    height: data.height,
    margin: { l: 60, r: 16, t: 36, b: 52 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: style.fontFamily, color: colour("--st-text-color"), size: 13 },
    legend: { orientation: "h", x: 0, y: -0.2, yanchor: "top" }, // below: above, it meets the tools on a narrow screen
    modebar: {
      bgcolor: "rgba(0,0,0,0)",
      color: colour("--st-gray-color") || colour("--st-text-color"),
      activecolor: colour("--st-primary-color"),
    },
    showlegend: true,
    hovermode: "closest",
    dragmode: "zoom",
    clickmode: "event",
  };
}
