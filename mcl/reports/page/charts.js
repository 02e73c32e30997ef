"use strict";
// The charts of a report, drawn by Plotly from the values that lie in the page.
(() => {
  const values = JSON.parse(document.getElementById("values").textContent);
  const root = document.documentElement;
  const touch = matchMedia("(pointer: coarse)").matches; // dragging scrolls the page there
  const COLOURS = 7; // of rows, in page.css
  const DASHES = ["solid", "dash", "dot"];
  const FEW = 40; // runs that can all be drawn and still be told apart
  const NUMBERED = 20; // classes whose counts fit into the squares
  const redraws = [];

  // Text that Plotly shows as it is: it takes some tags for its own.
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const colour = (name) => getComputedStyle(root).getPropertyValue("--" + name).trim();
  const ofRow = (row) => colour("row-" + (row.style % COLOURS));
  const short = (number) => Number(number.toPrecision(4)).toLocaleString("en");

  function count(value) {
    const units = ["", " k", " M", " G", " T", " P", " E", " Z"];
    let power = 0;
    for (; value >= 999.5 && power < units.length - 1; power++) value /= 1000;
    return Number(value.toPrecision(3)) + units[power];
  }

  function control(chart, name, element) {
    const label = document.createElement("label");
    label.append(name, " ", element);
    chart.querySelector(".controls").append(label);
    return element;
  }

  function select(chart, name, changed) {
    const element = control(chart, name, document.createElement("select"));
    element.addEventListener("change", changed);
    element.offer = (options) => { // [value, text]; what was chosen stays so where it is still there
      const before = element.value;
      element.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
      if (options.some(([value]) => String(value) === before)) element.value = before;
      element.parentElement.hidden = options.length < 2;
    };
    return element;
  }

  function checkbox(chart, name, checked, changed) {
    const element = control(chart, name, document.createElement("input"));
    Object.assign(element, { type: "checkbox", checked });
    element.addEventListener("change", changed);
    return element;
  }

  function show(chart, traces, layout) {
    const axis = { gridcolor: colour("line"), linecolor: colour("line"), zeroline: false, automargin: true };
    const base = {
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: colour("ink") },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 56, r: 20, t: 12, b: 48 }, // to the right there is room for half a number below the last tick
      hoverlabel: { bgcolor: colour("raised"), bordercolor: colour("line"), font: { color: colour("ink") }, namelength: -1 },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("muted"), activecolor: colour("ink") },
      dragmode: touch ? false : "zoom",
      ...layout,
      xaxis: { ...axis, ...layout.xaxis },
      yaxis: { ...axis, ...layout.yaxis },
    };
    const options = {
      responsive: true,
      displayModeBar: touch ? false : "hover",
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
      displaylogo: false, // it leads to a server, as the next two do
      showSendToCloud: false,
      plotlyServerURL: "",
    };
    Plotly.react(chart.querySelector(".plot"), traces, base, options);
  }

  // Calls build(chart) for a chart of the page, and what that returns whenever it must be drawn anew.
  function chart(name, build) {
    const element = document.getElementById("chart-" + name);
    if (!element) return;
    const draw = build(element);
    redraws.push(draw);
    draw();
  }

  function curves(name, unit, logarithms) {
    chart(name, (element) => {
      const redraw = () => draw();
      const group = select(element, "Rows", redraw);
      const series = select(element, "Show", redraw);
      const all = values[name];
      const runs = new Set(all.flatMap((of) => of.lines.filter((line) => line.run).map((line) => line.row + line.run)));
      const single = checkbox(element, "single runs", runs.size <= FEW, redraw);
      const logarithmic = logarithms ? checkbox(element, "logarithmic", false, redraw) : { checked: false };
      single.parentElement.hidden = !runs.size;
      const inGroup = (line) => values.rows[line.row].group === Number(group.value);
      group.offer(values.groups.map((text, i) => [i, text]));
      const finished = all.flatMap((of) => of.lines).find((line) => !line.run);
      if (finished) group.value = values.rows[finished.row].group;
      function draw() {
        series.offer(all.flatMap((of, i) => (of.lines.some(inGroup) ? [[i, of.name]] : [])));
        const chosen = all[Number(series.value)];
        const lines = chosen && series.value !== "" ? chosen.lines.filter(inGroup) : [];
        const means = new Set(lines.filter((line) => !line.run).map((line) => line.row));
        const traces = lines
          .filter((line) => !line.run || single.checked || !means.has(line.row))
          .map((line) => {
            const row = values.rows[line.row];
            const first = !line.run || (!means.has(line.row) && lines.find((other) => other.row === line.row) === line);
            const of = line.run || (line.runs > 1 ? "mean of " + line.runs + " runs" : "one run");
            return {
              x: values.epochs[line.x],
              y: line.y,
              name: plain(row.key),
              meta: plain(of),
              legendgroup: String(line.row),
              showlegend: first,
              mode: line.y.length > 1 ? "lines" : "markers",
              line: { color: ofRow(row), width: line.run ? 1 : 2.5, dash: DASHES[Math.floor(row.style / COLOURS) % 3] },
              marker: { color: ofRow(row), size: line.run ? 5 : 8 },
              opacity: line.run ? 0.5 : 1,
              hovertemplate: "<b>%{fullData.name}</b><br>%{meta}<br>epoch %{x:.4~g}: %{y:" + (unit ? ".2f" : ".5~g") + "}" + unit + "<extra></extra>",
            };
          });
        traces.sort((a, b) => a.opacity - b.opacity); // means above runs
        show(element, traces, {
          showlegend: true,
          hovermode: "closest",
          xaxis: { title: { text: "epoch" }, rangemode: "tozero" },
          yaxis: { title: { text: unit ? "top-1, %" : chosen ? plain(chosen.name) : "" }, type: logarithmic.checked ? "log" : "linear" },
        });
      }
      return draw;
    });
  }

  chart("cost", (element) => {
    const panel = select(element, "Rows", () => draw());
    panel.offer(values.cost.map((of, i) => [i, of.name]));
    function draw() {
      const { points, window } = values.cost[Number(panel.value)];
      const costs = points.map((point) => point.cost);
      const least = Math.min(...costs), most = Math.max(...costs);
      const logarithmic = most > 6 * least;
      const range = logarithmic ? [Math.log10(least / 1.6), Math.log10(most * 1.6)] : [0, most * 1.12];
      const pixel = (range[1] - range[0]) / Math.max(200, element.clientWidth - 80);
      const apart = (point) => 1.4 * point.aside; // marks are larger here than in a plot
      const aside = (cost, pixels) => (logarithmic ? cost * 10 ** (pixels * pixel) : cost + pixels * pixel);
      const traces = points.flatMap((point) => {
        const row = values.rows[point.row];
        const common = { name: plain(row.key), legendgroup: String(point.row), mode: "markers" };
        const seeds = Object.keys(point.runs);
        const between = point.half === null ? "" : "<br>95 % interval " + short(point.mean - point.half) + " to " + short(point.mean + point.half);
        return [
          {
            ...common,
            x: [aside(point.cost, apart(point))],
            y: [point.mean],
            error_y: { type: "data", array: [point.half], visible: point.half !== null, color: ofRow(row), thickness: 1.5 },
            marker: { color: ofRow(row), size: 10, symbol: row.style % 8 },
            hovertemplate: "<b>%{fullData.name}</b><br>mean %{y:.2f} %" + between + "<br>" + count(point.cost) + " multiply-adds<extra></extra>",
          },
          {
            ...common,
            x: seeds.map(() => aside(point.cost, apart(point) + 7)),
            y: seeds.map((seed) => point.runs[seed]),
            text: seeds.map(plain),
            showlegend: false,
            marker: { color: ofRow(row), size: 5, opacity: 0.6 },
            hovertemplate: "<b>%{fullData.name}</b><br>%{text}: %{y:.2f} %<extra></extra>",
          },
        ];
      });
      show(element, traces, {
        showlegend: true,
        hovermode: "closest",
        xaxis: { title: { text: "multiply-adds of training" }, type: logarithmic ? "log" : "linear", range, tickformat: "~s" },
        yaxis: { title: { text: "test top-1, %" }, range: window },
      });
    }
    return draw;
  });

  function heatMap(element, trace, x, y, layout) {
    const square = { ticks: "", showgrid: false, constrain: "domain", type: "category" };
    show(element, [{ type: "heatmap", xgap: 1, ygap: 1, ...trace }], {
      margin: { l: 56, r: 12, t: 36, b: 48 },
      xaxis: { ...square, title: { text: plain(x) } },
      yaxis: { ...square, title: { text: plain(y) }, autorange: "reversed", scaleanchor: "x", constraintoward: "top" },
      ...layout,
    });
  }

  chart("matching", (element) => {
    const { strips, neutral, reach } = values.matching;
    const strip = select(element, "Networks", () => begin());
    strip.offer(strips.map((of, i) => [i, of.name]));
    const slider = control(element, "Epoch", document.createElement("input"));
    const told = document.createElement("output");
    slider.after(told);
    slider.type = "range";
    slider.min = 0;
    slider.addEventListener("input", () => draw());
    function begin() {
      slider.max = strips[Number(strip.value)].moments.length - 1;
      slider.value = slider.max;
      draw();
    }
    function draw() {
      const of = strips[Number(strip.value)];
      const { epoch, weights } = of.moments[Number(slider.value)];
      told.textContent = epoch;
      slider.setAttribute("aria-valuetext", "epoch " + epoch);
      const digits = reach > 0.05 ? 2 : 3;
      heatMap(
        element,
        {
          x: of.across.map(plain),
          y: of.down.map(plain),
          z: weights,
          text: weights.map((line) => line.map((weight) => (weight === null ? "" : weight.toFixed(digits)))),
          texttemplate: "%{text}",
          zmin: neutral - reach,
          zmax: neutral + reach,
          colorscale: [[0, colour("low")], [0.5, colour("surface")], [1, colour("high")]],
          colorbar: { title: { text: "weight", side: "right" }, thickness: 12, outlinewidth: 0 },
          hovertemplate: "%{y} and %{x}: %{z:.4f}<extra></extra>",
        },
        of.networks[1],
        of.networks[0],
      );
    }
    slider.max = strips[0].moments.length - 1;
    slider.value = slider.max;
    return draw;
  });

  chart("confusion", (element) => {
    const { matrices } = values.confusion;
    const run = select(element, "Run", () => draw());
    const head = select(element, "Head", () => draw());
    run.offer([...new Set(matrices.map((of) => of.run))].map((name) => [name, name]));
    function draw() {
      const ofRun = matrices.filter((of) => of.run === run.value);
      head.offer(ofRun.map((of) => [of.head, of.head]));
      const { counts, classes } = ofRun.find((of) => of.head === head.value);
      const sums = counts.map((line) => line.reduce((sum, value) => sum + value, 0));
      const names = values.confusion.classes[classes].map(plain);
      element.classList.toggle("large", names.length > NUMBERED);
      heatMap(
        element,
        {
          x: names,
          y: names,
          z: counts.map((line, i) => line.map((value) => (sums[i] ? value / sums[i] : 0))),
          text: counts.map((line) => line.map((value) => value || "")),
          customdata: counts.map((line, i) => line.map((value) => value + " of " + sums[i])),
          texttemplate: names.length <= NUMBERED ? "%{text}" : "",
          zmin: 0,
          zmax: 1,
          xgap: names.length <= NUMBERED ? 1 : 0,
          ygap: names.length <= NUMBERED ? 1 : 0,
          colorscale: [[0, colour("raised")], [1, colour("much")]],
          colorbar: { title: { text: "share of the true class", side: "right" }, thickness: 12, outlinewidth: 0, tickformat: ".0%" },
          hovertemplate: "true %{y}, predicted %{x}<br>%{customdata} (%{z:.1%})<extra></extra>",
        },
        "predicted",
        "true",
      );
    }
    return draw;
  });

  curves("accuracy", " %", false);
  curves("terms", "", true);
  curves("pace", "", true);

  const redraw = () => redraws.forEach((draw) => draw());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("beforeprint", () => { root.classList.add("light"); redraw(); });
  addEventListener("afterprint", () => { root.classList.remove("light"); redraw(); });
})();
