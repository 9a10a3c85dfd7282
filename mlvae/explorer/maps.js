"use strict";
// Elements of the page, and the map of a code: a dot for each group or observation.

/** An HTML element with attributes and children. */
function html(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An SVG element with attributes and children. */
function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const clamped = (value, low, high) => Math.min(Math.max(value, low), high);

/**
 * A map of points. Its state is {from, to, share}: the chosen point, and the other end of an
 * interpolation with the share of the way, or null.
 */
class CodeMap {
  static width = 400;
  static height = 330;
  static margin = 24;
  static reach = 22; // largest distance of a click from a dot

  /**
   * points: [{label, place, ellipse, unseen}]; observations have no ellipse.
   * extent: places that the map must show.
   * choose: receives a new state. hover: receives a point's number or null, and the event.
   */
  constructor({ id, label, points, extent, choose, hover }) {
    this.id = id;
    this.points = points;
    this.choose = choose;
    this.hover = hover;
    this.state = { from: 0, to: null, share: 0 };
    this.#scale(extent);
    this.ellipses = points.map((point) =>
      svg("ellipse", { class: point.unseen ? "spread unseen" : "spread" }),
    );
    this.dots = points.map((point, i) => this.#dot(point, i));
    this.line = svg("line", { class: "way", visibility: "hidden" });
    this.cursor = svg(
      "g",
      { class: "cursor" },
      svg("circle", { r: 9 }),
      svg("path", { d: "M-14 0h8M6 0h8M0 -14v8M0 6v8" }),
    );
    this.root = svg(
      "svg",
      {
        class: "map",
        viewBox: `0 0 ${CodeMap.width} ${CodeMap.height}`,
        role: "listbox",
        tabindex: 0,
        "aria-label": label,
        "aria-describedby": "keys",
        onpointerdown: (event) => this.#press(event),
        onpointermove: (event) => this.#move(event),
        onpointerup: () => (this.pressed = null),
        onpointercancel: () => (this.pressed = null),
        onpointerleave: (event) => this.hover(null, event),
        onkeydown: (event) => this.#key(event),
      },
      svg("g", { "aria-hidden": "true" }, ...this.ellipses, this.line),
      ...this.dots,
      this.cursor,
    );
    this.update(points);
  }

  /** One scale for both axes, so that the shape of an ellipse is right. */
  #scale(extent) {
    const range = (axis) => {
      const values = extent.map((place) => place[axis]);
      return [Math.min(...values), Math.max(...values)];
    };
    const [[left, right], [bottom, top]] = [range(0), range(1)];
    const { width, height, margin } = CodeMap;
    const room = Math.min(
      (width - 2 * margin) / Math.max(right - left, 1e-9),
      (height - 2 * margin) / Math.max(top - bottom, 1e-9),
    );
    this.unit = Number.isFinite(room) && room < 1e8 ? room : 1;
    this.middle = [(left + right) / 2, (top + bottom) / 2];
  }

  #pixel([x, y]) {
    return [
      CodeMap.width / 2 + (x - this.middle[0]) * this.unit,
      CodeMap.height / 2 - (y - this.middle[1]) * this.unit,
    ];
  }

  #dot(point, i) {
    const group = point.ellipse !== undefined;
    const kind = `dot${group ? " group" : ""}${point.unseen ? " unseen" : ""}`;
    const text = group && point.label.length <= 4;
    return svg(
      "g",
      {
        id: `${this.id}-${i}`,
        class: kind,
        role: "option",
        "aria-label": point.unseen ? `${point.label}, unseen` : point.label,
        "aria-selected": "false",
      },
      svg("circle", { class: "target", r: group ? 14 : 7 }),
      svg("circle", { class: "mark", r: group ? 4 : 2.6 }),
      text ? svg("text", { x: 7, y: -5, "aria-hidden": "true" }, point.label) : null,
    );
  }

  /** Move the dots and ellipses of all points. */
  update(points) {
    this.points = points;
    this.pixels = points.map((point) => this.#pixel(point.place));
    points.forEach((point, i) => {
      const [x, y] = this.pixels[i];
      this.dots[i].setAttribute("transform", `translate(${x.toFixed(2)} ${y.toFixed(2)})`);
      this.#spread(i, point.ellipse);
    });
    this.#labels();
    this.show(this.state);
  }

  /** Show the labels that cover no other one; the rest is shown under the pointer. */
  #labels() {
    const boxes = [];
    this.dots.forEach((dot, i) => {
      const text = dot.querySelector("text");
      if (!text) return;
      const [x, y] = this.pixels[i];
      const box = [x + 6, y - 16, x + 8 + 8 * this.points[i].label.length, y - 3];
      const covers = boxes.some(
        ([left, top, right, bottom]) =>
          left < box[2] && right > box[0] && top < box[3] && bottom > box[1],
      );
      text.classList.toggle("covered", covers);
      if (!covers) boxes.push(box);
    });
  }

  /** Draw the ellipse of a point; none without one. */
  #spread(i, ellipse) {
    const shape = this.ellipses[i];
    shape.setAttribute("visibility", ellipse ? "visible" : "hidden");
    if (!ellipse) return;
    const [x, y] = this.pixels[i];
    shape.setAttribute("rx", (ellipse.long * this.unit).toFixed(2));
    shape.setAttribute("ry", (ellipse.short * this.unit).toFixed(2));
    const angle = (-ellipse.angle).toFixed(2);
    shape.setAttribute(
      "transform",
      `translate(${x.toFixed(2)} ${y.toFixed(2)}) rotate(${angle})`,
    );
  }

  /** Show a state, and no ellipse but that of the chosen point if only that has one. */
  show(state, ellipse = null) {
    const { from, to } = (this.state = state);
    this.dots.forEach((dot, i) => {
      const chosen = i === from || i === to;
      dot.classList.toggle("chosen", chosen);
      dot.setAttribute("aria-selected", String(chosen));
    });
    if (ellipse) this.ellipses.forEach((_, i) => this.#spread(i, i === from ? ellipse : null));
    this.ellipses.forEach((shape, i) => shape.classList.toggle("chosen", i === from));
    this.root.setAttribute("aria-activedescendant", `${this.id}-${to ?? from}`);
    this.line.setAttribute("visibility", to === null ? "hidden" : "visible");
    if (to === null) return;
    [["1", from], ["2", to]].forEach(([end, i]) => {
      this.line.setAttribute(`x${end}`, this.pixels[i][0]);
      this.line.setAttribute(`y${end}`, this.pixels[i][1]);
    });
  }

  /** Emphasise some points. */
  mark(numbers) {
    const some = new Set(numbers);
    this.dots.forEach((dot, i) => dot.classList.toggle("member", some.has(i)));
  }

  /** Show the place of the present value, which may be at no dot. */
  point(place) {
    const [x, y] = this.#pixel(place);
    const { width, height } = CodeMap;
    const left = clamped(x, 4, width - 4).toFixed(2);
    const top = clamped(y, 4, height - 4).toFixed(2);
    this.cursor.setAttribute("transform", `translate(${left} ${top})`);
  }

  #set(change) {
    this.choose({ ...this.state, ...change });
  }

  // Pointers

  #at(event) {
    const box = this.root.getBoundingClientRect();
    const scale = CodeMap.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  /** The number of the nearest point within a distance, or null. */
  #nearest([x, y], most, except = null) {
    let [found, least] = [null, most];
    this.pixels.forEach(([px, py], i) => {
      const distance = Math.hypot(px - x, py - y);
      if (i !== except && distance <= least) [found, least] = [i, distance];
    });
    return found;
  }

  #press(event) {
    const place = this.#at(event);
    const from = this.#nearest(place, CodeMap.reach);
    if (from === null || event.button > 0) return;
    if (event.shiftKey && from !== this.state.from) {
      this.#set({ to: from, share: 0.5 });
      return;
    }
    this.pressed = { from, place };
    this.root.setPointerCapture(event.pointerId);
    this.#set({ from, to: null, share: 0 });
  }

  #move(event) {
    const place = this.#at(event);
    if (!this.pressed) {
      this.hover(this.#nearest(place, 14), event);
      return;
    }
    const { from, place: start } = this.pressed;
    if (Math.hypot(place[0] - start[0], place[1] - start[1]) < 8) return;
    const to = this.#nearest(place, Infinity, from);
    if (to === null) return;
    const [a, b] = [this.pixels[from], this.pixels[to]];
    const way = [b[0] - a[0], b[1] - a[1]];
    const length = way[0] ** 2 + way[1] ** 2 || 1;
    const share = ((place[0] - a[0]) * way[0] + (place[1] - a[1]) * way[1]) / length;
    this.#set({ from, to, share: clamped(share, 0, 1) });
  }

  // Keys

  #key(event) {
    const { from, to } = this.state;
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (ways[event.key]) {
      const next = this.#beside(event.shiftKey ? (to ?? from) : from, ways[event.key]);
      if (event.shiftKey && next !== from) this.#set({ to: next, share: 0.5 });
      else if (!event.shiftKey) this.#set({ from: next, to: null, share: 0 });
    } else if (event.key === "Home") this.#set({ from: 0, to: null, share: 0 });
    else if (event.key === "End") this.#set({ from: this.points.length - 1, to: null, share: 0 });
    else if (event.key === "Escape") this.#set({ to: null, share: 0 });
    else if (event.key.length === 1 && !event.ctrlKey && !event.metaKey && event.key !== " ") {
      const found = this.#named(event.key);
      if (found === null) return;
      this.#set({ from: found, to: null, share: 0 });
    } else return;
    event.preventDefault();
  }

  /** The nearest point in a direction; the same point if there is none. */
  #beside(i, [dx, dy]) {
    const [x, y] = this.pixels[i];
    let [found, least] = [i, Infinity];
    this.pixels.forEach(([px, py], j) => {
      const along = (px - x) * dx + (py - y) * dy;
      const across = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
      const cost = along + 2.5 * across;
      if (j !== i && along > 0 && across <= 2 * along && cost < least) [found, least] = [j, cost];
    });
    return found;
  }

  /** The next point whose label begins with a letter, or null. */
  #named(letter) {
    const number = this.points.length;
    const order = this.points.map((_, i) => (this.state.from + 1 + i) % number);
    const begins = (i) => this.points[i].label.startsWith(letter);
    const found = order.find(begins);
    return found === undefined ? null : found;
  }
}
