"use strict";
// The page, made anew from the block of JSON and interactive. Text goes in as text, never as markup. What is chosen
// stands in the address after #, so that a link shows the same.
(() => {
  const DATA = JSON.parse(document.getElementById("data").textContent);
  const MOST = { lines: 40, rows: 150, looks: 24, panels: 24, pairs: 24 };
  const MARK = { 1: ["▲", "above", "above the strongest floor"], "-1": ["▼", "below", "below the strongest floor"],
    2: ["¹", "", "would be above, but one of the two has one seed"], "-2": ["¹", "", "would be below, but one of the two has one seed"] };
  const TRACKS = { gated: "Gated track: seen = touched", open: "Open track: the selector reads the whole image", reference: "Floors and ceiling" };
  const SHORT = { gated: "Gated", open: "Open", reference: "Floors and ceiling" };
  const SCORES = { judge: "Judge", own: "Own predictor", decoupled: "Decoupled judge" };
  const XS = { touched: "touched, mean", budget: "allowed (cap)", delivered: "delivered", seen: "seen before choosing" };
  const COSTS = { flops: "FLOPs an image", ms: "milliseconds an image", training_seconds: "seconds of training",
    training_images: "images drawn in training", parameters: "parameters" };
  const SAW = { windows: ["o", "only what was chosen before"], retina: ["s", "that, and a coarse surround"], whole: ["D", "the whole image first"] };

  // ---- small things ------------------------------------------------------------------------------------------------
  const byId = (name) => document.getElementById(name);
  const SVG = "http://www.w3.org/2000/svg";

  function fill(node, attributes, children) {
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (key === "font-size" || key === "ink") node.style[key === "ink" ? "fill" : "fontSize"] = key === "ink" ? value : `${value}px`;
      else node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
    return node;
  }
  const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  const draw = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

  // As Python prints it: a half goes to the even digit. Ties are exact in binary, so 2^(digits+1) tells them.
  function fixed(value, digits) {
    const scaled = value * 2 ** (digits + 1);
    if (digits && Number.isInteger(scaled) && scaled % 2) {
      const low = Math.floor(value * 10 ** digits);
      return ((low % 2 ? low + 1 : low) / 10 ** digits).toFixed(digits);
    }
    return value.toFixed(digits);
  }
  const per = (value, digits = 1) => (value === null || value === undefined ? "·" : fixed(100 * value, digits));
  const share = (value) => `${Number((100 * value).toPrecision(6))} %`;
  const signed = (value) => `${value > 0 ? "+" : value < 0 ? "−" : ""}${fixed(Math.abs(100 * value), 1)}`;
  function count(value) {
    if (value === null || value === undefined) return "·";
    for (const [size, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]])
      if (value >= size) return `${Number((value / size).toPrecision(3))}${letter}`;
    return `${Number(value.toPrecision(2))}`;
  }
  const known = (value) => value !== null && value !== undefined;

  // ---- what is chosen ----------------------------------------------------------------------------------------------
  const USUAL = { s: "0", by: "judge", at: "", x: "touched", scale: "log", q: "", hide: "", cols: "", sort: "", only: "",
    heat: "", pin: "", told: "1", cost: "flops", who: "", image: "0", step: "", learn: "accuracy" };
  const ALLOWED = { by: Object.keys(SCORES), x: Object.keys(XS), scale: ["log", "linear"], cost: Object.keys(COSTS), learn: ["accuracy", "loss"] };
  let state = { ...USUAL };
  function readAddress() {
    state = { ...USUAL };
    for (const [key, value] of new URLSearchParams(location.hash.slice(1)))
      if (key in USUAL && (!ALLOWED[key] || ALLOWED[key].includes(value))) state[key] = value;
    if (!DATA.sections[Number(state.s)]) state.s = "0";
  }
  function writeAddress() {
    const said = new URLSearchParams();
    for (const [key, value] of Object.entries(state)) if (value !== USUAL[key]) said.set(key, value);
    const text = said.toString();
    history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  }
  function choose(changes, again = render) {
    Object.assign(state, changes);
    writeAddress();
    again();
  }
  const list = (text) => (text ? text.split("|") : []);
  const toggled = (text, one) => {
    const all = list(text);
    return (all.includes(one) ? all.filter((other) => other !== one) : [...all, one]).join("|");
  };

  // ---- what is shown -----------------------------------------------------------------------------------------------
  let section, rows, budgets, shown;
  function refresh() {
    section = DATA.sections[Number(state.s)];
    rows = section.rows;
    budgets = section.budgets;
    if (state.by === "decoupled" && !rows.some((row) => row.at.decoupled)) state.by = "judge";
    const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
    const hidden = list(state.hide);
    const needed = state.only ? columns().filter((column) => chosen().includes(column.key)) : [];
    shown = rows.map((_, number) => number).filter((number) => {
      const row = rows[number];
      const text = `${row.name} ${row.agent} ${row.track} ${row.supervision} ${row.note} ${row.settings.map(([key, value]) => `${key}=${value}`).join(" ")}`.toLowerCase();
      return !hidden.includes(row.track) && words.every((word) => text.includes(word)) && needed.every((column) => known(column.value(row)));
    });
  }
  const value = (row, i, by = state.by) => (row.at[by] ? row.at[by][i] : null);
  // The budget of costs, pictures and pairs: as chosen, or the one that most contenders reach.
  function at() {
    const asked = budgets.indexOf(Number(state.at));
    if (state.at && asked >= 0) return asked;
    const rivals = rows.filter((row) => row.track !== "reference");
    const reach = budgets.map((_, i) => (i < budgets.length - 1 ? (rivals.length ? rivals : rows).filter((row) => known(value(row, i))).length : -1));
    return reach.lastIndexOf(Math.max(...reach));
  }

  // ---- markers -----------------------------------------------------------------------------------------------------
  const SHAPES = { // by Matplotlib's names
    o: (r) => `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
    s: (r) => `M${-r * 0.9} ${-r * 0.9}h${1.8 * r}v${1.8 * r}h${-1.8 * r}z`,
    D: (r) => `M0 ${-1.25 * r}L${1.25 * r} 0L0 ${1.25 * r}L${-1.25 * r} 0z`,
    "^": (r) => `M0 ${-1.2 * r}L${1.15 * r} ${0.9 * r}H${-1.15 * r}z`,
    v: (r) => `M0 ${1.2 * r}L${1.15 * r} ${-0.9 * r}H${-1.15 * r}z`,
    X: (r) => `M${-r} ${-0.6 * r}L${-0.6 * r} ${-r}L0 ${-0.4 * r}L${0.6 * r} ${-r}L${r} ${-0.6 * r}L${0.4 * r} 0L${r} ${0.6 * r}L${0.6 * r} ${r}L0 ${0.4 * r}L${-0.6 * r} ${r}L${-r} ${0.6 * r}L${-0.4 * r} 0z`,
    p: (r) => `M0 ${-1.1 * r}L${1.05 * r} ${-0.34 * r}L${0.65 * r} ${0.89 * r}H${-0.65 * r}L${-1.05 * r} ${-0.34 * r}z`,
    P: (r) => `M${-0.4 * r} ${-1.2 * r}h${0.8 * r}v${0.8 * r}h${0.8 * r}v${0.8 * r}h${-0.8 * r}v${0.8 * r}h${-0.8 * r}v${-0.8 * r}h${-0.8 * r}v${-0.8 * r}h${0.8 * r}z`,
  };
  const marker = (shape, x, y, r, attributes) => draw("path", { d: (SHAPES[shape] || SHAPES.o)(r), transform: `translate(${x} ${y})`, ...attributes });
  const swatch = (row) => draw("svg", { class: "swatch", width: 26, height: 12, viewBox: "0 0 26 12", "aria-hidden": "true" },
    draw("path", { d: "M0 6H26", stroke: row.colour, "stroke-width": 2, "stroke-dasharray": row.dash }),
    marker(row.marker, 13, 6, 4, { fill: row.colour }));

  // ---- focus: one row, perhaps at one budget, in every chart, table and picture ------------------------------------
  let hover = null;
  function focus(number, i = null, by = "") {
    hover = number === null ? null : { number, i };
    const pinned = list(state.pin);
    const on = new Set(shown.filter((n) => pinned.includes(rows[n].name)));
    if (hover) on.add(number);
    for (const node of document.querySelectorAll("[data-row]")) node.classList.toggle("on", on.has(Number(node.dataset.row)));
    for (const node of document.querySelectorAll("svg.rows")) node.classList.toggle("focus", on.size > 0);
    for (const ring of document.querySelectorAll("svg .ring")) {
      const place = hover && known(i) && ring.places ? ring.places.get(`${number},${i}`) : null;
      ring.setAttribute("visibility", place ? "visible" : "hidden");
      if (place) ring.setAttribute("transform", `translate(${place[0]} ${place[1]})`);
    }
    if (hover && known(i) && by !== "player" && playing && playing.number === number) playing.to(i);
  }
  const pin = (number) => choose({ pin: toggled(state.pin, rows[number].name) }, () => { legend(); focus(null); });
  const hovers = (number) => ({ onpointerenter: () => focus(number), onpointerleave: () => focus(null), onfocus: () => focus(number), onblur: () => focus(null) });

  // ---- controls ----------------------------------------------------------------------------------------------------
  const select = (label, options, now, on) => el("label", {}, label,
    el("select", { onchange: (event) => on(event.target.value) },
      Object.entries(options).map(([key, text]) => el("option", { value: key, selected: key === now }, text))));
  const check = (label, on, change) => el("label", {}, el("input", { type: "checkbox", checked: on, onchange: change }), label);
  const segments = (label, options, now, on) => el("fieldset", { class: "seg" }, el("legend", {}, label),
    Object.entries(options).map(([key, text]) => el("button", { type: "button", "aria-pressed": String(key === now), onclick: () => on(key) }, text)));

  function controls() {
    const bar = byId("controls");
    if (!bar.firstChild) {
      bar.hidden = false;
      bar.setAttribute("role", "region");
      bar.setAttribute("aria-label", "What is shown");
      let waiting;
      const search = el("input", { type: "search", placeholder: "name or setting", "aria-label": "Search contenders", value: state.q, size: 14,
        oninput: (event) => { clearTimeout(waiting); waiting = setTimeout(() => choose({ q: event.target.value }), 120); } });
      bar.append(el("div", {}, el("span", { id: "first" }), search, el("span", { id: "rest" })));
      for (const name of ["first", "rest"]) byId(name).className = "tools";
    }
    const scores = Object.fromEntries(Object.entries(SCORES).filter(([key]) => key !== "decoupled" || rows.some((row) => row.at.decoupled)));
    const many = DATA.sections.length > 1 && select("", Object.fromEntries(DATA.sections.map((one, n) => [String(n), `${one.task} · ${one.suite}`])), state.s,
      (s) => choose({ s, at: "", cols: "", sort: "", who: "", step: "", pin: "" }));
    if (many) many.querySelector("select").setAttribute("aria-label", "Task");
    swap("first", [many, segments("Scored by", scores, state.by, (by) => choose({ by })),
      select("at most", Object.fromEntries(budgets.map((one) => [String(one), share(one)])), String(budgets[at()]), (text) => choose({ at: text }))]);
    const hidden = list(state.hide);
    const present = Object.keys(SHORT).filter((track) => rows.some((row) => row.track === track));
    swap("rest", [...present.map((track) => check(SHORT[track], !hidden.includes(track), () => choose({ hide: toggled(state.hide, track) }))),
      el("button", { type: "button", class: "link", onclick: (event) => copy(location.href, event.currentTarget) }, "Copy link")]);
  }
  // New contents, and the focus where it was: at the control of the same place.
  function swap(name, children) {
    const box = byId(name);
    const inner = [...box.querySelectorAll("button, select, input, summary")];
    const index = inner.indexOf(document.activeElement);
    const open = [...box.querySelectorAll("details")].map((one) => one.open);
    const left = [...box.querySelectorAll(".wide")].map((one) => one.scrollLeft);
    box.replaceChildren(...children.flat(Infinity).filter(Boolean));
    [...box.querySelectorAll("details")].forEach((one, n) => { one.open = Boolean(open[n]); });
    [...box.querySelectorAll(".wide")].forEach((one, n) => { one.scrollLeft = left[n] || 0; });
    if (index >= 0) {
      const now = [...box.querySelectorAll("button, select, input, summary")][index];
      if (now) now.focus({ preventScroll: true });
    }
  }
  async function copy(text, button) {
    const before = button.textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      const field = el("textarea", { readonly: true, class: "hidden" }, text);
      document.body.append(field);
      field.select();
      button.textContent = document.execCommand("copy") ? "Copied" : "Select and copy it by hand";
      field.remove();
      button.focus();
    }
    setTimeout(() => { button.textContent = before; }, 1500);
  }

  // ---- the chart ---------------------------------------------------------------------------------------------------
  function points(row, by = state.by) {
    const found = [];
    budgets.forEach((budget, i) => {
      const y = value(row, i, by);
      const x = state.x === "budget" ? budget : row.at[state.x] ? row.at[state.x][i] : null;
      if (known(y) && known(x) && (x > 0 || state.scale === "linear")) found.push({ i, x, y, low: row.at[`${by}_low`]?.[i], high: row.at[`${by}_high`]?.[i] });
    });
    return found;
  }
  function scales(width, height, box, domain, log) {
    const [left, right, top, bottom] = box;
    const inner = width - left - right;
    const along = log ? (x) => (Math.log(x) - Math.log(domain[0])) / (Math.log(domain[1]) - Math.log(domain[0])) : (x) => (x - domain[0]) / (domain[1] - domain[0]);
    const round = (number) => Math.round(number * 10) / 10;
    return { x: (x) => round(left + inner * along(x)), y: (y) => round(top + (1 - y) * (height - top - bottom)) };
  }
  const hollow = (point) => (state.x === "delivered" ? point.delivered : point.touched);
  function lines() {
    const few = shown.filter((n) => n !== section.ceiling && points(rows[n]).length);
    const pinned = list(state.pin);
    return few.filter((n, place) => place < MOST.lines || pinned.includes(rows[n].name));
  }

  function chart() {
    const tools = el("div", { class: "tools" },
      select("x axis", XS, state.x, (x) => choose({ x }, chart)),
      segments("Axis", { log: "log", linear: "linear" }, state.scale, (scale) => choose({ scale }, chart)),
      section.published.length > 0 && check("published", state.told === "1", () => choose({ told: state.told === "1" ? "" : "1" }, chart)),
      el("span", { class: "right" }, el("button", { type: "button", class: "link", onclick: () => saveSvg("curves") }, "SVG"),
        el("button", { type: "button", class: "link", onclick: () => savePng("curves") }, "PNG")));
    const plot = el("div", { class: "plot", id: "plot" });
    swap("chart", [tools, el("div", { class: "split" }, plot, el("div", { id: "legend", class: "legend" })),
      el("p", { class: "hidden", id: "spoken", "aria-live": "polite" })]);
    legend();
    plotCurves(plot);
    focus(null);
  }

  function plotCurves(plot) {
    const width = Math.max(300, plot.clientWidth || 800), height = width < 520 ? 340 : 470;
    const some = lines();
    const told = state.told === "1" && state.x !== "budget" && state.x !== "seen" ? section.published : [];
    const log = state.scale === "log";
    const all = [...some.flatMap((n) => points(rows[n]).map((point) => point.x)), ...told.map(hollow)];
    const least = log ? Math.min(...all, 0.5) * 0.88 : 0, most = 1.02;
    const box = [38, 14, 28, 46];
    const to = scales(width, height, box, [least, most], log);
    const svg = draw("svg", { class: `rows${some.filter((n) => rows[n].track !== "reference").length > 6 ? " many" : ""}`, id: "curves-svg", viewBox: `0 0 ${width} ${height}`, width, height, tabindex: 0, role: "application",
      "aria-roledescription": "chart", "aria-label": `${section.task}: accuracy by the ${SCORES[state.by].toLowerCase()} over the share of the image. Arrow keys go through budgets and contenders; the tables below have the same numbers.` });
    for (let n = 0; n <= 5; n += 1)
      svg.append(draw("path", { class: n ? "rule" : "axis", d: `M${box[0]} ${to.y(n / 5)}H${width - box[1]}` }), draw("text", { x: box[0] - 7, y: to.y(n / 5) + 4, "text-anchor": "end" }, `${20 * n}`));
    svg.append(draw("text", { class: "title", x: box[0] + 3, y: 12 }, "% right"));
    let last = -99;
    for (const tick of log ? DATA.grid : [0, 0.2, 0.4, 0.6, 0.8, 1]) {
      if (tick < least && log) continue;
      const x = to.x(tick);
      svg.append(draw("path", { class: "axis", d: `M${x} ${to.y(0)}v4` }));
      if (x - last > 30) svg.append(draw("text", { x, y: to.y(0) + 18, "text-anchor": x > width - 30 ? "end" : "middle" }, `${Number((100 * tick).toPrecision(4))}`));
      if (x - last > 30) last = x;
    }
    svg.append(draw("text", { class: "title", x: width - box[1], y: height - 8, "text-anchor": "end" }, `% of the image ${XS[state.x]}`));
    const level = (y, text, left, down) => svg.append(draw("path", { class: "ref", d: `M${box[0]} ${to.y(y)}H${width - box[1]}` }),
      draw("text", { class: "title halo", x: left ? box[0] + 6 : width - box[1] - 8, y: to.y(y) + down, "text-anchor": left ? "start" : "end" }, text));
    if (section.ceiling !== null && shown.includes(section.ceiling)) {
      const whole = value(rows[section.ceiling], budgets.length - 1);
      if (known(whole)) level(whole, `whole image, ${per(whole)}`, true, 15);
    }
    level(section.chance, "chance", false, 14);
    const places = new Map();
    const ends = [];
    const order = [...some].sort((a, b) => (rows[b].track === "reference") - (rows[a].track === "reference"));
    for (const n of order) {
      const row = rows[n], path = points(row);
      const group = draw("g", { class: `row${row.track === "reference" ? " floor" : ""}`, "data-row": n });
      const limits = path.filter((point) => known(point.low));
      if (limits.length > 1) group.append(draw("path", { class: "band", fill: row.colour,
        d: `M${limits.map((point) => `${to.x(point.x)} ${to.y(point.high)}`).join("L")}L${[...limits].reverse().map((point) => `${to.x(point.x)} ${to.y(point.low)}`).join("L")}z` }));
      group.append(draw("path", { class: "line", stroke: row.colour, "stroke-dasharray": row.dash, d: `M${path.map((point) => `${to.x(point.x)} ${to.y(point.y)}`).join("L")}` }));
      for (const point of path) {
        places.set(`${n},${point.i}`, [to.x(point.x), to.y(point.y)]);
        if (path.length === 1 && known(point.low)) group.append(draw("path", { stroke: row.colour, d: `M${to.x(point.x)} ${to.y(point.low)}V${to.y(point.high)}` }));
        group.append(marker(row.marker, to.x(point.x), to.y(point.y), row.track === "reference" ? 3 : 4.4, { fill: row.colour, class: "paper" }));
      }
      svg.append(group);
      if (row.track !== "reference") ends.push({ n, x: to.x(path[path.length - 1].x), y: to.y(path[path.length - 1].y) });
    }
    if (ends.length <= 8) label(svg, ends, width);
    told.forEach((point, n) => svg.append(marker(SAW[point.saw][0], to.x(hollow(point)), to.y(point.accuracy), 4.6, { class: "told", "data-told": n })));
    const ring = draw("path", { class: "ring", d: SHAPES.o(9), visibility: "hidden" });
    ring.places = places;
    svg.append(ring);
    const tip = el("div", { class: "tip", hidden: true });
    plot.replaceChildren(svg, tip);

    const show = (number, i) => {
      focus(number, i);
      const place = places.get(`${number},${i}`);
      tip.replaceChildren(...about(number, i));
      tip.hidden = false;
      settle(tip, plot, place, width);
      byId("spoken").textContent = tip.innerText.replace(/\n/g, ". ");
    };
    const leave = () => { tip.hidden = true; focus(null); };
    svg.addEventListener("pointermove", (event) => {
      const bounds = svg.getBoundingClientRect();
      const x = (event.clientX - bounds.left) * (width / bounds.width), y = (event.clientY - bounds.top) * (height / bounds.height);
      let best = null, nearest = 42 ** 2;
      for (const [key, place] of places) {
        const distance = (place[0] - x) ** 2 + (place[1] - y) ** 2;
        if (distance < nearest) [best, nearest] = [key, distance];
      }
      let paper = null;
      told.forEach((point) => {
        const place = [to.x(hollow(point)), to.y(point.accuracy)];
        const distance = (place[0] - x) ** 2 + (place[1] - y) ** 2;
        if (distance < Math.min(nearest, 144)) [paper, nearest] = [[point, place], distance];
      });
      if (paper) {
        focus(null);
        tip.replaceChildren(el("b", {}, paper[0].source), el("span", {}, `${per(paper[0].accuracy)} % right, ${paper[0].at}`), el("span", {}, paper[0].look), el("span", {}, `allowed to see: ${SAW[paper[0].saw][1]}; touched at most ${share(paper[0].touched)}`));
        tip.hidden = false;
        settle(tip, plot, paper[1], width);
      } else if (best) show(...best.split(",").map(Number));
      else leave();
    });
    svg.addEventListener("pointerleave", leave);
    svg.addEventListener("blur", leave);
    svg.addEventListener("click", () => { if (hover) pin(hover.number); });
    svg.addEventListener("keydown", (event) => {
      const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      if (event.key === "Enter" && hover) pin(hover.number);
      if (event.key === "Escape") leave();
      if (!steps || !some.length) return;
      event.preventDefault();
      let place = hover ? some.indexOf(hover.number) : -1;
      place = place < 0 ? 0 : (place + steps[0] + some.length) % some.length;
      const path = points(rows[some[place]]);
      let step = hover ? path.findIndex((point) => point.i >= hover.i) : 0;
      step = Math.max(0, Math.min(path.length - 1, (step < 0 ? path.length - 1 : step) + (hover ? steps[1] : 0)));
      show(some[place], path[step].i);
    });
  }
  // Names at the ends of lines, moved apart; a name that has no room on the right stands on the left of its end.
  function label(svg, ends, width) {
    ends.sort((a, b) => a.y - b.y);
    let floor = -99;
    for (const end of ends) {
      const name = rows[end.n].name, wide = 7 * name.length + 14;
      if (wide > width * 0.4) continue;
      const left = end.x + wide > width;
      const y = Math.max(end.y + (left ? -9 : 4), floor + 15);
      if (Math.abs(y - end.y) > 26) continue; // the legend has it
      floor = y;
      svg.append(draw("g", { class: "row", "data-row": end.n }, draw("text", { class: "name", x: left ? end.x - 2 : end.x + 9, y, "text-anchor": left ? "end" : "start", ink: rows[end.n].colour }, name)));
    }
  }
  function settle(tip, plot, place, width) {
    const scale = plot.clientWidth / width, x = place[0] * scale, y = place[1] * scale;
    tip.style.left = `${Math.max(0, x + 16 + tip.offsetWidth > plot.clientWidth ? x - tip.offsetWidth - 16 : x + 16)}px`;
    tip.style.top = `${Math.max(0, y - 20)}px`;
  }
  function about(number, i) {
    const row = rows[number], by = state.by, y = value(row, i);
    const said = [el("b", {}, row.name)];
    const used = row.at.touched?.[i];
    said.push(el("span", {}, `at most ${share(budgets[i])}${known(used) ? `; touched ${per(used)} % on average` : ""}`));
    const low = row.at[`${by}_low`]?.[i];
    said.push(el("span", {}, `${per(y)} % right${known(low) ? `, interval ${per(low)} to ${per(row.at[`${by}_high`][i])}` : ""}`));
    const floor = row.at[`${by}_floor`]?.[i], more = row.at[`${by}_above_floor`]?.[i];
    if (known(floor) && known(more)) {
      const sign = MARK[row.sign[by][i]];
      said.push(el("span", {}, `${sign ? `${sign[0]} ` : ""}${signed(more)} against ${rows[floor].name}, ${signed(row.at[`${by}_above_floor_low`][i])} to ${signed(row.at[`${by}_above_floor_high`][i])}`));
    }
    return said;
  }
  function legend() {
    if (!byId("legend")) return;
    const some = lines(), pinned = list(state.pin), parts = [];
    for (const track of Object.keys(SHORT)) {
      const here = some.filter((n) => rows[n].track === track);
      if (!here.length) continue;
      parts.push(el("h3", {}, track === "reference" ? "Floors" : SHORT[track]));
      for (const n of here) parts.push(el("button", { type: "button", "data-row": n, "aria-pressed": String(pinned.includes(rows[n].name)), onclick: () => pin(n), ...hovers(n) }, swatch(rows[n]), el("span", {}, rows[n].name)));
    }
    const all = shown.filter((n) => n !== section.ceiling && points(rows[n]).length).length;
    if (all > some.length) parts.push(el("p", { class: "note" }, `The best ${some.length} of ${all}; search to see others.`));
    const saw = state.told === "1" ? [...new Set(section.published.map((point) => point.saw))] : [];
    if (saw.length) parts.push(el("h3", {}, "Published, by what it was allowed to see; across: touched at most"));
    for (const one of saw) parts.push(el("span", { class: "published" }, draw("svg", { width: 14, height: 14, viewBox: "-7 -7 14 14", "aria-hidden": "true" }, marker(SAW[one][0], 0, 0, 4.6, { class: "told" })), SAW[one][1]));
    swap("legend", parts);
  }

  // ---- tables ------------------------------------------------------------------------------------------------------
  function columns() {
    const of = (key, text, title, read, print, usual = false) => ({ key, text, title, value: read, print, usual });
    const whole = (name) => (row) => { const found = row.whole[name]; return known(found) ? found : null; };
    const sum = (name) => (row) => { const parts = ["selector", "predictor"].map((who) => row.whole[`${who}_${name}`]); return parts.some(known) ? parts.reduce((a, b) => a + (b || 0), 0) : null; };
    const per95 = (found) => (found === null ? "·" : found === "never" ? "never" : share(found));
    const by = state.by === "decoupled" ? "judge" : state.by;
    return [
      ...budgets.map((budget, i) => ({ ...of(`b${budget}`, share(budget), `accuracy with at most ${share(budget)} touched`, (row) => value(row, i), null, rows.some((row) => row.track !== "reference" && known(value(row, i))) || budget === 1), budget: i })),
      of("acc95", "ACC95", "smallest budget from which accuracy stays at 95 % of that on the whole image", whole(`${by}_acc95`), per95, true),
      of("enough", "enough for 50 %", "from this budget on half of the images are right, and stay so", whole(`${by}_sufficient_median`), per95),
      of("late", "enough for 90 %", "from this budget on 90 % of the images are right, and stay so", whole(`${by}_sufficient_p90`), per95),
      of("area", "area", "mean accuracy over the logarithm of the budget, over the budgets that are reached", whole(`${by}_area`), (found) => per(found)),
      of("used", `touched at ${share(budgets[at()])}`, "mean share of the image touched", (row) => row.at.touched?.[at()] ?? null, (found) => per(found)),
      of("pointing", "pointing", "how often the first chosen look lies on the object", whole("pointing"), (found) => per(found)),
      of("flops", "FLOPs", "floating-point operations of selector and predictor, an image", sum("flops"), count),
      of("ms", "ms", "milliseconds of selector and predictor, an image", sum("ms"), count),
      of("training_seconds", "training, s", "seconds of a training", whole("training_seconds"), count),
      of("training_images", "images drawn", "images drawn in training", whole("training_images"), count),
      of("env_steps", "env steps", "steps of the environment in training", whole("env_steps"), count),
      of("parameters", "parameters", "of all networks", whole("parameters"), count),
      of("seeds", "seeds", "runs that differ in the seed alone", (row) => row.seeds.length, String, true),
      of("audit", "audit", "the worst that audits of its runs found", (row) => row.verdict ?? (row.track === "reference" ? null : "none yet"), (found) => found || "·", true),
      of("supervision", "learns from", "beside images", (row) => row.supervision, (found) => found || "·"),
      of("note", "note", "", (row) => row.note, (found) => found || "", false),
    ].filter((column) => column.budget !== undefined || rows.some((row) => known(column.value(row))));
  }
  const chosen = () => (state.cols ? list(state.cols) : columns().filter((column) => column.usual).map((column) => column.key));
  const rank = (found) => (found === "never" ? Infinity : found);

  function sorted(numbers) {
    const [key, down] = [state.sort.replace("-", ""), state.sort.startsWith("-")];
    if (key === "name") return [...numbers].sort((a, b) => (down ? -1 : 1) * rows[a].name.localeCompare(rows[b].name));
    const column = columns().find((one) => one.key === key);
    if (!column) return numbers;
    return [...numbers].sort((a, b) => {
      const [x, y] = [column.value(rows[a]), column.value(rows[b])];
      if (!known(x) || !known(y)) return known(y) - known(x); // what has no value stands last
      return (down ? -1 : 1) * (typeof x === "string" && x !== "never" ? x.localeCompare(y) : rank(x) - rank(y)) || a - b;
    });
  }

  const unfolded = new Set();
  let every = false;
  function grid() {
    const all = columns(), keys = chosen(), some = all.filter((column) => keys.includes(column.key));
    const tools = el("div", { class: "tools" },
      el("details", { class: "pick" }, el("summary", {}, "Columns"), el("div", {}, all.map((column) => check(column.text, keys.includes(column.key), () => choose({ cols: toggled(keys.join("|"), column.key) || "name" }))))),
      check("only rows complete on these", state.only === "1", () => choose({ only: state.only ? "" : "1" })),
      check("shade", state.heat === "1", () => choose({ heat: state.heat ? "" : "1" }, grid)),
      el("span", { class: "right" }, el("button", { type: "button", class: "link", onclick: () => save("leaderboard.csv", "text/csv", csv(some)) }, "CSV"),
        el("button", { type: "button", class: "link", onclick: () => save("leaderboard.tex", "text/x-tex", latex(some)) }, "LaTeX")));
    const parts = [tools];
    for (const track of Object.keys(TRACKS)) {
      const numbers = shown.filter((n) => rows[n].track === track);
      if (!rows.some((row) => row.track === track)) continue;
      parts.push(el("div", { class: "wide", tabindex: 0, role: "region", "aria-label": TRACKS[track] }, table(track, sorted(numbers), some)));
      if (!numbers.length) parts.push(el("p", { class: "empty" }, "None of its rows is shown by these filters."));
    }
    swap("grid", parts);
  }
  function table(track, numbers, some) {
    const cut = every ? numbers : numbers.slice(0, MOST.rows);
    const next = (key) => (state.sort === `-${key}` ? key : state.sort === key ? "" : key === "name" ? "name" : `-${key}`);
    const way = (key) => (state.sort === key ? "ascending" : state.sort === `-${key}` ? "descending" : null);
    const head = (key, text, title, num) => el("th", { scope: "col", class: num ? "num" : null, "aria-sort": way(key) },
      el("button", { type: "button", title, onclick: () => choose({ sort: next(key) }, grid) }, text));
    const body = el("tbody", {}, cut.map((n) => line(n, some)));
    if (cut.length < numbers.length) body.append(el("tr", {}, el("td", { colspan: some.length + 1 }, el("button", { type: "button", class: "link", onclick: () => { every = true; grid(); } }, `Show all ${numbers.length} rows`))));
    const floors = section.floors[state.by];
    return el("table", { class: `results${state.heat ? " heat" : ""}`, "data-track": track }, el("caption", {}, el("span", {}, TRACKS[track])),
      el("thead", {}, el("tr", {}, head("name", "contender", null, false), some.map((column) => head(column.key, column.text, column.title, column.key !== "audit" && column.key !== "note" && column.key !== "supervision")))),
      body,
      track !== "reference" && floors && el("tfoot", {}, el("tr", {}, el("th", { scope: "row" }, "strongest floor"), some.map((column) => {
        const floor = column.budget === undefined ? null : floors[column.budget];
        return el("td", { class: "num" }, floor ? [per(floor.accuracy), el("small", {}, rows[floor.row].name)] : column.budget === undefined ? "" : "·");
      }))));
  }
  function line(n, some) {
    const row = rows[n], open = unfolded.has(row.name);
    const button = el("button", { type: "button", class: "who", "aria-expanded": String(open), title: "settings, seeds, audit, command", onfocus: () => focus(n), onblur: () => focus(null),
      onclick: () => { if (!unfolded.delete(row.name)) unfolded.add(row.name); grid(); } }, swatch(row), el("span", {}, row.name + (row.currency === "delivered" ? "†" : "")));
    const parts = [el("tr", { "data-row": n, onpointerenter: () => focus(n), onpointerleave: () => focus(null) }, el("th", { scope: "row" }, button), some.map((column) => cell(row, column)))];
    if (open) parts.push(el("tr", { class: "about" }, el("td", { colspan: some.length + 1 }, facts(row))));
    return parts;
  }
  function cell(row, column) {
    const found = column.value(row);
    if (column.budget === undefined) return el("td", { class: ["audit", "supervision"].includes(column.key) ? null : column.key === "note" ? "note" : "num" }, column.print(found));
    if (!known(found)) return el("td", { class: "num" }, "·");
    const i = column.budget, by = state.by, low = row.at[`${by}_low`]?.[i], high = row.at[`${by}_high`]?.[i];
    const sign = MARK[row.sign[by]?.[i]];
    const given = (row.at.unchosen?.[i] || 0) > 0.5 && row.track !== "reference";
    return el("td", { class: `num ${sign ? sign[1] : ""} ${state.heat ? `h${Math.min(9, Math.floor(found * 10))}` : ""}`, title: known(low) ? `95 % interval ${per(low)} to ${per(high)}` : null },
      el("span", { class: "mean" }, per(found)), known(low) && el("span", { class: "reach" }, `± ${per(Math.max(high - found, found - low))}`),
      given && el("span", { title: "more than half of the images show only what is given without a choice" }, "°"),
      row.track !== "reference" && el("span", { class: "mark" }, sign ? sign[0] : "", sign && el("span", { class: "hidden" }, sign[2])));
  }
  function facts(row) {
    const fact = (name, ...what) => [el("dt", {}, name), el("dd", {}, ...what)];
    return el("dl", { class: "facts" },
      fact("settings", row.settings.length ? row.settings.map(([key, text, changed]) => el("code", { class: `set${changed ? " changed" : ""}`, title: changed ? "not the default" : null }, `${key}=${text}`)) : "none"),
      fact("seeds", `${row.seeds.join(", ")}${row.failed ? `; ${row.failed} did not end well and count as chance` : ""}`),
      fact("audit", row.verdict || "none yet"), row.note && fact("note", row.note),
      fact("sees", `${row.sensor}; ${row.supervision ? `learns from ${row.supervision}` : ""}`),
      fact("code", `version ${row.version}, source ${row.source || "unknown"}; ${row.software}`),
      fact("again", el("span", { class: "command" }, el("code", {}, row.command),
        el("button", { type: "button", "aria-label": `Copy the command that runs ${row.name} again`, onclick: (event) => copy(row.command, event.currentTarget) }, "Copy"))));
  }

  // ---- downloads ---------------------------------------------------------------------------------------------------
  function save(name, type, content) {
    const address = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
    const link = el("a", { href: address, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }
  const onScreen = () => Object.keys(TRACKS).flatMap((track) => sorted(shown.filter((n) => rows[n].track === track)));
  const quoted = (text) => (/[",\n]/.test(String(text)) ? `"${String(text).replace(/"/g, '""')}"` : String(text));
  function csv(some) {
    const head = ["task", "track", "contender", ...some.flatMap((column) => (column.budget === undefined ? [column.key] : [`${state.by} ${budgets[column.budget]}`, "low", "high"]))];
    const body = onScreen().map((n) => {
      const row = rows[n];
      const cells = some.flatMap((column) => {
        const found = column.value(row), i = column.budget;
        if (i === undefined) return [found === null ? "" : row.csv[column.key] ?? found];
        return [found ?? "", row.at[`${state.by}_low`]?.[i] ?? "", row.at[`${state.by}_high`]?.[i] ?? ""];
      });
      return [section.task, row.track, row.csv.name, ...cells];
    });
    return [head, ...body].map((cells) => cells.map(quoted).join(",")).join("\n") + "\n";
  }
  function latex(some) {
    const kept = some.filter((column) => column.key !== "note" && column.key !== "supervision");
    const plain = (text) => String(text).replace(/[%_&#$]/g, "\\$&").replace("·", "--");
    const out = [`% ${section.task}, ${SCORES[state.by]}; bold: above the strongest floor, italic: below it`, `\\begin{tabular}{l${"r".repeat(kept.length)}}`, "\\toprule",
      ["contender", ...kept.map((column) => plain(column.text))].join(" & ") + " \\\\"];
    for (const track of Object.keys(TRACKS)) {
      const numbers = sorted(shown.filter((n) => rows[n].track === track));
      if (!numbers.length) continue;
      out.push("\\midrule", `\\multicolumn{${kept.length + 1}}{l}{\\emph{${SHORT[track]}}} \\\\`);
      for (const n of numbers) {
        const row = rows[n];
        const cells = kept.map((column) => {
          const found = column.value(row);
          if (column.budget === undefined) return plain(column.print(found));
          if (!known(found)) return "--";
          const high = row.at[`${state.by}_high`]?.[column.budget], low = row.at[`${state.by}_low`]?.[column.budget];
          const text = per(found) + (known(low) ? ` $\\pm$ ${per(Math.max(high - found, found - low))}` : "");
          const sign = row.sign[state.by]?.[column.budget];
          return sign === 1 ? `\\textbf{${text}}` : sign === -1 ? `\\textit{${text}}` : text;
        });
        out.push([row.latex, ...cells].join(" & ") + " \\\\");
      }
    }
    return [...out, "\\bottomrule", "\\end{tabular}", ""].join("\n");
  }
  // A chart as a file of its own: what the page's styles say, written into each element.
  function standalone(name) {
    const svg = byId(`${name}-svg`), copied = svg.cloneNode(true);
    const told = ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font-size", "font-family", "font-weight", "text-anchor", "stroke-linejoin", "paint-order"];
    const pairs = [svg, ...svg.querySelectorAll("*")].map((node, n) => [node, n ? copied.querySelectorAll("*")[n - 1] : copied]);
    for (const [from, into] of pairs) {
      const style = getComputedStyle(from);
      for (const key of told) into.setAttribute(key, style.getPropertyValue(key));
    }
    copied.querySelectorAll(".ring").forEach((node) => node.remove());
    copied.setAttribute("xmlns", SVG);
    const { width, height } = svg.viewBox.baseVal;
    copied.insertBefore(draw("rect", { width, height, fill: getComputedStyle(document.body).backgroundColor }), copied.firstChild);
    return { text: new XMLSerializer().serializeToString(copied), width, height };
  }
  const saveSvg = (name) => save(`${name}.svg`, "image/svg+xml", standalone(name).text);
  function savePng(name) {
    const { text, width, height } = standalone(name);
    const image = new Image();
    image.onload = () => {
      const canvas = el("canvas", { width: 2 * width, height: 2 * height });
      canvas.getContext("2d").drawImage(image, 0, 0, 2 * width, 2 * height);
      canvas.toBlob((blob) => save(`${name}.png`, "image/png", blob));
    };
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  }

  // ---- cost against accuracy ---------------------------------------------------------------------------------------
  function price(row) {
    if (state.cost !== "flops" && state.cost !== "ms") return row.whole[state.cost] ?? null;
    const parts = ["selector", "predictor"].map((who) => row.whole[`${who}_${state.cost}`]);
    return parts.some(known) ? parts.reduce((a, b) => a + (b || 0), 0) : null;
  }
  function cost() {
    const i = at();
    const some = shown.filter((n) => price(rows[n]) > 0 && known(value(rows[n], i)));
    byId("costs").hidden = !rows.some((row) => price(row) > 0);
    if (byId("costs").hidden && state.cost === USUAL.cost) return;
    byId("costs").hidden = false;
    const tools = el("div", { class: "tools" }, select("cost", COSTS, state.cost, (text) => choose({ cost: text }, cost)),
      el("span", { class: "note" }, `accuracy with at most ${share(budgets[i])}; the line is the Pareto front of what is shown`),
      el("span", { class: "right" }, el("button", { type: "button", class: "link", onclick: () => saveSvg("cost") }, "SVG"), el("button", { type: "button", class: "link", onclick: () => savePng("cost") }, "PNG")));
    const plot = el("div", { class: "plot" });
    swap("cost", [tools, plot]);
    if (!some.length) return plot.append(el("p", { class: "empty" }, "None of the rows shown has this cost and this budget."));
    const width = Math.max(300, plot.clientWidth || 800), height = width < 520 ? 320 : 400, box = [38, 18, 20, 46];
    const prices = some.map((n) => price(rows[n]));
    const [least, most] = [Math.min(...prices) * 0.7, Math.max(...prices) * (width < 520 ? 3 : 1.8)];
    const to = scales(width, height, box, [least, most], true);
    const svg = draw("svg", { class: "rows", id: "cost-svg", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `${COSTS[state.cost]} against accuracy with at most ${share(budgets[i])}; the tables have the numbers` });
    for (let n = 0; n <= 5; n += 1) svg.append(draw("path", { class: n ? "rule" : "axis", d: `M${box[0]} ${to.y(n / 5)}H${width - box[1]}` }), draw("text", { x: box[0] - 7, y: to.y(n / 5) + 4, "text-anchor": "end" }, `${20 * n}`));
    const decades = Math.log10(most / least);
    for (let power = Math.floor(Math.log10(least)); power <= Math.log10(most); power += 1)
      for (const lead of decades < 1.5 ? [1, 2, 5] : decades < 3 ? [1, 3] : [1]) {
        const tick = lead * 10 ** power;
        if (tick >= least && tick <= most) svg.append(draw("path", { class: "axis", d: `M${to.x(tick)} ${to.y(0)}v4` }), draw("text", { x: to.x(tick), y: to.y(0) + 18, "text-anchor": "middle" }, count(tick)));
      }
    svg.append(draw("text", { class: "title", x: width - box[1], y: height - 8, "text-anchor": "end" }, COSTS[state.cost]), draw("text", { class: "title", x: box[0] + 3, y: to.y(1) - 5 }, "% right"));
    const front = pareto(some, i);
    if (front.length) svg.append(draw("path", { class: "front", d: `M${front.map((n, k) => `${k ? `H${to.x(price(rows[n]))}V` : `${to.x(price(rows[n]))} `}${to.y(value(rows[n], i))}`).join("")}H${width - box[1]}` }));
    const taken = [];
    for (const n of [...some].sort((a, b) => value(rows[b], i) - value(rows[a], i))) {
      const row = rows[n], x = to.x(price(row)), y = to.y(value(row, i)), low = row.at[`${state.by}_low`]?.[i];
      const group = draw("g", { class: "row", "data-row": n, ...hovers(n), onclick: () => pin(n) }, draw("title", {}, `${row.name}: ${per(value(row, i))} %, ${count(price(row))} ${COSTS[state.cost]}${front.includes(n) ? "; on the front" : ""}`));
      if (known(low)) group.append(draw("path", { stroke: row.colour, opacity: 0.5, d: `M${x} ${to.y(low)}V${to.y(row.at[`${state.by}_high`][i])}` }));
      group.append(marker(row.marker, x, y, front.includes(n) ? 6.4 : 5, { fill: row.track === "reference" ? "none" : row.colour, stroke: row.colour, "stroke-width": 1.6 }));
      if (some.length <= 30) {
        const long = 6.6 * row.name.length, left = x + 12 + long > width - 4;
        const from = left ? x - 11 - long : x + 11;
        let down = y + 4;
        const covered = () => taken.some(([a, b, c]) => Math.abs(down - c) < 13 && from < b && from + long > a);
        for (let tries = 0; tries < 4 && covered(); tries += 1) down += 13;
        if (!covered() && down < to.y(0) - 4) { // a name that is far from its mark would be taken for another's
          taken.push([from, from + long, down]);
          group.append(draw("text", { class: "halo", x: left ? x - 11 : x + 11, y: down, "text-anchor": left ? "end" : "start", "font-weight": front.includes(n) ? 600 : 400 }, row.name));
        }
      }
      svg.append(group);
    }
    plot.append(svg);
    focus(null);
  }
  function pareto(numbers, i) {
    const front = [];
    for (const n of [...numbers].sort((a, b) => price(rows[a]) - price(rows[b]) || value(rows[b], i) - value(rows[a], i)))
      if (!front.length || value(rows[n], i) > value(rows[front[front.length - 1]], i)) front.push(n);
    return front;
  }

  // ---- what was looked at ------------------------------------------------------------------------------------------
  // The pixels seen after a frame: its own mask, or all windows so far; as bytes, one a pixel.
  function seen(frames, step, single) {
    const [height, width] = section.looks.size;
    const mask = new Uint8Array(height * width);
    for (let n = single ? step : 0; n <= step; n += 1) {
      const frame = frames[n];
      if (frame.m) {
        const bits = atob(frame.m);
        for (let pixel = 0; pixel < mask.length; pixel += 1) mask[pixel] = (bits.charCodeAt(pixel >> 3) >> (7 - (pixel & 7))) & 1;
      } else for (let y = frame.x[0]; y < frame.x[2]; y += 1) mask.fill(1, y * width + frame.x[1], y * width + frame.x[3]);
    }
    return mask;
  }
  function unseen(mask) {
    const [height, width] = section.looks.size, path = [];
    for (let y = 0; y < height; y += 1)
      for (let x = 0; x < width; x += 1) {
        if (mask[y * width + x]) continue;
        const begin = x;
        while (x + 1 < width && !mask[y * width + x + 1]) x += 1;
        path.push(`M${begin} ${y}h${x + 1 - begin}v1h${begin - x - 1}z`);
      }
    return path.join("");
  }
  const middle = (box) => [(box[1] + box[3]) / 2, (box[0] + box[2]) / 2];
  function look(frames, step, single, attributes, big) {
    const [height, width] = section.looks.size, parts = [];
    const boxes = frames.slice(single ? step : 0, step + 1).filter((frame) => frame.x && frame.x[2] > frame.x[0]).map((frame) => frame.x);
    const fine = (size) => (size * Math.max(height, width)) / (big ? 400 : 72);
    boxes.forEach((box, n) => parts.push(draw("rect", { class: `pane${n === boxes.length - 1 ? " now" : ""}`, x: box[1], y: box[0], width: box[3] - box[1], height: box[2] - box[0], "stroke-width": fine(big ? 2 : 1) })));
    if (boxes.length > 1) parts.push(draw("polyline", { class: "way", points: boxes.map((box) => middle(box).join(",")).join(" "), "stroke-width": fine(big ? 2 : 1) }));
    if (big) boxes.forEach((box, n) => {
      const [x, y] = middle(box);
      parts.push(draw("circle", { class: `dot${n === boxes.length - 1 ? " now" : ""}`, cx: x, cy: y, r: fine(9) }), draw("text", { x, y: y + fine(4), "font-size": fine(11) }, `${n + 1}`));
    });
    return draw("svg", { viewBox: `0 0 ${width} ${height}`, ...attributes }, draw("image", { href: section.looks.images[attributes["data-image"]], width, height }),
      frames[step] && draw("path", { class: "dim", d: unseen(seen(frames, step, single)) }), parts);
  }
  function within(frames, limit) {
    let last = -1;
    frames.forEach((frame, n) => { if ((frame.b.length ? frame.b[0] : frame.f) <= limit + 1e-9) last = n; });
    return last;
  }
  function verdict(frame, image) {
    if (!frame || !known(frame.own)) return el("span", { class: "says" }, "·");
    const name = section.looks.classes[frame.own], right = name === section.looks.labels[image];
    return el("span", { class: `says ${right ? "right" : "wrong"}` }, `${right ? "✓" : "✗"} ${name}`, el("span", { class: "hidden" }, right ? " right" : " wrong"));
  }
  const seenRows = () => shown.filter((n) => section.looks.rows[n]);
  function gallery() {
    const some = seenRows().slice(0, MOST.looks), images = section.looks.images;
    if (!some.length) return swap("looks", Object.keys(section.looks.rows).length ? [el("p", { class: "empty" }, "None of the rows shown has pictures.")] : []);
    const limit = budgets[at()];
    const body = some.map((n) => el("tr", { "data-row": n }, el("th", { scope: "row" }, rows[n].name, section.looks.rows[n].coarse && el("small", {}, "sees it coarsely, drawn sharp here")), images.map((_, image) => {
      const { images: films, single } = section.looks.rows[n], frames = films[image], step = within(frames, limit);
      const name = `${rows[n].name}, image ${image + 1}, a ${section.looks.labels[image]}`;
      if (step < 0) return el("td", {}, el("span", { class: "says", title: "this budget is not reached" }, "·"));
      return el("td", {}, el("button", { type: "button", class: "pic", "aria-label": `${name}: watch it`, onclick: () => { choose({ who: rows[n].name, image: String(image), step: "" }, stage); byId("player").scrollIntoView({ block: "start" }); byId("screen").focus({ preventScroll: true }); } },
        look(frames, step, single, { class: "look", width: 72, height: 72, "aria-hidden": "true", "data-image": image }, false)), verdict(frames[step], image));
    })));
    swap("looks", [el("p", { class: "note" }, `At most ${share(limit)} of each image; what was not looked at is dimmed. ✓ right and ✗ wrong: what the contender's own predictor says of the part that is bright. Press a picture to watch it.`),
      el("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Gallery" }, el("table", { class: "looks" }, el("thead", {}, el("tr", {}, el("td", {}), section.looks.labels.map((text) => el("th", { scope: "col" }, text)))), el("tbody", {}, body)))]);
  }

  // ---- the player --------------------------------------------------------------------------------------------------
  let playing = null, clock = null;
  function stage() {
    const some = seenRows();
    byId("player").hidden = !some.length;
    clearInterval(clock);
    clock = null;
    playing = null;
    if (!some.length) return;
    const number = some.find((n) => rows[n].name === state.who) ?? some.find((n) => !section.looks.rows[n].single) ?? some[0];
    const image = Math.min(Number(state.image) || 0, section.looks.images.length - 1);
    const { images: films, single } = section.looks.rows[number], frames = films[image], row = rows[number];
    let step = state.step === "" ? frames.length - 1 : Math.max(0, Math.min(frames.length - 1, Number(state.step) || 0));
    const screen = el("div", { id: "screen", tabindex: 0, role: "group", "aria-label": "Scanpath: left and right arrow keys step, up and down change the image" });
    const telling = el("p", { class: "telling", role: "status" }), bars = el("div"), small = el("div", { class: "plot small" }), where = el("output");
    const show = (next, from = "") => {
      step = Math.max(0, Math.min(frames.length - 1, next));
      if (from !== "start") state.step = String(step);
      if (!from) writeAddress();
      const frame = frames[step];
      screen.replaceChildren(look(frames, step, single, { class: "screen", "data-image": image, role: "img", "aria-label": `${row.name}: image ${image + 1}, look ${step + 1} of ${frames.length}` }, true));
      where.textContent = frame ? (single ? `budget ${step + 1} of ${frames.length}` : `look ${step + 1} of ${frames.length}`) : "nothing looked at";
      telling.replaceChildren(...(frame ? sentence(frame, image, section.looks.rows[number].coarse) : ["It looked at nothing of this image."]));
      bars.replaceChildren(...belief(frame, image));
      if (frame && frame.b.length && !from) focus(number, budgets.indexOf(frame.b[frame.b.length - 1]), "player");
      markSmall(small, frame);
    };
    const stop = () => { clearInterval(clock); clock = null; play.textContent = "Play"; };
    const play = el("button", { type: "button", onclick: () => {
      if (clock) return stop();
      play.textContent = "Stop";
      show(step >= frames.length - 1 ? 0 : step + 1);
      clock = setInterval(() => (step >= frames.length - 1 ? stop() : show(step + 1)), 800);
    } }, "Play");
    const move = (name, label, go) => el("button", { type: "button", "aria-label": label, onclick: () => { stop(); show(go()); } }, name);
    const pictures = section.looks.images.map((_, n) => el("button", { type: "button", class: "pic", "aria-pressed": String(n === image), "aria-label": `Image ${n + 1}, a ${section.looks.labels[n]}`,
      onclick: () => choose({ who: row.name, image: String(n), step: "" }, stage) }, look([], 0, true, { class: "look", width: 40, height: 40, "aria-hidden": "true", "data-image": n }, false)));
    screen.addEventListener("keydown", (event) => {
      const next = { ArrowRight: step + 1, ArrowLeft: step - 1, Home: 0, End: frames.length - 1 }[event.key];
      const other = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (next === undefined && other === undefined) return;
      event.preventDefault();
      stop();
      if (next !== undefined) return show(next);
      const count = section.looks.images.length;
      choose({ who: row.name, image: String((image + other + count) % count), step: "" }, stage);
      byId("screen").focus({ preventScroll: true });
    });
    const names = Object.fromEntries(some.map((n) => [rows[n].name, rows[n].name]));
    swap("stage", [el("div", { class: "tools" }, select("contender", names, row.name, (who) => choose({ who, step: "" }, stage))),
      el("div", { class: "film" }, pictures),
      el("div", { class: "theatre" }, el("div", {}, screen, el("div", { class: "deck" }, move("«", "First", () => 0), move("‹", "Back", () => step - 1), play, move("›", "Next", () => step + 1), move("»", "Last", () => frames.length - 1), where)),
        el("div", {}, telling, bars, small))]);
    drawSmall(small, number, (i) => playing.to(i));
    playing = { number, to: (i) => {
      const found = frames.findIndex((frame) => frame.b.includes(budgets[i]));
      if (found >= 0) show(found, "curve");
    } };
    show(step, "start");
  }
  function sentence(frame, image, coarse) {
    const parts = [`${share(Number(frame.f.toFixed(3)))} of the image ${coarse ? "touched, and seen coarsely" : "used"}. `];
    if (known(frame.own)) parts.push("It says ", verdict(frame, image), ". ");
    if (frame.j) parts.push(`${frame.j[0]} of the judge's ${frame.j[1]} members ${frame.j[0] === 1 ? "is" : "are"} right.`);
    if (!known(frame.own) && !frame.j) parts.push("No budget ends here, so nobody was asked.");
    return parts;
  }
  function belief(frame, image) {
    if (!frame || !frame.p) return [el("p", { class: "note" }, "What it believed is not recorded.")];
    const lines = frame.p.flatMap(([k, weight]) => [el("span", {}, `${section.looks.classes[k]}${section.looks.classes[k] === section.looks.labels[image] ? " ✓" : ""}`),
      draw("svg", { viewBox: "0 0 255 12", preserveAspectRatio: "none", "aria-hidden": "true" }, draw("rect", { class: "rest", width: 255, height: 12 }), draw("rect", { class: "fill", width: weight, height: 12 })),
      el("span", {}, `${Math.round((100 * weight) / 255)} %`)]);
    return [el("h3", {}, "What it believes"), el("div", { class: "bars" }, lines)];
  }
  // The row's own curve beside its pictures: the budget that is shown is marked in both.
  function drawSmall(box, number, go) {
    const row = rows[number], path = budgets.map((budget, i) => [i, budget, value(row, i)]).filter((point) => known(point[2]));
    if (!path.length) return;
    const width = 400, height = 150, to = scales(width, height, [30, 26, 10, 24], [budgets[0] * 0.9, 1.05], true), places = new Map();
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `${row.name}: accuracy by budget` });
    for (const y of [0, 0.5, 1]) svg.append(draw("path", { class: y ? "rule" : "axis", d: `M30 ${to.y(y)}H${width - 26}` }), draw("text", { x: 24, y: to.y(y) + 4, "text-anchor": "end" }, `${100 * y}`));
    for (const tick of [0.01, 0.05, 0.1, 0.2, 0.5, 1]) svg.append(draw("text", { x: to.x(tick), y: height - 6, "text-anchor": "middle" }, `${100 * tick} %`));
    const line = draw("g", { class: "row" }, draw("path", { class: "line", stroke: row.colour, d: `M${path.map(([, x, y]) => `${to.x(x)} ${to.y(y)}`).join("L")}` }));
    for (const [i, x, y] of path) {
      places.set(i, [to.x(x), to.y(y)]);
      const dot = marker(row.marker, to.x(x), to.y(y), 4.4, { fill: row.colour });
      dot.addEventListener("pointerenter", () => { go(i); focus(number, i, "player"); });
      line.append(dot);
    }
    const ring = draw("path", { class: "ring here", d: SHAPES.o(8), visibility: "hidden" });
    box.replaceChildren(el("h3", {}, "How often it is right with so much of the image"), svg);
    svg.append(line, ring);
    box.places = places;
  }
  function markSmall(box, frame) {
    const ring = box.querySelector(".here"), place = frame && frame.b.length && box.places && box.places.get(budgets.indexOf(frame.b[frame.b.length - 1]));
    if (!ring) return;
    ring.setAttribute("visibility", place ? "visible" : "hidden");
    if (place) ring.setAttribute("transform", `translate(${place[0]} ${place[1]})`);
  }

  // ---- training ----------------------------------------------------------------------------------------------------
  function learning() {
    const measured = (n) => rows[n].training.some((run) => run.stages.some((one) => one[state.learn]));
    byId("training").hidden = !rows.some((row) => row.training.length);
    if (byId("training").hidden) return;
    const some = shown.filter(measured).slice(0, MOST.panels);
    const most = Math.max(1, ...some.flatMap((n) => rows[n].training.flatMap((run) => run.stages.flatMap((one) => (one[state.learn] ? [one[state.learn][0][one[state.learn][0].length - 1]] : [])))));
    const panels = some.map((n) => {
      const row = rows[n], width = 230, height = 128;
      const values = row.training.flatMap((run) => run.stages.flatMap((one) => (one[state.learn] ? one[state.learn][1].filter(known) : [])));
      const [low, high] = state.learn === "accuracy" ? [0, 1] : [Math.min(...values), Math.max(...values)];
      const x = (images) => Math.round(10 * (32 + ((width - 40) * images) / most)) / 10, y = (height_) => Math.round(10 * (8 + (1 - (height_ - low) / (high - low || 1)) * (height - 30))) / 10;
      const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `${row.name}: ${state.learn} in training` });
      for (const part of [0, 0.5, 1]) {
        const here = low + part * (high - low);
        svg.append(draw("path", { class: part ? "rule" : "axis", d: `M32 ${y(here)}H${width - 8}` }), draw("text", { x: 27, y: y(here) + 4, "text-anchor": "end" }, state.learn === "accuracy" ? `${Math.round(100 * here)}` : `${Number(here.toPrecision(2))}`));
      }
      svg.append(draw("text", { x: width - 8, y: height - 5, "text-anchor": "end" }, `${count(most)} images`));
      const group = draw("g", { class: "row on" });
      for (const run of row.training)
        for (const one of run.stages) {
          if (!one[state.learn]) continue;
          const [images, told] = one[state.learn];
          const path = images.map((image, k) => (known(told[k]) ? `${x(image)} ${y(told[k])}` : null)).filter(Boolean);
          if (path.length === 1) group.append(draw("circle", { cx: path[0].split(" ")[0], cy: path[0].split(" ")[1], r: 1.8, fill: row.colour }));
          group.append(draw("path", { class: "rowline", stroke: row.colour, opacity: 0.75, d: `M${path.join("L")}` }, draw("title", {}, `seed ${run.seed}, ${one.stage}${one.scored ? `: ${one.scored}` : ""}`)));
        }
      svg.append(group);
      return el("div", { "data-row": n }, el("h3", {}, row.name), svg);
    });
    swap("learning", [el("div", { class: "tools" }, segments("Measure", { accuracy: "validation accuracy", loss: "loss" }, state.learn, (learn) => choose({ learn }, learning))), el("div", { class: "many" }, panels)]);
  }

  // ---- head to head ------------------------------------------------------------------------------------------------
  function matrix() {
    const i = at(), pairs = (section.pairs[state.by === "decoupled" ? "judge" : state.by] || [])[i] || [];
    const found = new Map(pairs.flatMap(([a, b, mean, low, high, sign]) => [[`${a},${b}`, [mean, low, high, sign]], [`${b},${a}`, [-mean, -high, -low, -sign]]]));
    const some = section.pairs.rows.filter((n) => shown.includes(n) && pairs.some(([a, b]) => a === n || b === n));
    byId("pairs").hidden = section.pairs.rows.length < 2;
    if (some.length < 2) return swap("matrix", [el("p", { class: "empty" }, "Fewer than two of the rows shown reach this budget.")]);
    const body = some.map((a) => el("tr", {}, el("th", { scope: "row" }, rows[a].name), some.map((b) => {
      const one = found.get(`${a},${b}`);
      if (!one) return el("td", { class: a === b ? "self" : null }, a === b ? "–" : "·");
      const sign = MARK[one[3]];
      return el("td", { class: sign ? sign[1] : null, title: `${rows[a].name} less ${rows[b].name}: ${signed(one[0])}, 95 % interval ${signed(one[1])} to ${signed(one[2])}` },
        el("span", { class: "mean" }, signed(one[0])), " ", el("span", { class: "mark" }, sign ? sign[0] : "", sign && el("span", { class: "hidden" }, one[3] > 0 ? "better" : "worse")));
    })));
    swap("matrix", [el("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Head to head" }, el("table", { class: "matrix" }, el("caption", {}, el("span", {}, `With at most ${share(budgets[i])}`)),
      el("thead", {}, el("tr", {}, el("td", {}), some.map((n) => el("th", { scope: "col" }, rows[n].name)))), el("tbody", {}, body)))]);
  }

  // ---- all of it ---------------------------------------------------------------------------------------------------
  function render() {
    refresh();
    for (const node of document.querySelectorAll("[data-section]")) node.hidden = node.dataset.section !== state.s;
    controls();
    chart();
    grid();
    cost();
    gallery();
    stage();
    learning();
    matrix();
    focus(null);
  }
  let wide = 0, waiting;
  function resized() {
    if (Math.abs(window.innerWidth - wide) < 8) return;
    wide = window.innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(() => { chart(); cost(); }, 120);
  }
  // A page that is served shows what is there; when there is more, it is loaded again, as the address says.
  function follow(version) {
    const box = byId("following");
    box.hidden = false;
    box.textContent = "Following the sweep: this page is made anew when a run ends.";
    setInterval(async () => {
      try {
        const answer = await fetch("version", { cache: "no-store" });
        if (answer.ok && (await answer.text()) !== version) location.reload();
      } catch {
        box.textContent = "The server has ended; this is how things stood.";
      }
    }, 2000);
  }
  readAddress();
  for (const node of document.querySelectorAll(".scripted")) node.hidden = false;
  render();
  wide = window.innerWidth;
  window.addEventListener("resize", resized);
  window.addEventListener("hashchange", () => { readAddress(); render(); });
  if (document.body.dataset.live) follow(document.body.dataset.live);
  document.documentElement.dataset.ready = "1";
})();
