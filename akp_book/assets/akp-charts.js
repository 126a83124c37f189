// Draws the live chart of every .akp-chart box in the colours of the theme, and again when the theme changes,
// with its parameters and selections as they were. Sets data-ready="1" when drawn.
(function () {
  "use strict";
  var root = document.documentElement, NARROW = 600;  // pixels of a window in which charts are drawn anew
  var BESIDE = 90, LEAST = 90;  // what axes and the menu take at first guess, and the least width of a view
  var LEGENDS = ["color", "fill", "stroke", "shape", "strokeDash", "opacity", "size"];

  function narrow() { return window.innerWidth < NARROW; }

  function merge(under, over) {
    var result = Object.assign({}, under);
    Object.keys(over).forEach(function (key) {
      var nested = over[key] && typeof over[key] === "object" && !Array.isArray(over[key]);
      result[key] = nested ? merge(result[key] || {}, over[key]) : over[key];
    });
    return result;
  }

  function brightened(part) {
    // a band that is faint on white is lost on black
    if (!part || typeof part !== "object") { return; }
    if (part.mark && part.mark.type === "area" && part.mark.opacity) { part.mark.opacity = Math.min(1, 2 * part.mark.opacity); }
    ["layer", "concat", "hconcat", "vconcat"].forEach(function (key) { (part[key] || []).forEach(brightened); });
    brightened(part.spec);
  }

  function coloured(spec, dark) {
    var all = window.akpChartConfig;
    // the palette gives way to one that the chart names; ink and grid must fit the page, so they win
    var config = merge(all[dark ? "darkRange" : "lightRange"], spec.config || {});
    if (dark) { brightened(spec); }
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

  function broken(title, most) {
    var lines = [""];
    title.split(" ").forEach(function (word) {
      var last = lines[lines.length - 1], longer = last ? last + " " + word : word;
      if (last && longer.length > most) { lines.push(word); } else { lines[lines.length - 1] = longer; }
    });
    return lines;
  }

  function narrowed(spec, room) {
    // on a phone views stand below one another, as wide as there is room for, and sentences are broken
    var letters = Math.floor((room + BESIDE) / 8);
    (function walk(part) {
      if (!part || typeof part !== "object") { return; }
      if (part.hconcat) { part.vconcat = part.hconcat; delete part.hconcat; }
      if (part.concat) { part.columns = 1; }
      if (part.vconcat) { part.align = "none"; }
      var encoding = part.encoding || {}, words = encoding.text && encoding.text.field === "lines";
      LEGENDS.forEach(function (key) {
        var one = encoding[key];
        if (one && one.field && one.legend !== null) {
          one.legend = Object.assign({}, one.legend, { columns: 1, orient: "top" });
          if (typeof one.title === "string") { one.title = broken(one.title, Math.floor(room / 6)); }
        }
      });
      var x = encoding.x;
      if (x && typeof x.title === "string" && x.title.length > room / 6) { x.title = broken(x.title, Math.floor(room / 6)); }
      if (words) {
        part.transform = (part.transform || []).concat({ as: "lines", calculate: "split(replace(join(datum.lines, '|'), " +
          "regexp('([^|]{1," + letters + "})( |$|[|])', 'g'), '$1|'), '|')" });
        if (part.height) { part.height *= 2.3; }
      }
      if (part.width > room) { part.width = room; }
      ["layer", "concat", "vconcat"].forEach(function (key) { (part[key] || []).forEach(walk); });
      walk(part.spec);
    })(spec);
    return spec;
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

  function draw(box, less) {
    var dark = root.dataset.theme === "dark";
    var spec = JSON.parse(box.querySelector(".akp-spec").textContent);
    var view = box.querySelector(".akp-view"), controls = document.createElement("div");
    var host = document.createElement("div"), before = box.akpResult, names = parameterNames(spec);
    var state = before ? keep(before.view, names) : null;
    var turn = (box.akpTurn = (box.akpTurn || 0) + 1), room = view.clientWidth - BESIDE - (less || 0);
    if (narrow()) { spec = narrowed(spec, room); }
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
        var over = view.scrollWidth - view.clientWidth;
        if (narrow() && !less && over > 1 && room - over > LEAST) { return draw(box, over); }
        box.dataset.ready = "1";
        reachable(box);
      });
    }).catch(function (error) {
      box.dataset.ready = "failed";
      console.error("a chart could not be drawn:", error);
    });
  }

  function all() { document.querySelectorAll(".akp-chart").forEach(function (box) { draw(box); }); }

  function start() {
    all();
    var shown = root.dataset.theme, small = narrow();
    new MutationObserver(function () {
      if (root.dataset.theme !== shown) { shown = root.dataset.theme; all(); }
    }).observe(root, { attributes: true, attributeFilter: ["data-theme"] });
    window.addEventListener("resize", function () {
      if (narrow() !== small) { small = narrow(); all(); return; }
      document.querySelectorAll(".akp-chart").forEach(reachable);
    });
  }

  if (document.readyState === "loading") { document.addEventListener("DOMContentLoaded", start); } else { start(); }
})();
