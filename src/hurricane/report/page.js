// Draws the charts, and draws them again when the colour scheme changes or the page is printed.
"use strict";
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const night = JSON.parse(document.getElementById("night").textContent);
  const PRINTED_WIDTH = 680; // pixels that fit on A4 and on Letter

  function figure(node, printing) {
    let text = document.getElementById(node.id + "-figure").textContent;
    if (dark.matches && !printing) {
      for (const colour in night) text = text.split(colour).join(night[colour]);
    }
    const figure = JSON.parse(text);
    if (printing) figure.layout.width = PRINTED_WIDTH;
    return figure;
  }

  function draw(printing) {
    for (const node of document.querySelectorAll(".chart")) {
      const { data, layout } = figure(node, printing);
      Plotly.react(node, data, layout, { displayModeBar: false, responsive: true });
    }
  }

  draw(false);
  dark.addEventListener("change", () => draw(false));
  window.addEventListener("beforeprint", () => draw(true));
  window.addEventListener("afterprint", () => draw(false));
})();
