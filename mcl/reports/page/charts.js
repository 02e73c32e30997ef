"use strict";
// The charts of a report, drawn by Plotly from the values that lie in the page.
(() => {
  const values = JSON.parse(document.getElementById("values").textContent);
  const root = document.documentElement;
  const touch = matchMedia("(pointer: coarse)").matches; // dragging scrolls the page there
  const DASHES = ["solid", "dash", "dot", "dashdot"]; // in the order of mcl/palette.py, like the next
  const MARKERS = ["circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "star", "x"];
  const MARKED = 6; // marks on a line, about
  const FEW = 40; // runs that can all be drawn and still be told apart
  const NUMBERED = 20; // classes whose counts fit into the squares
  const redraws = [];

  // Text that Plotly shows as it is: it takes some tags for its own.
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const color = (name) => getComputedStyle(root).getPropertyValue("--" + name).trim();
  const ofRow = (row) => color("row-" + row.style.color);
  const faint = (hex) => "rgba(" + [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)).join(",") + ",0.18)";
  const listed = (names) => (names.length > 1 ? names.slice(0, -1).join(", ") + " and " + names.at(-1) : names[0]);

  // What a chart shows, above it and for readers who do not see it; with a remark.
  function explain(chart, heading, parts, note) {
    chart.querySelector(".heading").textContent = heading;
    chart.querySelector(".note").textContent = note || "";
    chart.querySelector(".plot").setAttribute("aria-label", [heading, ...parts, note].filter(Boolean).join(". "));
  }
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
    const axis = { gridcolor: color("line"), linecolor: color("line"), zeroline: false, automargin: true };
    const base = {
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: color("ink") },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 56, r: 20, t: 12, b: 48 }, // to the right there is room for half a number below the last tick
      hoverlabel: { bgcolor: color("raised"), bordercolor: color("line"), font: { color: color("ink") }, namelength: -1 },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: color("muted"), activecolor: color("ink") },
      dragmode: touch ? false : "zoom",
      ...layout,
      xaxis: { ...axis, ...layout.xaxis },
      yaxis: { ...axis, ...layout.yaxis },
    };
    const options = {
      responsive: true,
      displayModeBar: touch ? false : "hover",
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
      toImageButtonOptions: { format: "svg", filename: chart.id.replace("chart-", "") }, // for a paper
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
      group.offer(values.groups.map((of, i) => [i, of.name]));
      const finished = all.flatMap((of) => of.lines).find((line) => !line.run);
      if (finished) group.value = values.rows[finished.row].group;
      function draw() {
        series.offer(all.flatMap((of, i) => (of.lines.some(inGroup) ? [[i, of.name]] : [])));
        const chosen = all[Number(series.value)];
        const lines = chosen && series.value !== "" ? chosen.lines.filter(inGroup) : [];
        const means = new Set(lines.filter((line) => !line.run).map((line) => line.row));
        // Lines that coincide are drawn once, with all their names: one would hide the others.
        const equal = new Map();
        for (const line of lines.filter((of) => !of.run || !means.has(of.row))) {
          const key = JSON.stringify([line.x, line.y]);
          equal.set(key, [...(equal.get(key) || []), line]);
        }
        const drawn = [...equal.values()].map((same) => same[0]);
        const covered = new Set(equal.keys());
        const runsShown = single.checked ? lines.filter((line) => line.run && means.has(line.row) && !covered.has(JSON.stringify([line.x, line.y]))) : [];
        const namesOf = (line) => [...new Set((equal.get(JSON.stringify([line.x, line.y])) || [line]).map((of) => values.rows[of.row].key))];
        const coincide = [...equal.values()].map((same) => [...new Set(same.map((of) => values.rows[of.row].key))]).filter((names) => names.length > 1);
        const bands = drawn.filter((line) => line.low).flatMap((line) => {
          const x = values.epochs[line.x];
          const row = values.rows[line.row];
          return [{ x: [...x, ...[...x].reverse()], y: [...line.high, ...[...line.low].reverse()], fill: "toself", fillcolor: faint(ofRow(row)), line: { width: 0 }, mode: "lines", hoverinfo: "skip", showlegend: false, legendgroup: String(line.row), name: "band", meta: "" }];
        });
        if (bands.length) {
          bands.push({ x: [null], y: [null], mode: "markers", marker: { symbol: "square", size: 12, color: faint("#808080") }, name: "band: worst to best run", hoverinfo: "skip", showlegend: true, legendrank: 2000, opacity: 1, meta: "" });
        }
        const traces = [...runsShown, ...drawn].map((line, i) => {
          const row = values.rows[line.row];
          const first = drawn.find((other) => other.row === line.row) === line;
          const of = line.run || (line.runs > 1 ? "mean of " + line.runs + " runs" : "one run");
          const every = Math.max(1, Math.floor(line.y.length / MARKED));
          const thick = drawn.includes(line) && (!line.run || !means.has(line.row));
          return {
            x: values.epochs[line.x],
            y: line.y,
            name: plain(listed(namesOf(line))),
            meta: plain(of),
            legendgroup: String(line.row),
            showlegend: first,
            mode: line.run && line.y.length > 1 ? "lines" : "lines+markers",
            line: { color: ofRow(row), width: line.run ? 1 : 2.5, dash: DASHES[row.style.dash] },
            marker: { color: ofRow(row), symbol: MARKERS[row.style.marker], size: line.run ? 5 : 8, maxdisplayed: thick ? Math.ceil(line.y.length / every) : 0 },
            opacity: line.run ? 0.5 : 1,
            hovertemplate: "<b>%{fullData.name}</b><br>%{meta}<br>epoch %{x:.4~g}: %{y:" + (unit ? ".2f" : ".5~g") + "}" + unit + "<extra></extra>",
          };
        });
        traces.sort((a, b) => a.opacity - b.opacity); // means above runs
        const notes = [chosen && chosen.note, ...coincide.map((names) => "The lines of " + listed(names) + " coincide.")];
        explain(
          element,
          [chosen && chosen.name, values.groups[Number(group.value)].name, values.groups[Number(group.value)].about].filter(Boolean).join(", "),
          drawn.map((line) => listed(namesOf(line)) + " ends at " + short(line.y.at(-1)) + unit),
          notes.filter(Boolean).join(" "),
        );
        show(element, [...bands, ...traces], {
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
      const traces = points.flatMap((point) => {
        const row = values.rows[point.row];
        const common = { name: plain(row.key), legendgroup: String(point.row), mode: "markers" };
        const seeds = Object.keys(point.runs);
        const between = point.half === null ? "" : "<br>95 % interval " + short(point.mean - point.half) + " to " + short(point.mean + point.half);
        const thickness = point.crowd > 1 ? Math.max(1.5, 8 - 3 * point.place) : 1.5; // narrower in front
        return [
          {
            ...common,
            x: [point.cost],
            y: [point.mean],
            error_y: { type: "data", array: [point.half], visible: point.half !== null, color: point.crowd > 1 ? faint(ofRow(row)).replace("0.18", "0.45") : ofRow(row), thickness, width: 0 },
            marker: { color: ofRow(row), size: 10, symbol: MARKERS[row.style.marker] },
            hovertemplate: "<b>%{fullData.name}</b><br>mean %{y:.2f} %" + between + "<br>" + count(point.cost) + " multiply-adds<extra></extra>",
          },
          {
            ...common,
            x: seeds.map(() => point.cost),
            y: seeds.map((seed) => point.runs[seed]),
            text: seeds.map(plain),
            showlegend: false,
            marker: { color: ofRow(row), size: 14, symbol: "line-ew", line: { color: ofRow(row), width: 1.5 } },
            hovertemplate: "<b>%{fullData.name}</b><br>%{text}: %{y:.2f} %<extra></extra>",
          },
        ];
      });
      const annotations = points.filter((point) => point.crowd > 1).map((point) => {
        const side = point.place % 2 ? 1 : -1;
        const row = values.rows[point.row];
        return { x: logarithmic ? Math.log10(point.cost) : point.cost, y: point.mean, text: plain(row.key), showarrow: true, arrowhead: 0, arrowwidth: 1, arrowcolor: ofRow(row), font: { color: ofRow(row), size: 12 }, ax: side * 30, ay: -side * 10 - 18 * Math.floor(point.place / 2), xanchor: side > 0 ? "left" : "right", standoff: 6 };
      });
      explain(
        element,
        [values.cost[Number(panel.value)].name, values.cost[Number(panel.value)].about].join(", "),
        points.map((point) => values.rows[point.row].key + " " + short(point.mean) + " % at " + count(point.cost) + " multiply-adds"),
      );
      show(element, traces, {
        showlegend: true,
        hovermode: "closest",
        annotations,
        xaxis: { title: { text: "multiply-adds of training" }, type: logarithmic ? "log" : "linear", range, tickformat: "~s" },
        yaxis: { title: { text: "test top-1, %" }, range: window },
      });
    }
    return draw;
  });

  function heatMap(element, trace, x, y, layout) {
    const square = { ticks: "", showgrid: false, constrain: "domain", type: "category" };
    // The scales are made so that the ink can be read on all of their colors.
    show(element, [{ type: "heatmap", xgap: 1, ygap: 1, textfont: { color: color("ink") }, ...trace }], {
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
      const digits = reach > 0.1 ? 2 : 3;
      const pairs = of.down.flatMap((a, i) => of.across.map((b, j) => [a + " and " + b, weights[i][j]])).filter(([, weight]) => weight !== null);
      pairs.sort((a, b) => b[1] - a[1]);
      const extremes = pairs.length ? ["most between " + pairs[0][0] + " (" + short(pairs[0][1]) + ")", "least between " + pairs.at(-1)[0] + " (" + short(pairs.at(-1)[1]) + ")"] : [];
      explain(element, of.heading + ", epoch " + epoch, ["matching weights of stages", ...extremes]);
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
          colorscale: [[0, color("low")], [0.5, color("middle")], [1, color("high")]],
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
      const { counts, classes, about } = ofRun.find((of) => of.head === head.value);
      const sums = counts.map((line) => line.reduce((sum, value) => sum + value, 0));
      const names = values.confusion.classes[classes].map(plain);
      const all = sums.reduce((sum, value) => sum + value, 0);
      const right = counts.reduce((sum, line, i) => sum + line[i], 0);
      explain(element, run.value + ": " + about, [right + " of " + all + " images are predicted right"]);
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
          colorscale: [[0, color("few")], [1, color("much")]],
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
