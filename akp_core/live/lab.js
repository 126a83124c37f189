// The face of the live lab: controls, charts and words for one model of akp_core.live.lab.Lab.
const PLACES = ["control", "A", "B"];
const COLOURS = {
  light: { category: ["#1f6fb4", "#c2541b", "#1f7f5c"], ink: "#222832", line: "#7a8594", grid: "#e3e7ec" },
  dark: { category: ["#6db1ec", "#f0935a", "#58c79b"], ink: "#dfe4ea", line: "#8b96a5", grid: "#343b45" },
};
const TITLES = {
  map: "Map of the models", error: "Wrong answers", loss: "Training loss",
  cka: "Likeness to the unstressed twin (CKA)", spread: "Spread of each family",
};

function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "onclick" || name === "onchange" || name === "oninput") node[name] = value;
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

function isDark(model) {
  const theme = model.get("theme");
  if (theme !== "auto") return theme === "dark";
  const body = document.body.dataset;
  if (!body.voila && body.jpThemeLight) return body.jpThemeLight === "false";
  return window.matchMedia("(prefers-color-scheme: dark)").matches;
}

function configOf(dark) {
  const c = dark ? COLOURS.dark : COLOURS.light;
  const axis = { labelColor: c.ink, titleColor: c.ink, gridColor: c.grid, domainColor: c.line, tickColor: c.line, labelFontSize: 12, titleFontSize: 12 };
  return { background: null, font: "system-ui, sans-serif", axis, legend: { labelColor: c.ink, labelFontSize: 13 },
    view: { stroke: c.grid }, range: { category: c.category } };
}

function number(value, digits) { return value === null || value === undefined ? "–" : value.toFixed(digits); }

