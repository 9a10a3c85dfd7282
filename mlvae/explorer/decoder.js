"use strict";
// The arrays of the page, and the decoder: one function for each kind of step.
// A state is {values: Float32Array, shape: [...]}. Images have the shape [channels, height, width].

const Arrays = (() => {
  /** The bytes of a text in base64. */
  function bytesOf(text) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text.trim());
    const binary = atob(text.trim());
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes;
  }

  /** The number with the bits of a float16. */
  function fromHalf(bits) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (1024 + fraction) * 2 ** (exponent - 25);
  }

  /** A function from the place of an array to {values, shape}. */
  function reader(text) {
    const buffer = bytesOf(text).buffer;
    return ({ at, type, shape }) => {
      const length = shape.reduce((product, n) => product * n, 1);
      if (type === "int32") return { values: new Int32Array(buffer, at, length), shape };
      if (type === "float32") return { values: new Float32Array(buffer, at, length), shape };
      return { values: Float32Array.from(new Uint16Array(buffer, at, length), fromHalf), shape };
    };
  }

  return { reader };
})();

const Decoder = (() => {
  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  const softplus = (x) => (x > 20 ? x : Math.log1p(Math.exp(x)));
  const between = ([low, high], raw) => low + (high - low) * sigmoid(2 * raw);

  /** 1 - erf(|x|), by a Chebyshev series (Numerical Recipes, section 6.2), error below 1.2e-7. */
  function complement(x) {
    const z = Math.abs(x);
    const t = 1 / (1 + 0.5 * z);
    const series = [
      -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398,
      1.48851587, -0.82215223, 0.17087277,
    ];
    return t * Math.exp(-z * z + series.reduceRight((total, factor) => total * t + factor, 0));
  }

  const normalShare = (x) => {
    const half = 0.5 * complement(x / Math.SQRT2);
    return x < 0 ? half : 1 - half;
  };

  const activations = {
    tanh: Math.tanh,
    relu: (x) => (x > 0 ? x : 0),
    gelu: (x) => x * normalShare(x),
    silu: (x) => x * sigmoid(x),
    elu: (x) => (x > 0 ? x : Math.expm1(x)),
    softplus,
    sigmoid,
  };

  const mapped = (x, change) => ({ values: x.values.map(change), shape: x.shape });

  function shares(values) {
    const most = values.reduce((a, b) => Math.max(a, b), -Infinity);
    const weights = Array.from(values, (value) => Math.exp(value - most));
    const total = weights.reduce((a, b) => a + b, 0);
    return weights.map((weight) => weight / total);
  }

  /** The first and the last + 1 output whose input lies in [0, length). */
  function reach(outputs, length, stride, offset) {
    const first = Math.max(0, Math.ceil(-offset / stride));
    const last = Math.min(outputs, Math.floor((length - 1 - offset) / stride) + 1);
    return [first, last];
  }

  const steps = {
    linear({ weight, bias }, x) {
      const [rows, columns] = weight.shape;
      const values = new Float32Array(rows);
      for (let row = 0; row < rows; row++) {
        let total = bias ? bias.values[row] : 0;
        const start = row * columns;
        for (let i = 0; i < columns; i++) total += weight.values[start + i] * x.values[i];
        values[row] = total;
      }
      return { values, shape: [rows] };
    },

    /** Factors and shifts of all elements, of those of a channel, or of each. */
    affine({ factor, shift }, x) {
      const repeat = x.values.length / factor.values.length;
      return mapped(x, (value, i) => {
        const place = Math.floor(i / repeat);
        return value * factor.values[place] + shift.values[place];
      });
    },

    activation({ name }, x) {
      const change = activations[name];
      return mapped(x, (value) => change(value));
    },

    reshape({ shape }, x) {
      return { values: x.values, shape };
    },

    convolution({ weight, bias, stride, padding }, x) {
      const [outputs, inputs, tall, wide] = weight.shape;
      const [, height, width] = x.shape;
      const rows = Math.floor((height + 2 * padding[0] - tall) / stride[0]) + 1;
      const columns = Math.floor((width + 2 * padding[1] - wide) / stride[1]) + 1;
      const values = new Float32Array(outputs * rows * columns);
      const sum = new Float64Array(rows * columns);
      for (let o = 0; o < outputs; o++) {
        sum.fill(bias ? bias.values[o] : 0);
        for (let i = 0; i < inputs; i++) {
          for (let ky = 0; ky < tall; ky++) {
            const [top, bottom] = reach(rows, height, stride[0], ky - padding[0]);
            for (let kx = 0; kx < wide; kx++) {
              const [left, right] = reach(columns, width, stride[1], kx - padding[1]);
              const factor = weight.values[((o * inputs + i) * tall + ky) * wide + kx];
              for (let row = top; row < bottom; row++) {
                const from = (i * height + row * stride[0] + ky - padding[0]) * width;
                const offset = from + kx - padding[1];
                const to = row * columns;
                for (let column = left; column < right; column++) {
                  sum[to + column] += factor * x.values[offset + column * stride[1]];
                }
              }
            }
          }
        }
        values.set(sum, o * rows * columns);
      }
      return { values, shape: [outputs, rows, columns] };
    },

    transposed({ weight, bias, stride, padding }, x) {
      const [inputs, outputs, tall, wide] = weight.shape;
      const [, height, width] = x.shape;
      const rows = (height - 1) * stride[0] - 2 * padding[0] + tall;
      const columns = (width - 1) * stride[1] - 2 * padding[1] + wide;
      const values = new Float32Array(outputs * rows * columns);
      const sum = new Float64Array(rows * columns);
      for (let o = 0; o < outputs; o++) {
        sum.fill(bias ? bias.values[o] : 0);
        for (let i = 0; i < inputs; i++) {
          for (let ky = 0; ky < tall; ky++) {
            for (let kx = 0; kx < wide; kx++) {
              const factor = weight.values[((i * outputs + o) * tall + ky) * wide + kx];
              for (let y = 0; y < height; y++) {
                const row = y * stride[0] + ky - padding[0];
                if (row < 0 || row >= rows) continue;
                for (let z = 0; z < width; z++) {
                  const column = z * stride[1] + kx - padding[1];
                  if (column < 0 || column >= columns) continue;
                  sum[row * columns + column] += factor * x.values[(i * height + y) * width + z];
                }
              }
            }
          }
        }
        values.set(sum, o * rows * columns);
      }
      return { values, shape: [outputs, rows, columns] };
    },

    group_norm({ groups, eps, weight, bias }, x) {
      const channels = x.shape[0];
      const size = x.values.length / channels;
      const length = (channels / groups) * size;
      const values = new Float32Array(x.values.length);
      for (let group = 0; group < groups; group++) {
        const start = group * length;
        const part = x.values.subarray(start, start + length);
        const mean = part.reduce((a, b) => a + b, 0) / length;
        const variance = part.reduce((a, b) => a + (b - mean) ** 2, 0) / length;
        const factor = 1 / Math.sqrt(variance + eps);
        for (let i = 0; i < length; i++) {
          const channel = Math.floor((start + i) / size);
          const normal = (part[i] - mean) * factor;
          values[start + i] = normal * weight.values[channel] + bias.values[channel];
        }
      }
      return { values, shape: x.shape };
    },

    /** Repeats the nearest pixel. */
    upsample({ size: [rows, columns] }, x) {
      const [channels, height, width] = x.shape;
      const values = new Float32Array(channels * rows * columns);
      let place = 0;
      for (let c = 0; c < channels; c++) {
        for (let row = 0; row < rows; row++) {
          const from = (c * height + Math.floor((row * height) / rows)) * width;
          for (let column = 0; column < columns; column++) {
            values[place++] = x.values[from + Math.floor((column * width) / columns)];
          }
        }
      }
      return { values, shape: [channels, rows, columns] };
    },

    residual({ body }, x) {
      const change = run(body, x);
      return mapped(x, (value, i) => value + change.values[i]);
    },

    take({ number }, x) {
      const size = x.values.length / x.shape[0];
      return {
        values: x.values.subarray(0, number * size),
        shape: [number, ...x.shape.slice(1)],
      };
    },

    between({ bounds }, x) {
      return mapped(x, (raw) => between(bounds, raw));
    },

    softmax({ total }, x) {
      const found = shares(x.values);
      return mapped(x, (_, i) => total * found[i]);
    },

    exponential({ factor }, x) {
      return mapped(x, (value) => factor * Math.exp(value));
    },

    log(_, x) {
      return mapped(x, (value) => Math.log(Math.max(value, 1e-30)));
    },

    /** The mean of a logistic distribution that is clipped to [0, 1]. */
    logistic({ bounds }, x) {
      const half = x.values.length / 2;
      const values = x.values.subarray(0, half).map((mean, i) => {
        const scale = Math.exp(between(bounds, x.values[half + i]));
        const low = softplus(-Math.abs(mean) / scale);
        const high = softplus(-Math.abs(mean - 1) / scale);
        return Math.min(Math.max(mean, 0), 1) + scale * (low - high);
      });
      return { values, shape: [half] };
    },

    /** Expected features of the columns of a table. */
    columns(step, x) {
      const half = x.values.length / 2;
      const values = new Float32Array(half);
      let place = 0;
      for (const column of step.columns) {
        const end = place + column.levels;
        const a = x.values.subarray(place, end);
        const r = x.values.subarray(half + place, half + end);
        values.set(expected[column.kind](a, r, column, step), place);
        place = end;
      }
      return { values, shape: [half] };
    },
  };

  /** Expected features by the kind of a column. */
  const expected = {
    real: ([a], _, { mean, deviation }) => [mean + deviation * a],
    positive([a], [r], { mean, deviation }, { log_variances, unit }) {
      const variance = deviation ** 2 * Math.exp(between(log_variances, r + unit));
      return [Math.exp(mean + deviation * a + 0.5 * variance)];
    },
    count: ([a], _, { mean, deviation }, { most_log_rate }) => [
      Math.exp(Math.min(mean + deviation * a, most_log_rate)),
    ],
    binary: ([a]) => [sigmoid(a)],
    categorical: (a) => shares(a),
    ordinal(a, r, { levels }, { least_gap, half_log_two }) {
      let threshold = r[0] - half_log_two * (levels - 2);
      let before = 0;
      const found = [];
      for (let level = 0; level < levels - 1; level++) {
        if (level > 0) threshold += softplus(r[level]) + least_gap;
        const below = sigmoid(threshold - a[0]);
        found.push(below - before);
        before = below;
      }
      return [...found, 1 - before];
    },
  };

  function run(program, x) {
    return program.reduce((state, step) => steps[step.step](step, state), x);
  }

  /** The steps with arrays in the place of their places. */
  function prepared(program, read) {
    return program.map((step) => {
      const ready = { ...step };
      for (const name of ["weight", "bias", "factor", "shift"]) {
        if (step[name]?.shape) ready[name] = read(step[name]);
      }
      if (step.body) ready.body = prepared(step.body, read);
      return ready;
    });
  }

  /** A function from the values of all codes by name to the expected observation. */
  function decoder({ steps: program, inputs }, read) {
    const ready = prepared(program, read);
    return (codes) => {
      const latent = Float32Array.from(inputs.flatMap((name) => Array.from(codes[name])));
      return run(ready, { values: latent, shape: [latent.length] }).values;
    };
  }

  return { decoder };
})();
