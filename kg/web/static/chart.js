/* Draws the chart of an answer, in the page's own colours and letters. Without it the page is whole: the table holds the same.

   Expressions are interpreted (vega-interpreter), since the pages allow no code made from text; nothing is fetched but the chart
   itself, which has its rows in it. */
"use strict";

(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  /* Far apart in light and dark, for eyes that see few colours too; what is told by colour is told by shape or by words as well. */
  const categories = () =>
    dark.matches
      ? ["#e59a80", "#86b6d8", "#d8c27a", "#9fc79a", "#c5a3d6", "#b3aca2"]
      : ["#8a3a26", "#2f6690", "#a9861c", "#4c7a45", "#7a4f8f", "#736b61"];

  function theme() {
    const text = colour("text"), quiet = colour("quiet"), line = colour("line");
    const font = getComputedStyle(document.body).fontFamily;
    return {
      background: null,
      font,
      axis: {
        labelColor: text, titleColor: quiet, labelFontSize: 13, titleFontSize: 13, titleFontWeight: "normal", gridColor: line,
        domainColor: line, tickColor: line, labelLimit: 260, titlePadding: 10, labelPadding: 6,
        labelSeparation: 12,
      },
      axisXTemporal: { labelBound: true },
      axisY: { grid: false, ticks: false, domain: false },
      legend: { labelColor: text, titleColor: quiet, labelFontSize: 13, titleFontSize: 13, titleFontWeight: "normal", orient: "top", offset: 12, symbolSize: 110, symbolStrokeWidth: 2.5 },
      view: { stroke: null },
      range: { category: categories(), ordinal: dark.matches ? ["#86695d", "#b98573", "#e59a80", "#f9e0d6"] : ["#dcb9ae", "#b97561", "#8a3a26", "#4d1d11"] },
      bar: { fill: categories()[0], discreteBandSize: { band: 0.7 } },
      point: { fill: categories()[0] },
      text: { color: text, fontSize: 13 },
      rule: { color: categories()[0] },
      style: { "on-bar": { color: colour("page") } },
    };
  }

  /* What is known of a mark, row by row; `sanitize` escapes. What is not known has no row. */
  const formatTooltip = (values, sanitize) => {
    const known = Object.entries(values).filter(([, value]) => value !== "null" && value !== null && value !== "");
    const rows = known.map(([name, value]) => `<tr><td class="key">${sanitize(name)}</td><td class="value">${sanitize(value)}</td></tr>`);
    return `<table><tbody>${rows.join("")}</tbody></table>`;
  };

  /* Draws a specification into an element; `label` is what a reader who sees no charts is told. */
  window.drawChart = async (drawing, specification, label) => {
    const width = drawing.clientWidth;
    const config = theme();
    config.axisY.labelLimit = Math.round(width < 600 ? width * 0.42 : width * 0.33);
    if (width < 420) config.legend.columns = 1;
    const axis = specification.encoding?.y?.axis;
    if (axis?.labelLimit) axis.labelLimit = Math.min(axis.labelLimit, width - 30);
    await window.vegaEmbed(
      drawing,
      { ...specification, width: "container", autosize: { type: "fit-x", contains: "padding" } },
      {
        mode: "vega-lite", logLevel: window.vega.Error, ast: true, expr: window.vega.expressionInterpreter, actions: false, renderer: "svg",
        config, defaultStyle: false, tooltip: { theme: "custom", disableDefaultStyle: true, formatTooltip },
        loader: { load: () => Promise.reject(new Error("nothing is fetched")) },
      },
    );
    drawing.querySelector("svg")?.setAttribute("aria-label", label);
  };

  const figure = document.querySelector("[data-chart]");
  if (!figure || !window.vegaEmbed) return;
  const drawing = figure.querySelector(".drawing");
  let fetched;

  async function draw() {
    fetched ??= await fetch(figure.dataset.chart, { headers: { Accept: "application/json" } }).then((answer) => {
      if (!answer.ok) throw new Error(`${answer.status}`);
      return answer.json();
    });
    /* The caption says what the title would, and the page has colours of its own, for light and dark. */
    const { title, $schema, config, ...specification } = fetched;
    await window.drawChart(drawing, specification, `${title}; the rows below hold the same`);
  }

  const again = () => draw().catch(() => { figure.hidden = true; });
  again();
  dark.addEventListener("change", again);
  let waiting, width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(again, 150);
  });
})();