async function render({ model, el }) {
  const order = (name, values) => model.send({ order: name, values: values || {} });
  const functions = model.get("functions"), choice = model.get("choice"), words = model.get("words");
  const root = make("section", { class: "akp-live", "aria-label": "Live lab" });
  el.append(root);
  const level = document.body.dataset.voila ? 1 : 3; // elsewhere the notebook has headings of its own
  root.append(make(`h${level}`, { class: "akp-title" }, `Live lab: ${choice.members} networks, ${choice.dataset}`));

  // -------------------------------------------------------------- time
  const play = make("button", { type: "button", class: "akp-main", onclick: () => order(play.dataset.now === "1" ? "pause" : "play") }, "Play");
  const rewind = make("button", { type: "button", onclick: () => order("rewind") }, "Rewind to the fork");
  const replay = make("button", { type: "button", onclick: () => order("replay") }, "Replay from the start");
  const slider = make("input", { type: "range", min: 0, max: 1, value: 0, step: 1, id: "akp-step", onchange: () => order("seek", { step: Number(slider.value) }) });
  const pace = make("select", { id: "akp-pace", onchange: () => order("pace", { seconds: Number(pace.value) }) });
  const paceNames = ["as fast as it goes", "for a class", "slow"];
  model.get("paces").forEach((seconds, k) => pace.append(make("option", { value: seconds }, paceNames[k] || `${seconds} s a frame`)));
  pace.value = String(model.get("paces")[1]);
  const step = make("output", { for: "akp-step" }, "");
  root.append(make("div", { class: "akp-bar", role: "group", "aria-label": "Time" }, play, rewind, replay,
    make("label", { for: "akp-step", class: "akp-grow" }, "Step ", slider), step,
    make("label", { for: "akp-pace" }, "Pace ", pace)));

  // -------------------------------------------------------------- stresses
  const panels = {};
  const stresses = make("div", { class: "akp-stresses" });
  for (const place of ["A", "B"]) {
    const to = make("select", { id: `akp-to-${place}` });
    for (const kind of ["activation", "loss"]) {
      const group = make("optgroup", { label: kind === "activation" ? "activation" : "loss" });
      functions[kind].forEach((name) => group.append(make("option", { value: `${kind}:${name}` }, name.replaceAll("_", " "))));
      to.append(group);
    }
    to.value = place === "A" ? "activation:tanh" : "loss:hinge";
    const dose = make("select", { id: `akp-dose-${place}` });
    for (const d of [1, 0.75, 0.5, 0.25]) dose.append(make("option", { value: d }, `${100 * d}%`));
    const swap = make("button", { type: "button", class: "akp-main", onclick: () => {
      const [kind, name] = to.value.split(":");
      order("swap", { place, kind, to: name, dose: Number(dose.value) });
    } }, `Swap now: ${place}`);
    const undo = make("button", { type: "button", disabled: true, onclick: () => order("undo", { place }) }, `Undo ${place}`);
    const back = make("button", { type: "button", disabled: true, onclick: () => order("rewind", { place }) }, `To the fork of ${place}`);
    const drop = make("button", { type: "button", disabled: true, onclick: () => order("drop", { place }) }, `Drop ${place}`);
    const name = make("p", { class: "akp-name" }, "not set in");
    const line = make("textarea", { id: `akp-command-${place}`, readonly: true, rows: 3, spellcheck: "false", "aria-label": `Command that trains ${place} once more` });
    const copy = make("button", { type: "button", onclick: async () => {
      line.select();
      try { await navigator.clipboard.writeText(line.value); } catch { document.execCommand("copy"); }
      say(`The command of ${place} is copied.`);
    } }, `Copy the command of ${place}`);
    const saved = make("details", { hidden: true }, make("summary", {}, `Train ${place} once more`), line, copy);
    stresses.append(make("fieldset", { class: `akp-${place}` }, make("legend", {}, `Stress ${place}`),
      make("div", { class: "akp-bar" }, make("label", { for: to.id }, "swap to ", to), make("label", { for: dose.id }, "dose ", dose), swap),
      make("div", { class: "akp-bar" }, undo, back, drop), name, saved));
    panels[place] = { undo, back, drop, name, line, saved };
  }
  root.append(stresses);
  const status = make("p", { class: "akp-status", role: "status", "aria-live": "polite" }, "");
  const problem = make("p", { class: "akp-problem", role: "alert" }, "");
  root.append(status, problem);

  // -------------------------------------------------------------- charts and table
  const share = make("span", {}, "");
  const boxes = {}, views = {};
  const grid = make("div", { class: "akp-grid" });
  for (const name of Object.keys(TITLES)) {
    const box = make("div", { class: "akp-box" });
    boxes[name] = box;
    grid.append(make("figure", { class: `akp-figure akp-of-${name}` },
      make(`h${level + 1}`, { class: "akp-heading" }, TITLES[name]), box, make("figcaption", {}, words[name], " ", name === "map" ? share : "")));
  }
  const body = make("tbody", {});
  const heads = ["family", "networks lost", "wrong answers, %", "CKA to the twin", "spread", "training loss"];
  const table = make("table", {}, make("caption", {}, "Now: means of each family"),
    make("thead", {}, make("tr", {}, ...heads.map((h) => make("th", { scope: "col" }, h)))), body);
  root.append(grid, make("div", { class: "akp-table", tabindex: 0, role: "region", "aria-label": "Numbers of this step" }, table));

  let latest = null, last = null, drawing = false, dark = null, told = "", saidAt = -3000;
  function say(text) { status.textContent = told = text; saidAt = performance.now(); }

  async function embed() {
    dark = isDark(model);
    root.dataset.theme = dark ? "dark" : "light";
    if (document.body.dataset.voila) document.documentElement.dataset.akpTheme = root.dataset.theme;
    for (const name of Object.keys(TITLES)) {
      if (views[name]) views[name].finalize();
      const table = name === "map" ? "map" : "curves";
      const datasets = { [table]: last ? last[table].map((row) => ({ ...row })) : [] };
      const spec = { ...model.get("charts")[name], datasets, config: configOf(dark) };
      views[name] = await vegaEmbed(boxes[name], spec, { actions: false, renderer: "svg", tooltip: { theme: dark ? "dark" : "light" } });
      delete views[name].spec;
    }
  }

  async function draw(view) {
    for (const name of Object.keys(TITLES)) {
      const table = name === "map" ? "map" : "curves";
      await views[name].view.data(table, view[table].map((row) => ({ ...row }))).runAsync();
    }
    const now = {};
    for (const row of view.curves) now[row.place] = row;
    body.replaceChildren(...view.families.filter((f) => now[f.place]).map((f) => {
      const row = now[f.place];
      const cells = [String(row.lost), number(row.error, 1), number(row.cka, 3), number(row.spread, 3), number(row.loss, 3)];
      const label = f.place === "control" ? "control" : `${f.place}: ${f.name}`;
      return make("tr", {}, make("th", { scope: "row" }, label), ...cells.map((c) => make("td", {}, c)));
    }));
    root.dataset.number = view.number;
    root.dataset.clock = view.clock;
    root.dataset.drawn = String(Number(root.dataset.drawn || 0) + 1);
  }

  function controls(view) {
    play.textContent = view.playing ? "Pause" : "Play";
    play.dataset.now = view.playing ? "1" : "0";
    play.disabled = view.finished;
    slider.max = view.steps;
    if (document.activeElement !== slider || view.playing) slider.value = view.clock;
    slider.setAttribute("aria-valuetext", `step ${view.clock} of ${view.steps}`);
    step.textContent = `${view.clock} of ${view.steps} (${view.percent})`;
    rewind.disabled = replay.disabled = view.reached === 0;
    const by = Object.fromEntries(view.families.map((f) => [f.place, f]));
    for (const [place, panel] of Object.entries(panels)) {
      const family = by[place];
      panel.undo.disabled = !family || family.undone || view.clock <= family.fork || view.finished;
      panel.back.disabled = panel.drop.disabled = !family;
      panel.name.textContent = family ? `${family.name}, forked at step ${family.fork}` : "not set in";
      panel.saved.hidden = !family;
      if (family && panel.line.value !== family.command) panel.line.value = family.command;
    }
    root.dataset.families = view.families.map((f) => f.place).join(" ");
    problem.textContent = view.word;
    const behind = view.behind.length ? ` ${view.behind.join(" and ")} catching up.` : "";
    const state = view.resuming ? "Taking up where the lab was closed." : view.finished ? "Training is over." : view.playing ? "Training." : "Paused.";
    const seen = view.families.map((f) => (f.place === "control" ? "" : ` ${f.place} is ${f.name}.`)).join("");
    share.textContent = view.shown === null ? "There is no map of fewer than three networks." : `Its two axes show ${Math.round(100 * view.shown)}% of the squared distances.`;
    const news = `${state}${seen}${behind}`;
    if (news !== told && performance.now() - saidAt > 3000) status.textContent = told = news;
  }

  let embedded = false;
  async function pump() {
    if (drawing || !embedded) return;
    drawing = true;
    try {
      while (latest) {
        const view = latest;
        latest = null;
        controls(view);
        try { await draw(view); } finally { model.send({ drawn: view.number }); }
      }
    } finally { drawing = false; }
  }

  const hear = (message) => { if (message.view) { latest = last = message.view; pump(); } };
  model.on("msg:custom", hear);
  const again = async () => {
    if (!embedded || dark === isDark(model)) return;
    embedded = false;
    await embed();
    embedded = true;
    latest = latest || last;
    pump();
  };
  const media = window.matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", again);
  const watch = new MutationObserver(again);
  watch.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  // Voila shows the page only when all of it is there, and a chart in a hidden box has no width
  await new Promise((resolve) => {
    const shown = new ResizeObserver(() => { if (boxes.map.clientWidth > 0) { shown.disconnect(); resolve(); } });
    shown.observe(boxes.map);
  });
  await embed();
  embedded = true;
  root.dataset.ready = "1";
  pump();
  model.send({ hello: true });
  order("pace", { seconds: Number(pace.value) });
  return () => {
    model.off("msg:custom", hear);
    media.removeEventListener("change", again);
    watch.disconnect();
    Object.values(views).forEach((view) => view.finalize());
  };
}

export default { render };
