"use strict";
// Posteriors of single observations and of groups, and the plane in which a map shows them.
// A posterior is {mean, variance}, arrays of one number for each dimension.

const Evidence = (() => {
  const columns = (number, value) => Array.from({ length: number }, (_, d) => value(d));
  const sum = (rows, value) => rows.reduce((total, row) => total + value(row), 0);

  /** The shares of a Dirichlet distribution, with their variances. */
  function ofConcentration(concentration) {
    const total = concentration.reduce((a, b) => a + b, 0);
    const mean = concentration.map((a) => a / total);
    return { mean, variance: mean.map((share) => (share * (1 - share)) / (total + 1)) };
  }

  /** The code with arrays in the place of their places. */
  function prepared(code, read) {
    const ready = { ...code, plane: { ...code.plane } };
    for (const name of ["mean", "log_variance", "concentration", "prior"]) {
      if (code[name]) ready[name] = read(code[name]).values;
    }
    ready.plane.centre = read(code.plane.centre).values;
    ready.plane.basis = read(code.plane.basis).values;
    return ready;
  }

  /** The posterior of the observation in a row. */
  const single = (code, row) => posterior({ ...code, rule: "given" }, [row]);

  /** The posterior of a group, from those of the observations in `rows`. */
  function posterior(code, rows) {
    const { dim, family, rule } = code;
    if (rule === "given") rows = rows.slice(0, 1);
    if (family === "dirichlet") {
      const value = (row, d) => code.concentration[row * dim + d] - code.prior[d];
      const total = (d) => code.prior[d] + sum(rows, (row) => value(row, d));
      return ofConcentration(columns(dim, total));
    }
    const mean = (row, d) => code.mean[row * dim + d];
    if (family === "point") {
      const average = columns(dim, (d) => sum(rows, (row) => mean(row, d)) / rows.length);
      return { mean: average, variance: columns(dim, () => 0) };
    }
    const pairs = columns(dim, (d) =>
      rules[rows.length === 1 && rule === "given" ? "mean" : rule](
        rows.map((row) => ({
          mean: mean(row, d),
          variance: Math.exp(code.log_variance[row * dim + d]),
        })),
      ),
    );
    return { mean: pairs.map((one) => one.mean), variance: pairs.map((one) => one.variance) };
  }

  /** A sum of precisions, and of precisions times means, as a normal distribution. */
  const normal = (precision, slope) => ({ mean: slope / precision, variance: 1 / precision });
  const slope = (members) => sum(members, ({ mean, variance }) => mean / variance);

  /** The rules of mlvae.evidence.rules for one dimension. */
  const rules = {
    product: (members) => normal(sum(members, (one) => 1 / one.variance), slope(members)),
    prior_product: (members) => normal(1 + sum(members, (one) => 1 / one.variance), slope(members)),
    prior_corrected: (members) =>
      normal(1 + sum(members, (one) => Math.max(1 / one.variance - 1, 0)), slope(members)),
    mean: (members) => ({
      mean: sum(members, (one) => one.mean) / members.length,
      variance: sum(members, (one) => one.variance) / members.length,
    }),
    mixture(members) {
      const mean = sum(members, (one) => one.mean) / members.length;
      const square = sum(members, (one) => one.variance + (one.mean - mean) ** 2);
      return { mean, variance: square / members.length };
    },
  };

  /** The mean standard deviation over dimensions. */
  const spread = ({ variance }) =>
    variance.reduce((total, value) => total + Math.sqrt(value), 0) / variance.length;

  /** The point of the plane that is nearest to a value. */
  function place({ plane, dim }, value) {
    const along = (axis) => {
      let total = 0;
      for (let d = 0; d < dim; d++) {
        total += plane.basis[axis * dim + d] * (value[d] - plane.centre[d]);
      }
      return total;
    };
    return [along(0), along(1)];
  }

  /** The ellipse of two standard deviations in the plane: half axes, and an angle in degrees. */
  function ellipse({ plane, dim }, variance) {
    let [xx, xy, yy] = [0, 0, 0];
    for (let d = 0; d < dim; d++) {
      const [x, y] = [plane.basis[d], plane.basis[dim + d]];
      xx += x * x * variance[d];
      xy += x * y * variance[d];
      yy += y * y * variance[d];
    }
    const middle = (xx + yy) / 2;
    const half = Math.hypot((xx - yy) / 2, xy);
    return {
      long: 2 * Math.sqrt(middle + half),
      short: 2 * Math.sqrt(Math.max(middle - half, 0)),
      angle: (0.5 * Math.atan2(2 * xy, xx - yy) * 180) / Math.PI,
    };
  }

  return { ellipse, place, posterior, prepared, single, spread };
})();
