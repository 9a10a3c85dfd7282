"use strict";
// Observations as images, maps of heat, lines or rows of a table.
// A view has the element of the large picture, draw(values, row), and thumbnail(row) or null.

const Views = (() => {
  const round = (value) =>
    Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-3)
      ? value.toExponential(2)
      : String(Number(value.toPrecision(4)));

  /** Colours of a map of heat, from dark to light. */
  const HEAT = [
    [0, 0, 4], [60, 15, 112], [140, 41, 129], [222, 73, 104], [254, 159, 109], [252, 253, 191],
  ];

  function heat(share) {
    const place = clamped(share, 0, 1) * (HEAT.length - 1);
    const first = Math.min(Math.floor(place), HEAT.length - 2);
    return HEAT[first].map((low, c) => low + (HEAT[first + 1][c] - low) * (place - first));
  }

  /** Paint values (channels, height, width) as an image. */
  function paint(canvas, values, [channels, height, width], { low, high }, colour) {
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    const size = width * height;
    for (let i = 0; i < size; i++) {
      const shares = [0, 1, 2].map((c) => {
        const value = values[(channels === 3 ? c : 0) * size + i];
        return (value - low) / (high - low);
      });
      const levels = colour ? colour(shares[0]) : shares.map((share) => 255 * share);
      levels.forEach((level, c) => (image.data[4 * i + c] = Math.round(level)));
      image.data[4 * i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  }

  function imageView(view, shape) {
    const canvas = html("canvas", { class: "picture", role: "img" });
    canvas.classList.toggle("smooth", Math.max(shape[1], shape[2]) > 100);
    const sheet = new Image();
    const loaded = new Promise((done) => (sheet.onload = done));
    sheet.src = view.thumbnails;
    const [height, width] = view.thumbnail;
    return {
      element: canvas,
      loaded,
      label: (text) => canvas.setAttribute("aria-label", text),
      draw: (values) => paint(canvas, values, shape, view),
      small(values) {
        const tile = html("canvas", { "aria-hidden": "true" });
        paint(tile, values, shape, view);
        return tile;
      },
      thumbnail(row) {
        const tile = html("canvas", { width, height, "aria-hidden": "true" });
        const [x, y] = [(row % view.across) * width, Math.floor(row / view.across) * height];
        loaded.then(() =>
          tile.getContext("2d").drawImage(sheet, x, y, width, height, 0, 0, width, height),
        );
        return tile;
      },
    };
  }

  /** Many channels as a map of heat: the first channel is at the bottom. */
  function heatView(view, read) {
    const { channels, length } = view;
    const shares = read(view.shares).values;
    const canvas = html("canvas", { class: "picture wide", role: "img" });
    const upsideDown = (values) =>
      Float32Array.from({ length: channels * length }, (_, i) => {
        const row = channels - 1 - Math.floor(i / length);
        return values[row * length + (i % length)];
      });
    const shape = [1, channels, length];
    const painted = (values, range) => {
      const tile = html("canvas", { "aria-hidden": "true" });
      paint(tile, upsideDown(values), shape, range, heat);
      return tile;
    };
    return {
      element: canvas,
      label: (text) => canvas.setAttribute("aria-label", text),
      draw: (values) => paint(canvas, upsideDown(values), shape, view, heat),
      small: (values) => painted(values, view),
      thumbnail(row) {
        const start = row * channels * length;
        const part = shares.subarray(start, start + channels * length);
        return painted(part, { low: 0, high: 1 });
      },
    };
  }

  /** The path of a channel in a box of 100 x 40, of shares of the range. */
  function path(share, length) {
    const step = Math.max(1, Math.floor(length / 400));
    const points = [];
    for (let i = 0; i < length; i += step) {
      const x = length > 1 ? (100 * i) / (length - 1) : 0;
      points.push(`${x.toFixed(2)} ${(40 - 40 * clamped(share(i), -0.2, 1.2)).toFixed(2)}`);
    }
    return `M${points.join("L")}`;
  }

  function lines(share, { channels, length }, kind) {
    return Array.from({ length: channels }, (_, c) =>
      svg("path", {
        class: `${kind} channel${c}`,
        d: path((i) => share(c * length + i), length),
      }),
    );
  }

  function signalView(view, read) {
    const { low, high, channels, length } = view;
    const shares = read(view.shares).values;
    const frame = (kind, ...children) =>
      svg("svg", { viewBox: "0 -2 100 44", preserveAspectRatio: "none", class: kind }, ...children);
    const plot = frame("signal");
    plot.setAttribute("role", "img");
    const legend = Array.from({ length: channels > 1 ? channels : 0 }, (_, c) =>
      html("span", { class: `key channel${c}` }, `channel ${c + 1}`),
    );
    const ends = (left, right) =>
      html("div", { class: "ends" }, html("span", {}, left), html("span", {}, right));
    const element = html(
      "div",
      { class: "plot" },
      ends(round(high), ""),
      plot,
      ends(`${round(low)} at place 1`, `place ${length}`),
      html("p", { class: "keys" }, ...legend, html("span", { class: "key own" }, "observed")),
    );
    const ofRow = (row) => (i) => shares[row * channels * length + i];
    return {
      element,
      label: (text) => plot.setAttribute("aria-label", text),
      draw(values, row) {
        const own = row === null ? [] : lines(ofRow(row), view, "own");
        const share = (i) => (values[i] - low) / (high - low);
        plot.replaceChildren(...own, ...lines(share, view, "decoded"));
      },
      small: null,
      thumbnail(row) {
        const small = frame("spark", ...lines(ofRow(row), view, "decoded"));
        small.setAttribute("aria-hidden", "true");
        return small;
      },
    };
  }

  function tableView(view, read) {
    const values = read(view.values).values;
    const number = view.features.length;
    const rows = view.features.map((feature) => {
      const cells = {
        bar: html("i", { class: "bar" }),
        own: html("i", { class: "own" }),
        decoded: html("td"),
        observed: html("td"),
      };
      const track = html("td", { class: "track", "aria-hidden": "true" }, cells.bar, cells.own);
      const name = html("th", { scope: "row", title: feature }, feature);
      return { ...cells, row: html("tr", {}, name, track, cells.decoded, cells.observed) };
    });
    const heads = ["feature", "", "decoded", "observed"].map((text) =>
      html(text ? "th" : "td", text ? { scope: "col" } : {}, text),
    );
    const caption = html("caption", { class: "hidden" });
    const table = html(
      "table",
      {},
      caption,
      html("thead", {}, html("tr", {}, ...heads)),
      html("tbody", {}, ...rows.map((one) => one.row)),
    );
    const note =
      `A bar is the decoded value between the smallest and the largest value in this page; ` +
      `a line is the observed value.` +
      (view.total > number
        ? ` Shown: the ${number} of ${view.total} features that differ most.`
        : "");
    const share = (value, i) => (value - view.low[i]) / (view.high[i] - view.low[i] || 1);
    const percent = (value, i) => `${(100 * clamped(share(value, i), 0, 1)).toFixed(1)}%`;
    return {
      element: html(
        "div",
        { class: "table" },
        html("div", { class: "scroll", tabindex: 0 }, table),
        html("p", { class: "small" }, note),
      ),
      label: (text) => (caption.textContent = text),
      draw(decoded, row) {
        rows.forEach((cells, i) => {
          const value = decoded[view.places[i]];
          cells.bar.style.width = percent(value, i);
          cells.decoded.textContent = round(value);
          const own = row === null ? null : values[row * number + i];
          cells.observed.textContent = own === null ? "" : round(own);
          cells.own.hidden = own === null;
          if (own !== null) cells.own.style.left = percent(own, i);
        });
      },
      small: null,
      thumbnail: null,
    };
  }

  /** The view of a page. */
  function viewOf(view, shape, read) {
    if (view.kind === "image") return imageView(view, shape);
    if (view.kind === "heat") return heatView(view, read);
    return view.kind === "signal" ? signalView(view, read) : tableView(view, read);
  }

  return { round, viewOf };
})();
