"use strict";
// The page: its state is a value of every code and the number k of members of each group.

(() => {
  const record = JSON.parse(document.getElementById("record").textContent);
  const read = Arrays.reader(document.getElementById("arrays").textContent);
  const decode = Decoder.decoder(record.program, read);
  const codes = record.codes.map((code) => Evidence.prepared(code, read));
  const groupings = Object.fromEntries(
    record.groupings.map((grouping) => [grouping.name, withMembers(grouping)]),
  );
  const first = groupings[record.groupings[0].name];
  const view = Views.viewOf(record.view, record.program.shape, read);
  const most = Math.max(...codes.map(largest));
  const SLIDERS = 64; // most dimensions of a code that have a slider

  const state = { members: most, panels: {} };
  const one = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;
  const titled = (text) => text[0].toUpperCase() + text.slice(1).replaceAll("_", " ");
  const byId = (id) => document.getElementById(id);

  /** A grouping with the rows of each group's members. */
  function withMembers(grouping) {
    const index = read(grouping.index).values;
    const members = grouping.labels.map(() => []);
    index.forEach((group, row) => {
      if (members[group].length < record.members) members[group].push(row);
    });
    return { ...grouping, index, members };
  }

  /** The largest number of members of a group that a code accumulates. */
  function largest(code) {
    if (code.grouping === null || code.rule === "given") return 1;
    return Math.max(...groupings[code.grouping].members.map((rows) => rows.length));
  }

  /** The names of observations: their groups, numbered within the page. */
  const names = (() => {
    const counts = first.labels.map(() => 0);
    return Array.from(first.index, (group) => `${first.labels[group]} ${++counts[group]}`);
  })();

  // Points of the maps

  function pointsOf(code) {
    if (code.grouping === null) {
      return names.map((label, row) => {
        const { mean, variance } = Evidence.single(code, row);
        const unseen = first.unseen[first.index[row]];
        const place = Evidence.place(code, mean);
        return { label, place, mean, variance, unseen };
      });
    }
    const grouping = groupings[code.grouping];
    return grouping.labels.map((label, group) => {
      const rows = grouping.members[group].slice(0, state.members);
      const { mean, variance } = Evidence.posterior(code, rows);
      const place = Evidence.place(code, mean);
      const ellipse = Evidence.ellipse(code, variance);
      return { label, place, mean, variance, ellipse, unseen: grouping.unseen[group], rows };
    });
  }

  /** Places that a map must show: those with one member, and those with all. */
  function extentOf(code, points) {
    const places = points.map((point) => point.place);
    if (code.grouping === null) return places;
    const { members } = state;
    state.members = 1;
    const single = pointsOf(code).map((point) => point.place);
    state.members = members;
    return [...places, ...single];
  }

  // Panels: a map, two lists, and sliders of a code

  class Panel {
    constructor(code) {
      this.code = code;
      this.points = pointsOf(code);
      // The first picture is a swap: the style is not one of the first group.
      const from = code.grouping === null ? Math.floor(this.points.length / 2) : 0;
      this.choice = { from, to: null, share: 0 };
      this.value = Array.from(this.points[from].mean);
      this.moved = false; // whether a slider has set the value
      const group = code.grouping !== null;
      const several = codes.filter((other) => other.grouping !== null).length > 1;
      this.title = several && group ? titled(code.grouping) : titled(code.name);
      this.joint = several && group ? " " : " of "; // "speaker ann", but "content of ann"
      this.noun = group ? (code.grouping === "group" ? "group" : code.grouping) : "observation";
      this.map = new CodeMap({
        id: `map-${code.name}`,
        label: `Map of the ${this.title.toLowerCase()}, a dot for each ${this.noun}`,
        points: this.points,
        extent: extentOf(code, this.points),
        choose: (choice) => this.choose(choice),
        hover: (i, event) => this.tip(i, event),
      });
      this.element = html(
        "section",
        { class: "panel", "aria-label": this.title },
        html("h2", {}, this.title),
        html("p", { class: "small" }, this.explanation()),
        this.lists(),
        this.map.root,
        this.legend(),
        this.sliders(),
      );
    }

    explanation() {
      const share = Math.round(100 * this.code.plane.share);
      const plane =
        this.code.dim > 2 ? ` The plane has ${share} % of the variance of the means.` : "";
      return this.code.grouping === null
        ? `A dot for each observation; the chosen group has the filled dots.${plane}`
        : `A dot for each ${this.noun}, with an ellipse of two standard deviations.${plane}`;
    }

    /** The two ends of an interpolation, and the share of the way. */
    lists() {
      const options = (none) => [
        ...(none ? [html("option", { value: "" }, "none")] : []),
        ...this.points.map(({ label, unseen }, i) =>
          html("option", { value: i }, unseen ? `${label} (unseen)` : label),
        ),
      ];
      this.fromList = html(
        "select",
        { onchange: () => this.choose({ ...this.choice, from: Number(this.fromList.value) }) },
        ...options(false),
      );
      this.toList = html(
        "select",
        { onchange: () => this.toward(this.toList.value) },
        ...options(true),
      );
      this.way = html("input", {
        type: "range",
        min: 0,
        max: 1,
        step: 0.01,
        "aria-label": `${this.title}: share of the way`,
        oninput: () => this.choose({ ...this.choice, share: Number(this.way.value) }),
      });
      return html(
        "div",
        { class: "ways" },
        html("label", {}, titled(this.noun), this.fromList),
        html("label", {}, "Toward", this.toList),
        this.way,
      );
    }

    toward(value) {
      const to = value === "" ? null : Number(value);
      this.choose({ ...this.choice, to, share: to === null ? 0 : 0.5 });
    }

    legend() {
      const unseen = this.points.some((point) => point.unseen);
      if (!unseen) return null;
      const [known, other] =
        this.code.grouping === null
          ? ["of training groups", "of unseen groups"]
          : ["in training", "unseen in training"];
      return html(
        "p",
        { class: "keys" },
        html("span", { class: "key known" }, known),
        html("span", { class: "key unseen" }, other),
      );
    }

    /** A slider for each dimension, the most used ones first. */
    sliders() {
      const { code } = this;
      const order = code.use.map((_, d) => d).sort((a, b) => code.use[b] - code.use[a]);
      const shown = order.slice(0, SLIDERS);
      this.inputs = new Map(shown.map((d) => [d, this.slider(d)]));
      this.reset = html(
        "button",
        { type: "button", class: "quiet", onclick: () => this.choose(this.choice), hidden: "" },
        "Back to the chosen dot",
      );
      const more =
        order.length > SLIDERS ? ` Shown: the ${SLIDERS} most used of ${order.length}.` : "";
      const unit =
        code.family === "gaussian"
          ? "The small number is the information in a dimension, in nats."
          : "The small number is the deviation of the means.";
      const details = html(
        "details",
        {},
        html("summary", {}, `${one(code.dim, "dimension")} of the ${this.title.toLowerCase()}`),
        html("p", { class: "small" }, unit + more),
        ...[...this.inputs.values()].map((input) => input.row),
        this.reset,
      );
      details.open = code.grouping === null && code.dim <= 20;
      return details;
    }

    slider(d) {
      const { low, high, use, simplex } = this.code;
      const [least, greatest] = simplex
        ? [0, 1]
        : [Math.min(-3, Math.floor(low[d])), Math.max(3, Math.ceil(high[d]))];
      const output = html("output");
      const input = html("input", {
        type: "range",
        min: least,
        max: greatest,
        step: (greatest - least) / 200,
        "aria-label": `${this.title}, dimension ${d + 1}`,
        oninput: () => this.move(d, Number(input.value)),
      });
      const unused = this.code.family === "gaussian" && use[d] < 0.1;
      const row = html(
        "label",
        { class: unused ? "slider unused" : "slider" },
        html("span", {}, String(d + 1), html("small", {}, use[d].toFixed(use[d] < 10 ? 2 : 1))),
        input,
        output,
      );
      return { input, output, row };
    }

    /** Set one dimension; the other shares of a simplex shrink or grow in proportion. */
    move(d, value) {
      if (this.code.simplex) {
        const rest = 1 - this.value[d];
        const factor = rest > 0 ? (1 - value) / rest : 0;
        this.value = this.value.map((share) =>
          rest > 0 ? share * factor : (1 - value) / (this.code.dim - 1),
        );
      }
      this.value[d] = value;
      this.moved = true;
      this.show();
    }

    choose(choice) {
      this.choice = choice.to === choice.from ? { ...choice, to: null, share: 0 } : choice;
      this.moved = false;
      this.follow();
      this.show();
    }

    /** Take the value from the chosen dots. */
    follow() {
      if (this.moved) return;
      const { from, to, share } = this.choice;
      const [a, b] = [this.points[from].mean, this.points[to ?? from].mean];
      this.value = Array.from(a, (start, d) => start + share * (b[d] - start));
    }

    /** Compute the points anew, with the present number of members. */
    update() {
      this.points = pointsOf(this.code);
      this.map.update(this.points);
      this.follow();
      this.show();
    }

    show() {
      const { from, to, share } = this.choice;
      const own = this.code.grouping === null;
      const ellipse = own ? Evidence.ellipse(this.code, this.points[from].variance) : null;
      this.map.show(this.choice, ellipse);
      this.map.point(Evidence.place(this.code, this.value));
      this.fromList.value = String(from);
      this.toList.value = to === null ? "" : String(to);
      this.way.value = String(share);
      this.way.classList.toggle("idle", to === null);
      this.way.disabled = to === null;
      this.reset.hidden = !this.moved;
      for (const [d, { input, output }] of this.inputs) {
        input.value = String(this.value[d]);
        output.textContent = this.value[d].toFixed(2);
      }
      changed();
    }

    /** The code and the dot that is chosen. */
    name() {
      return `${this.title.toLowerCase()}${this.joint}${this.points[this.choice.from].label}`;
    }

    /** The present value in words. */
    words() {
      const { from, to, share } = this.choice;
      const label = (i) => this.points[i].label;
      const moved = this.moved ? ", moved" : "";
      if (to === null) return this.name() + moved;
      const percent = Math.round(100 * share);
      const way = `${percent} % of the way from ${label(from)} to ${label(to)}`;
      return `${this.title.toLowerCase()} ${way}${moved}`;
    }

    /** The row of the observation that the code is of. */
    row() {
      const { from } = this.choice;
      return this.code.grouping === null ? from : this.points[from].rows[0];
    }

    tip(i, event) {
      const tip = byId("tip");
      tip.hidden = i === null;
      if (i === null) return;
      const point = this.points[i];
      const rows = point.rows ? point.rows.slice(0, 4) : [i];
      const tiles = view.thumbnail ? rows.map((row) => view.thumbnail(row)) : [];
      const text = point.unseen ? `${point.label}, unseen` : point.label;
      tip.replaceChildren(html("span", {}, text), html("div", { class: "tiles" }, ...tiles));
      const left = clamped(event.clientX + 14, 8, innerWidth - tip.offsetWidth - 8);
      const top = clamped(event.clientY + 14, 8, innerHeight - tip.offsetHeight - 8);
      tip.style.transform = `translate(${left}px, ${top}px)`;
    }
  }

  // The number of members

  class EvidencePanel {
    constructor(panels) {
      this.panels = panels;
      this.input = html("input", {
        type: "range",
        id: "members",
        min: 1,
        max: most,
        step: 1,
        value: most,
        oninput: () => {
          state.members = Number(this.input.value);
          panels.forEach((panel) => panel.update());
        },
      });
      this.output = html("output", { for: "members" });
      this.lines = panels.map((panel) => ({
        panel,
        text: html("p", { class: "small" }),
        curve: svg("path", { class: "curve" }),
        dot: svg("circle", { class: "now", r: 4 }),
        tiles: html("div", { class: "tiles members" }),
      }));
      this.element = html(
        "section",
        { class: "panel evidence", "aria-label": "Evidence" },
        html("h2", {}, "Evidence"),
        html(
          "p",
          { class: "small" },
          "The content of a group is the accumulated evidence of its members. More members give " +
            "a smaller ellipse.",
        ),
        html(
          "label",
          { class: "slider wide" },
          html("span", {}, "k members"),
          this.input,
          this.output,
        ),
        ...this.lines.flatMap(({ text, curve, dot, tiles }) => [
          svg("svg", { class: "curve", viewBox: "0 0 400 70", "aria-hidden": "true" }, curve, dot),
          text,
          tiles,
        ]),
      );
    }

    show() {
      this.output.textContent = String(state.members);
      this.lines.forEach((line) => this.line(line));
    }

    line({ panel, text, curve, dot, tiles }) {
      const { code, choice } = panel;
      const grouping = groupings[code.grouping];
      const rows = grouping.members[choice.from];
      const spreads = rows.map((_, i) =>
        Evidence.spread(Evidence.posterior(code, rows.slice(0, i + 1))),
      );
      const k = Math.min(state.members, rows.length);
      const x = (i) => (most > 1 ? 8 + (384 * i) / (most - 1) : 200);
      const y = (spread) => 62 - (54 * spread) / Math.max(...spreads, 1e-9);
      const points = spreads.map((spread, i) => `${x(i).toFixed(1)} ${y(spread).toFixed(1)}`);
      curve.setAttribute("d", `M${points.join("L")}`);
      dot.setAttribute("cx", x(k - 1));
      dot.setAttribute("cy", y(spreads[k - 1]));
      const size = grouping.sizes[choice.from];
      text.textContent =
        `${panel.points[choice.from].label}: ${k} of ${one(rows.length, "member")} in this page ` +
        `(${size.toLocaleString("en")} in the data). Mean standard deviation ` +
        `${spreads[k - 1].toFixed(3)}; of one member ${spreads[0].toFixed(3)}.`;
      if (!view.thumbnail) return;
      const key = `${choice.from}`;
      if (tiles.dataset.group !== key) {
        tiles.dataset.group = key;
        tiles.replaceChildren(...rows.map((row) => view.thumbnail(row)));
      }
      [...tiles.children].forEach((tile, i) => tile.classList.toggle("waiting", i >= k));
    }
  }

  // The decoded picture

  const panels = codes.map((code) => new Panel(code));
  const shared = panels.filter((panel) => panel.code.grouping !== null);
  const own = panels.filter((panel) => panel.code.grouping === null);
  const evidence = shared.some((panel) => panel.code.rule !== "given")
    ? new EvidencePanel(shared.filter((panel) => panel.code.rule !== "given"))
    : null;
  let waiting = false;

  /** Draw before the next frame, however many values have changed. */
  function changed() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  }

  const values = () => Object.fromEntries(panels.map((panel) => [panel.code.name, panel.value]));

  function draw() {
    const decoded = decode(values());
    api.decoded = decoded;
    const row = own.length > 0 ? own[0].row() : null;
    view.draw(decoded, row);
    const words = panels.map((panel) => panel.words()).join(", ");
    view.label(`Decoded: ${words}`);
    byId("caption").textContent = titled(words);
    if (evidence) evidence.show();
    if (shared.length > 0) {
      const group = shared[0].choice.from;
      const rows = groupings[shared[0].code.grouping].members[group];
      own.forEach((panel) => panel.map.mark(rows));
    }
    sources(row);
    strips();
  }

  /** The observations that the codes are of. */
  function sources(row) {
    if (!view.thumbnail) return;
    const tile = (panel) =>
      html(
        "figure",
        {},
        view.thumbnail(panel.row()),
        html("figcaption", {}, panel.name()),
      );
    byId("sources").replaceChildren(...panels.map(tile));
  }

  /** The way of every interpolation, decoded at seven places. */
  function strips() {
    const active = view.small ? panels.filter((panel) => panel.choice.to !== null) : [];
    byId("strips").replaceChildren(
      ...active.map((panel) => {
        const [a, b] = [panel.choice.from, panel.choice.to].map((i) => panel.points[i].mean);
        const tiles = [0, 1, 2, 3, 4, 5, 6].map((step) => {
          const value = Array.from(a, (start, d) => start + (step / 6) * (b[d] - start));
          return view.small(decode({ ...values(), [panel.code.name]: value }));
        });
        return html("div", { class: "strip", "aria-hidden": "true" }, ...tiles);
      }),
    );
  }

  // The page around the maps

  function lead() {
    const number = first.index.length;
    const names = Object.values(groupings).map(
      ({ name, labels }) => `${labels.length} ${name === "group" ? "groups" : `groups by ${name}`}`,
    );
    const parts = panels.map((panel) => panel.title.toLowerCase());
    const what =
      panels.length > 1
        ? `Choose a ${parts.slice(0, -1).join(", a ")} and a ${parts.at(-1)}`
        : `Choose a dot of the ${parts[0]}`;
    return (
      `${what}. The decoder runs in this page. ` +
      "Drag from one dot to another to interpolate. " +
      `The page has ${one(number, "observation")} of ${names.join(" and ")}.`
    );
  }

  function theme() {
    const button = byId("theme");
    const system = matchMedia("(prefers-color-scheme: dark)");
    const { dataset } = document.documentElement;
    const dark = () => (dataset.theme ? dataset.theme === "dark" : system.matches);
    const name = () => (button.textContent = dark() ? "Light theme" : "Dark theme");
    button.addEventListener("click", () => {
      dataset.theme = dark() ? "light" : "dark";
      name();
    });
    system.addEventListener("change", name);
    name();
  }

  /** Compare decoded values with those of PyTorch. */
  function check() {
    const { codes: places, stride, decoded } = record.checks;
    const expected = read(decoded);
    const [swaps, width] = expected.shape;
    const inputs = Object.entries(places).map(([name, place]) => [name, read(place)]);
    const start = performance.now();
    let largest = 0;
    for (let swap = 0; swap < swaps; swap++) {
      const latents = inputs.map(([name, { values: all, shape }]) => [
        name,
        all.subarray(swap * shape[1], (swap + 1) * shape[1]),
      ]);
      const found = decode(Object.fromEntries(latents));
      for (let i = 0; i < width; i++) {
        const value = expected.values[swap * width + i];
        const error = Math.abs(found[i * stride] - value) / Math.max(1, Math.abs(value));
        largest = Math.max(largest, Number.isNaN(error) ? Infinity : error);
      }
    }
    api.difference = largest;
    api.milliseconds = (performance.now() - start) / swaps;
    const good = largest < 5e-3;
    const size = largest.toExponential(1);
    byId("checked").classList.toggle("wrong", !good);
    byId("checked").textContent = good
      ? `The decoder of this page was compared with PyTorch in ${swaps} swaps: the largest ` +
        `difference is ${size}. A picture takes ${api.milliseconds.toFixed(1)} ms.`
      : `The decoder of this page differs from PyTorch by ${size}: do not trust its pictures, ` +
        "and report this browser.";
  }

  const api = {
    decode: (latents) => Array.from(decode(latents)),
    panels: Object.fromEntries(panels.map((panel) => [panel.code.name, panel])),
    posterior(name, group, k) {
      const { code } = api.panels[name];
      return Evidence.posterior(code, groupings[code.grouping].members[group].slice(0, k));
    },
    groupings,
    state,
  };
  window.explorer = api; // for tests, and for the console of the browser

  document.body.append(html("div", { id: "tip", hidden: "", "aria-hidden": "true" }));
  byId("lead").textContent = lead();
  byId("picture").append(view.element);
  byId("shared").append(...shared.map((panel) => panel.element));
  byId("own").append(...own.map((panel) => panel.element));
  const shorter = shared.length > 1 && own.length > 0 ? "own" : "shared";
  if (evidence) byId(shorter).append(evidence.element);
  byId("main").classList.add(`of-${record.view.kind}`);
  byId("main").classList.toggle("two", shared.length === 0 || own.length === 0);
  if (shared.length === 0) byId("shared").remove();
  if (own.length === 0) byId("own").remove();
  const facts = Object.entries(record.facts).map(([name, fact]) => `${name} ${fact}`);
  if (record.left_out.length > 0) {
    const parts = record.left_out.join(", ");
    facts.push(`without the split ${parts}, whose groups the model does not know`);
  }
  byId("facts").textContent = facts.join(" · ");
  theme();
  panels.forEach((panel) => panel.show());
  waiting = true; // the first picture at once
  draw();
  waiting = false;
  api.firstPicture = performance.now();
  setTimeout(() => {
    check();
    api.ready = true;
  });
})();
