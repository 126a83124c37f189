// Draws the live chart of every .akp-chart box in the colours of the theme, and again when the theme changes,
// with its parameters and selections as they were. Sets data-ready="1" when drawn.
(function () {
  "use strict";
  var root = document.documentElement;

  function merge(under, over) {
    var result = Object.assign({}, under);
    Object.keys(over).forEach(function (key) {
      var nested = over[key] && typeof over[key] === "object" && !Array.isArray(over[key]);
      result[key] = nested ? merge(result[key] || {}, over[key]) : over[key];
    });
    return result;
  }

  function coloured(spec, dark) {
    var all = window.akpChartConfig;
    // the palette gives way to one that the chart names; ink and grid must fit the page, so they win
    var config = merge(all[dark ? "darkRange" : "lightRange"], spec.config || {});
    return Object.assign({}, spec, { config: merge(config, all[dark ? "dark" : "light"]), background: null });
  }

  function keep(view, names) {
    return view.getState({
      signals: function (name) { return names.variables.indexOf(name) >= 0; },
      data: function (name) { return names.selections.indexOf(name.replace(/_store$/, "")) >= 0; }
    });
  }

  function parameterNames(spec) {
    var found = { variables: [], selections: [] };
    (function walk(part) {
      if (!part || typeof part !== "object") { return; }
      (part.params || []).forEach(function (p) {
        if (!p.select) { found.variables.push(p.name); return; }
        found.selections.push(p.name);
        // an interval is redrawn from its corners, a bound point from one signal for each field
        found.variables.push(p.name + "_x", p.name + "_y");
        ((p.select && p.select.fields) || []).forEach(function (f) { found.variables.push(p.name + "_" + f); });
      });
      ["layer", "concat", "hconcat", "vconcat"].forEach(function (key) { (part[key] || []).forEach(walk); });
      walk(part.spec);
    })(spec);
    return found;
  }

  function reachable(box) {
    // a box that scrolls must be reachable by keyboard
    var view = box.querySelector(".akp-view");
    if (view.scrollWidth > view.clientWidth + 1) { view.tabIndex = 0; } else { view.removeAttribute("tabindex"); }
  }

  function hush(host) {
    // Vega calls a group of marks that has no words a symbol; a symbol without a name is read as one
    host.querySelectorAll('[role="graphics-symbol"]:not([aria-label])').forEach(function (group) {
      group.removeAttribute("role");
      group.removeAttribute("aria-roledescription");
    });
  }

  function draw(box) {
    var dark = root.dataset.theme === "dark";
    var spec = JSON.parse(box.querySelector(".akp-spec").textContent);
    var view = box.querySelector(".akp-view"), controls = document.createElement("div");
    var host = document.createElement("div"), before = box.akpResult, names = parameterNames(spec);
    var state = before ? keep(before.view, names) : null;
    var turn = (box.akpTurn = (box.akpTurn || 0) + 1);
    host.className = "akp-live";
    controls.className = "akp-controls";
    box.dataset.ready = "0";
    return window.vegaEmbed(host, coloured(spec, dark), {
      renderer: "svg", bind: controls, tooltip: { theme: dark ? "dark" : "light" },
      actions: { export: true, source: false, compiled: false, editor: false },
      downloadFileName: "chart"
    }).then(function (result) {
      if (turn !== box.akpTurn) { result.finalize(); return undefined; }
      box.akpResult = result;
      var settled = state ? result.view.setState(state).runAsync() : result.view.runAsync();
      return Promise.resolve(settled).then(function () {
        var focus = document.activeElement, old = box.querySelector(".akp-controls");
        var place = Array.prototype.indexOf.call(old.querySelectorAll("input, select"), focus);
        old.replaceWith(controls);
        view.replaceChildren(host);
        var input = controls.querySelectorAll("input, select")[place];
        if (input) { input.focus(); }
        var menu = host.querySelector("details > summary");
        if (menu) { menu.setAttribute("aria-label", "Save this chart"); }
        hush(host);
        new MutationObserver(function () { hush(host); }).observe(host, { childList: true, subtree: true });
        if (before) { before.finalize(); }
        box.dataset.ready = "1";
        reachable(box);
      });
    }).catch(function (error) {
      box.dataset.ready = "failed";
      console.error("a chart could not be drawn:", error);
    });
  }

  function all() { document.querySelectorAll(".akp-chart").forEach(draw); }

  function start() {
    all();
    var shown = root.dataset.theme;
    new MutationObserver(function () {
      if (root.dataset.theme !== shown) { shown = root.dataset.theme; all(); }
    }).observe(root, { attributes: true, attributeFilter: ["data-theme"] });
    window.addEventListener("resize", function () { document.querySelectorAll(".akp-chart").forEach(reachable); });
  }

  if (document.readyState === "loading") { document.addEventListener("DOMContentLoaded", start); } else { start(); }
})();
