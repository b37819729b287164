// The Gaussian's formulas that several widgets use (chapters 2, 3 and 4); values are in nats.

/** ln N(x; mu, sigma²). */
export function logDensity(x, mu, sigma) {
  return -0.5 * ((x - mu) / sigma) ** 2 - Math.log(sigma) - 0.5 * Math.log(2 * Math.PI);
}

/** The density of N(mu, sigma²) at x, per unit of x. */
export function density(x, mu, sigma) {
  return Math.exp(-0.5 * ((x - mu) / sigma) ** 2) / (sigma * Math.sqrt(2 * Math.PI));
}

/**
 * Φ(t), by its series at 0: Φ(t) = ½ + φ(t) (t + t³/3 + t⁵/(3·5) + …), which integration by parts
 * gives. All its terms have one sign, so that no digits cancel.
 */
export function cumulative(t) {
  if (Math.abs(t) > 9) return t > 0 ? 1 : 0; // to 1e-18
  let term = t;
  let sum = t;
  for (let k = 3; Math.abs(term) > 1e-18 * Math.abs(sum); k += 2) {
    term *= (t * t) / k;
    sum += term;
  }
  return 0.5 + density(t, 0, 1) * sum;
}

/** KL(N(muP, sigmaP²) ‖ N(muQ, sigmaQ²)), closed form. */
export function klGaussian(muP, sigmaP, muQ, sigmaQ) {
  return Math.log(sigmaQ / sigmaP) + (sigmaP ** 2 + (muP - muQ) ** 2) / (2 * sigmaQ ** 2) - 0.5;
}

/** Mean and standard deviation of p(z|x), where z ~ N(0, 1) and x = z + s ε. */
export function posterior(x, s) {
  return [x / (1 + s ** 2), s / Math.sqrt(1 + s ** 2)];
}
