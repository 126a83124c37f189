// Marks with the class akp-more every box that holds more to its right than is seen, so that it can fade there,
// and lets the keyboard into it.
(function () {
  "use strict";
  var BOXES = ".akp-view, .akp-table-box, .cell_output .text_html, .bd-article div.math, .highlight pre, " +
    ".pst-scrollable-table-container, mjx-container[display='true'], span.math.akp-wide, " +
    "dl.py table";

  function mark(box) {
    var more = box.scrollWidth - box.clientWidth - box.scrollLeft > 2;
    box.classList.toggle("akp-more", more);
    if (more && !box.hasAttribute("tabindex")) { box.tabIndex = 0; }
  }

  function widen(formula) {
    // a formula in a sentence that is wider than the column becomes a box of its own
    formula.classList.remove("akp-wide");
    var inside = formula.querySelector("mjx-container"), block = formula.closest("p, li, dd, td, figcaption");
    if (inside && block && inside.getBoundingClientRect().width > block.clientWidth) { formula.classList.add("akp-wide"); }
  }

  function start() {
    var waiting = false;
    function all() {
      waiting = false;
      document.querySelectorAll(".bd-article span.math").forEach(widen);
      document.querySelectorAll(BOXES).forEach(mark);
    }
    function soon() { if (!waiting) { waiting = true; requestAnimationFrame(all); } }
    document.addEventListener("scroll", function (event) {
      if (event.target.matches && event.target.matches(BOXES)) { mark(event.target); }
    }, { capture: true, passive: true });
    new ResizeObserver(soon).observe(document.querySelector("article") || document.body);
    window.addEventListener("load", soon);
    document.addEventListener("toggle", soon, true);
    var typeset = window.MathJax && window.MathJax.startup && window.MathJax.startup.promise;
    if (typeset) { typeset.then(soon); }
    soon();
  }

  if (document.readyState === "loading") { document.addEventListener("DOMContentLoaded", start); } else { start(); }
})();
