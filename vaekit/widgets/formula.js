// A formula that the reader types: read, typeset as it was understood, evaluated in every setting
// and compared with what Python computed there.
// Nothing that is typed runs as code: the parser knows numbers, names and operators, and looks the
// names up in Maps, which inherit no `constructor`.

const TOLERANCE = 1e-10; // relative to max(1, |right|): "to ten digits"
const DIFFERENT = 1e-6; // a slip must be off by more, somewhere
const LONGEST = 400; // characters
const DEEPEST = 60; // brackets, signs and powers inside each other

const GREEK = new Map(Object.entries({
  alpha: "α", beta: "β", gamma: "γ", delta: "δ", epsilon: "ε", zeta: "ζ", eta: "η", theta: "θ",
  iota: "ι", kappa: "κ", lambda: "λ", mu: "μ", nu: "ν", xi: "ξ", omicron: "ο", rho: "ρ",
  sigma: "σ", tau: "τ", upsilon: "υ", phi: "φ", chi: "χ", psi: "ψ", omega: "ω", pi: "π",
  Gamma: "Γ", Delta: "Δ", Theta: "Θ", Lambda: "Λ", Xi: "Ξ", Pi: "Π", Sigma: "Σ", Phi: "Φ",
  Psi: "Ψ", Omega: "Ω",
}));
const GREEK_NAMES = new Map([...GREEK].map(([name, letter]) => [letter, name]));

const FUNCTIONS = new Map([
  ["ln", Math.log], ["log", Math.log], ["exp", Math.exp], ["sqrt", Math.sqrt], ["abs", Math.abs],
  ["tanh", Math.tanh], ["sinh", Math.sinh], ["cosh", Math.cosh],
  ["sin", Math.sin], ["cos", Math.cos], ["tan", Math.tan],
]);
const CONSTANTS = new Map([["pi", Math.PI], ["e", Math.E]]);

const VULGAR = new Map([
  ["½", [1, 2]], ["⅓", [1, 3]], ["⅔", [2, 3]], ["¼", [1, 4]], ["¾", [3, 4]], ["⅕", [1, 5]],
  ["⅙", [1, 6]], ["⅛", [1, 8]], ["⅜", [3, 8]],
]);
const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";
const LOWERED = new Map(
  [..."₀₁₂₃₄₅₆₇₈₉ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ"].map((c, i) => [c, "0123456789aehijklmnoprstuvx"[i]]));
const UNDER = /^(?:_\{[A-Za-z0-9Α-ω]+\}|_[A-Za-z0-9]+|_[Α-ω]|[₀-ₜᵢᵣᵤᵥⱼ]+)/; // a subscript
const CLOSING = new Map([["(", ")"], ["[", "]"], ["{", "}"]]);

// One character for each operator, however it is written; and look-alikes of Greek letters.
const SAME = new Map([
  ..."·⋅∙•×∗".split("").map((c) => [c, "*"]), ..."−–—‐‑".split("").map((c) => [c, "-"]),
  ..."÷∕⁄".split("").map((c) => [c, "/"]), ..."∣｜".split("").map((c) => [c, "|"]),
  ["µ", "μ"], ["ϕ", "φ"], ["ϵ", "ε"], ["ϑ", "θ"], ["ϱ", "ρ"], ["ς", "σ"], ["\u2126", "Ω"], ["′", "'"],
]);

/** What is wrong with a formula, in one sentence, and where: from `start` up to `end`. */
export class FormulaError extends Error {
  constructor(message, start, end) {
    super(message);
    this.start = start;
    this.end = end;
  }
}

// Reading: text → tokens → tree

/** The name of a symbol in one spelling: "σ_p", "σₚ" and "sigma_p" are the same. */
export function canonical(name) {
  const text = [...name].map((c) => SAME.get(c) ?? c).join("");
  const [, base, lowered = ""] = text.match(/^([^_₀-ₜᵢᵣᵤᵥⱼ]+)_?(.*)$/u) ?? [text, text];
  const spelled = (part) => GREEK_NAMES.get(part) ?? part;
  const under = [...lowered.replace(/[{}]/g, "")].map((c) => LOWERED.get(c) ?? c).join("");
  const split = under === "" ? base.match(/^(.*?[^0-9])([0-9]+)$/) : null; // x1 is x₁
  const [head, tail] = split ? [split[1], split[2]] : [base, under];
  return spelled(head) + (tail === "" ? "" : `_${spelled(tail)}`);
}

const quoted = (text) => `“${text}”`;
const listed = (names) =>
  names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;

/** Tokens {kind, value, start, end, spaced}; `symbols` are the names that the formula may use. */
function tokenize(text, symbols) {
  // One UTF-16 unit for each character, so that a place in `plain` is one in `letters`.
  const letters = [];
  let offset = 0;
  for (const c of text) {
    // Pasted from typeset mathematics: 𝜎 is σ.
    const upright = /[\u{1D400}-\u{1D7FF}]/u.test(c) ? c.normalize("NFKC") : c;
    const folded = SAME.get(upright) ?? upright;
    letters.push({ start: offset, folded: folded.length === 1 ? folded : "\uFFFD" });
    offset += c.length;
  }
  letters.push({ start: offset });
  const plain = letters.slice(0, -1).map(({ folded }) => folded).join("");
  const known = new Set(symbols.map(canonical));
  const tokens = [];
  let at = 0;
  let spaced = false;

  const fail = (message, from, to) => {
    throw new FormulaError(message, letters[from].start, letters[to].start);
  };
  const match = (pattern) => {
    const sticky = new RegExp(pattern, "y");
    sticky.lastIndex = at;
    return sticky.exec(plain)?.[0] ?? "";
  };
  function push(kind, value, length, extra = {}) {
    const [start, end] = [letters[at].start, letters[at + length].start];
    tokens.push({ kind, value, start, end, spaced, text: text.slice(start, end), ...extra });
    at += length;
    spaced = false;
  }

  /** Cut a run of letters into names that are known, the longest first; null if that fails. */
  function cut(run, under, from = at) {
    if (run === "") return [];
    for (let length = run.length; length > 0; length--) {
      const [head, rest] = [run.slice(0, length), run.slice(length)];
      const last = rest === "";
      const name = canonical(head + (last ? under : ""));
      const opens = last && under === "" && /^\s*\(/.test(plain.slice(from + length));
      const piece = known.has(name) ? ["symbol", name]
        : name === "pi" ? ["constant", "pi"]
          : opens && FUNCTIONS.has(head) ? ["function", head] : null;
      if (!piece) continue;
      const pieces = cut(rest, under, from + length);
      if (pieces) return [[...piece, length + (last ? under.length : 0)], ...pieces];
    }
    return null;
  }

  function readName() {
    const run = match("[A-Za-z]+") || plain[at];
    const rest = plain.slice(at + run.length);
    const under = rest.match(UNDER)?.[0] ?? "";
    const digits = under === "" ? rest.match(/^[0-9]+/)?.[0] ?? "" : "";
    for (const tail of digits === "" ? [under] : [digits, ""]) {
      const name = canonical(run + tail);
      if (known.has(name)) return push("symbol", name, run.length + tail.length);
    }
    if (/^_[^{]/.test(under)) { // sigma_psigma_q: a subscript may end before its letters do
      for (let length = under.length - 1; length > 1; length--) {
        const name = canonical(run + under.slice(0, length));
        if (known.has(name)) return push("symbol", name, run.length + length);
      }
    }
    const base10 = digits !== "" && rest[digits.length] === "("; // log10(x), log2(x)
    if (under === "" && !base10) {
      if (FUNCTIONS.has(run.toLowerCase())) return push("function", run.toLowerCase(), run.length);
      const constant = canonical(run);
      if (CONSTANTS.has(constant)) return push("constant", constant, run.length);
    }
    const pieces = digits === "" ? cut(run, under) : null;
    if (pieces) {
      for (const [kind, name, length] of pieces) push(kind, name, length);
      return undefined;
    }
    const length = (run + under + digits).length;
    const typed = text.slice(letters[at].start, letters[at + length].start);
    return fail(
      `${quoted(typed)} is unknown. The formula may use ${listed(symbols)}.`, at, at + length);
  }

  while (at < plain.length) {
    const c = plain[at];
    const blank = match("[\\s\\u200b-\\u200d\\u2060-\\u2064\\ufeff]+");
    const number = match("(?:\\d+\\.?\\d*|\\.\\d+)(?:[eE][+-]?\\d+)?");
    const power = match(`[⁺⁻]?[${RAISED}]+`);
    if (blank) {
      at += blank.length;
      spaced = true;
    } else if (number) {
      const fraction = VULGAR.get(plain[at + number.length]); // 2½ is two and a half
      const value = Number(number) + (fraction ? fraction[0] / fraction[1] : 0);
      push("number", value, number.length + (fraction ? 1 : 0));
    } else if (VULGAR.has(c)) {
      const [above, below] = VULGAR.get(c);
      push("number", above / below, 1, { fraction: [above, below] });
    } else if (power) {
      const digits = [...power].map((p) => (RAISED.includes(p) ? RAISED.indexOf(p) : p)).join("");
      push("raised", Number(digits.replace("⁻", "-").replace("⁺", "")), power.length);
    } else if (/[A-Za-z]/.test(c) || GREEK_NAMES.has(c)) {
      readName();
    } else if (plain.startsWith("**", at)) {
      push("operator", "^", 2);
    } else if ("+-*/^".includes(c)) {
      push("operator", c, 1);
    } else if ("([{".includes(c)) {
      push("open", c, 1);
    } else if (")]}".includes(c)) {
      push("close", c, 1);
    } else if (c === "|") {
      push("bar", c, 1);
    } else if (c === "√") {
      push("function", "sqrt", 1, { root: true });
    } else if (c === ",") {
      fail("A comma has no meaning here; a decimal point is written 0.5.", at, at + 1);
    } else if (c === "=") {
      fail("Type only what stands on the right of the equals sign.", at, at + 1);
    } else if (c === "_" || LOWERED.has(c)) {
      fail("A subscript belongs directly behind the letter that carries it.", at, at + 1);
    } else {
      const sign = text.slice(letters[at].start, letters[at + 1].start);
      fail(`The sign ${quoted(sign)} has no meaning here.`, at, at + 1);
    }
  }
  tokens.push({ kind: "end", start: text.length, end: text.length, spaced, text: "" });
  return tokens;
}

const negated = (of) => ({ kind: "negative", of });
/** A product or quotient; a sign in front of it stands in front of the whole, as on paper. */
const joined = (kind, left, right) =>
  left.kind === "negative" ? negated(joined(kind, left.of, right)) : { kind, left, right };

/**
 * The tree of a formula that may use `symbols`. Throws a FormulaError.
 *
 *   sum      = product (± product)*
 *   product  = signed ((· | /) signed | power)*        the last: an implicit product
 *   signed   = (±) signed | power
 *   power    = primary (^ signedPower | ²)?            so −x² is −(x²), and 2^3^2 is 2^9
 *   primary  = number | name | function argument | (sum) | |sum|
 *
 * What mathematicians themselves read in two ways, as 1/2x and ln x/y, is refused with a sentence.
 */
export function parse(text, symbols) {
  const tokens = tokenize(text, symbols);
  let at = 0;
  let depth = 0;
  let barOpen = false; // whether a bar would close: reset inside brackets

  const peek = () => tokens[at];
  const take = () => tokens[at++];
  const isOperator = (...signs) => peek().kind === "operator" && signs.includes(peek().value);
  const fail = (message, token = peek()) => {
    throw new FormulaError(message, token.start, token.end);
  };
  function deeper(read) {
    if (++depth > DEEPEST) fail("There is too much inside each other here.");
    const node = read();
    depth--;
    return node;
  }
  const startsFactor = () =>
    ["number", "symbol", "constant", "function", "open"].includes(peek().kind)
    || (peek().kind === "bar" && !barOpen);

  function sum() {
    let left = product();
    while (isOperator("+", "-")) {
      const kind = take().value === "+" ? "sum" : "difference";
      left = { kind, left, right: product() };
    }
    return left;
  }

  function product() {
    let left = signed();
    let divided = false;
    for (;;) {
      if (isOperator("*", "/")) {
        divided = take().value === "/";
        left = joined(divided ? "quotient" : "product", left, signed());
      } else if (startsFactor()) {
        if (peek().kind === "number") {
          fail(tokens[at - 1].kind === "number"
            ? "Two numbers stand side by side; write · between them for a product."
            : `Write the number first, or · or ^ before ${peek().text}.`);
        }
        if (divided && !peek().spaced) {
          fail("This can be read in two ways: write 1/(2x) if it belongs below the line, "
            + "(1/2)x if not.");
        }
        left = joined("product", left, power());
      } else {
        return left;
      }
    }
  }

  function signed() {
    if (isOperator("-")) {
      take();
      return deeper(() => negated(signed()));
    }
    if (isOperator("+")) {
      take();
      return deeper(signed);
    }
    return power();
  }

  function power() {
    const base = primary();
    if (peek().kind === "raised") {
      const exponent = raised();
      if (peek().kind === "raised" || isOperator("^")) {
        fail("Two powers stand in a row; say with brackets which comes first.");
      }
      return { kind: "power", base, exponent };
    }
    if (!isOperator("^")) return base;
    take();
    return { kind: "power", base, exponent: deeper(signedPower) };
  }
  function signedPower() {
    if (!isOperator("-", "+")) return power();
    const sign = take().value;
    const node = deeper(signedPower);
    return sign === "-" ? negated(node) : node;
  }
  function raised() {
    const { value } = take();
    const node = { kind: "number", value: Math.abs(value), text: String(Math.abs(value)) };
    return value < 0 ? negated(node) : node;
  }

  function primary() {
    const token = peek();
    if (token.kind === "number") {
      take();
      const { value, fraction } = token;
      return { kind: "number", value, fraction, text: token.text };
    }
    if (token.kind === "symbol" || token.kind === "constant") {
      take();
      return { kind: token.kind, name: token.value };
    }
    if (token.kind === "function") return call();
    if (token.kind === "open") return bracket();
    if (token.kind === "bar" && !(barOpen && endsFactor(tokens[at + 1]))) return bars();
    return missing();
  }
  const endsFactor = ({ kind }) => ["end", "operator", "close", "raised"].includes(kind);

  /** Something should stand here and does not: say what. */
  function missing() {
    const token = peek();
    const before = tokens[at - 1];
    if (token.kind === "raised") fail("A power needs something before it.");
    if (before?.kind === "operator") {
      fail(`After ${quoted(before.text)} something must follow.`, before);
    }
    if (token.kind === "end") {
      if (!before) fail("There is no formula yet.");
      fail(`This ${quoted(before.text)} is never closed.`, before);
    }
    if (token.kind === "operator") fail(`Before ${quoted(token.text)} something is missing.`);
    if (before?.kind === "open" || before?.kind === "bar") fail("There is nothing in between.");
    return fail(`This ${quoted(token.text)} closes nothing.`);
  }

  /** What stands between `open` and `close`; `bar` says whether a bar in it closes. */
  function enclosed(close, bar) {
    const open = take();
    const outer = barOpen;
    barOpen = bar;
    const node = deeper(sum);
    barOpen = outer;
    if (peek().kind === "end") fail(`This ${quoted(open.text)} is never closed.`, open);
    if (peek().value !== close) stray(`Here a ${quoted(close)} should stand.`);
    take();
    return node;
  }
  const bracket = () => enclosed(CLOSING.get(peek().value), false);
  const bars = () => ({ kind: "call", name: "abs", of: enclosed("|", true) });

  function call() {
    const token = take();
    const { value: name, text: written } = token;
    // tanh²(x) is (tanh(x))²; a power of −1 would be the inverse to some.
    let exponent = null;
    if (!token.root && (peek().kind === "raised" || isOperator("^"))) {
      const first = peek();
      if (isOperator("^")) take();
      const whole = ["raised", "number"].includes(peek().kind) && Number.isInteger(peek().value);
      if (!whole || peek().value < 1) fail(`Write the power behind: (${written}(x))^….`, first);
      exponent = raised();
    }
    let node;
    if (peek().kind === "open") {
      node = { kind: "call", name, of: bracket() };
    } else if (startsFactor()) {
      node = { kind: "call", name, of: deeper(power) };
      const goesOn = token.root
        ? startsFactor() && !peek().spaced
        : isOperator("*", "/") || startsFactor();
      if (goesOn && peek().kind !== "function") {
        fail(`Say with brackets where it ends: ${written}(…).`, token);
      }
    } else {
      fail(`Put what ${written} acts on in brackets: ${written}(…).`, token);
    }
    return exponent ? { kind: "power", base: node, exponent } : node;
  }

  function stray(message) {
    if (peek().kind === "close" || peek().kind === "bar") fail(message);
    fail(`${quoted(peek().text)} cannot stand here.`);
  }

  if (text.length > LONGEST) {
    throw new FormulaError("This is too long for a formula.", LONGEST, text.length);
  }
  const tree = sum();
  if (peek().kind === "close") fail(`This ${quoted(peek().text)} closes nothing.`);
  if (peek().kind !== "end") stray();
  return tree;
}

// Evaluating

/** The formula's value at `values`, a Map from canonical names; NaN where it has none. */
export function evaluate(node, values) {
  const of = (part) => evaluate(part, values);
  switch (node.kind) {
    case "number": return node.value;
    case "symbol": return values.get(node.name);
    case "constant": return CONSTANTS.get(node.name);
    case "negative": return -of(node.of);
    case "sum": return of(node.left) + of(node.right);
    case "difference": return of(node.left) - of(node.right);
    case "product": return of(node.left) * of(node.right);
    case "quotient": return of(node.left) / of(node.right);
    case "power": return of(node.base) ** of(node.exponent);
    default: return FUNCTIONS.get(node.name)(of(node.of));
  }
}

/** Why the formula has no finite value there: the innermost part that has none. */
function whyNone(node, values) {
  const parts = [node.left, node.right, node.base, node.exponent, node.of].filter(Boolean);
  const inner = parts.find((part) => !Number.isFinite(evaluate(part, values)));
  if (inner) return whyNone(inner, values);
  const [first, second] = parts.map((part) => evaluate(part, values));
  if (node.kind === "quotient" && second === 0) return "it divides by 0";
  if (node.kind === "power" && first === 0) return "it divides by 0";
  if (node.kind === "power" && first < 0 && !Number.isInteger(second)) {
    return `it takes ${shown(first)} to the power ${shown(second)}`;
  }
  if (["ln", "log"].includes(node.name)) return `it takes the logarithm of ${shown(first)}`;
  if (node.name === "sqrt") return `it takes the root of ${shown(first)}`;
  return "a number grows too large";
}

/** The settings of an exercise, each as a Map from canonical names to numbers. */
export function settingsOf({ symbols, settings, truth }) {
  const names = symbols.map(canonical);
  return truth.map((_, i) => new Map(names.map((name, k) => [name, settings[k][i]])));
}

const near = (value, right) =>
  Math.abs(value - right) <= TOLERANCE * Math.max(1, Math.abs(right));

/** A number to read: three significant digits, or as many decimals as asked. */
function shown(value, decimals) {
  const size = Math.abs(value);
  let text;
  if (size >= 1e6 || (decimals === undefined && size !== 0 && size < 1e-3)) {
    const [digits, power] = value.toExponential(2).split("e");
    const raised = [...power.replace("+", "")]
      .map((c) => (c === "-" ? "⁻" : RAISED[Number(c)])).join("");
    text = `${digits}·10${raised}`;
  } else {
    text = decimals === undefined
      ? String(Number(value.toPrecision(3))) : fixed(value, decimals);
  }
  return text.replace("-", "−");
}

/** The values of each slip: a formula in the same notation, or numbers from Python. */
export function readSlips({ symbols, slips, truth, settings }) {
  const places = settingsOf({ symbols, settings, truth });
  return slips.map(({ statement, formula, values }) => {
    const tree = formula === undefined ? null : parse(formula, symbols);
    const numbers = tree ? places.map((place) => evaluate(tree, place)) : values;
    const apart = numbers.some((value, i) => !(Math.abs(value - truth[i]) <= DIFFERENT));
    if (!apart) throw new Error(`The slip “${statement}” equals the truth.`);
    return { statement, values: numbers };
  });
}

/**
 * The answer to a tree: {verdict, text}, the verdict being "right", "slip", "wrong" or "none", the
 * last where the formula has no finite value in some setting.
 */
export function judge(tree, { symbols, settings, truth }, slips) {
  const places = settingsOf({ symbols, settings, truth });
  const values = places.map((place) => evaluate(tree, place));
  const count = (n) => (truth.length === 1 ? "the one setting"
    : n === truth.length ? `all ${n} settings` : `${n} of ${truth.length} settings`);
  const where = (i) => symbols.map((symbol, k) => {
    const number = settings[k][i];
    return `${symbol} ${Number(number.toPrecision(3)) === number ? "=" : "≈"} ${shown(number)}`;
  }).join(", ");

  if (values.every((value, i) => near(value, truth[i]))) {
    const all = count(truth.length);
    return { verdict: "right", text: `Right. In ${all} it equals the true value to ten digits.` };
  }
  const same = (value, other) => Object.is(value, other) || near(value, other);
  const slip = slips.find((known) => values.every((value, i) => same(value, known.values[i])));
  if (slip) return { verdict: "slip", text: `Not right, and a known slip: ${slip.statement}.` };

  const none = values.findIndex((value) => !Number.isFinite(value));
  if (none >= 0) {
    const n = values.filter((value) => !Number.isFinite(value)).length;
    const text = `In ${count(n)} it gives no finite number, for instance at ${where(none)}: there `
      + `${whyNone(tree, places[none])}.`;
    return { verdict: "none", text };
  }
  const off = values.map((value, i) => Math.abs(value - truth[i]));
  const n = values.filter((value, i) => !near(value, truth[i])).length;
  const worst = off.indexOf(Math.max(...off));
  // As many decimals as it takes to tell the two numbers apart.
  const decimals = Math.min(15, Math.max(2, 1 - Math.floor(Math.log10(off[worst]))));
  const most = shown(Number(off[worst].toPrecision(2)));
  let text = `Not yet. In ${count(n)} it is off, by up to ${most}, for instance at ${where(worst)}: `
    + `yours ${shown(values[worst], decimals)}, right ${shown(truth[worst], decimals)}.`;
  const apart = values[worst] - truth[worst];
  const ratio = values[worst] / truth[worst];
  const constant = (f, c) => truth.length > 2
    && truth.every((right, i) => Math.abs(values[i] - f(right)) <= 1e-8 * Math.max(1, Math.abs(c)));
  if (constant((right) => right + apart, apart)) {
    text += ` It is too ${apart > 0 ? "large" : "small"} by the same amount everywhere.`;
  } else if (constant((right) => right * ratio, ratio)) {
    text += Math.abs(ratio + 1) < 1e-8 ? " Its sign is wrong everywhere."
      : ` It is ${shown(ratio)} times the right value everywhere.`;
  }
  return { verdict: "wrong", text };
}

// Typesetting: a tree as MathML, which browsers draw by themselves

function mathml(tag, ...children) {
  const node = document.createElementNS("http://www.w3.org/1998/Math/MathML", tag);
  node.append(...children);
  return node;
}
const row = (...children) => mathml("mrow", ...children);
const sign = (text) => mathml("mo", text);
const grouped = (node) => row(sign("("), node, sign(")"));

// How strongly the outermost operation binds; what binds less than its place needs is bracketed.
const STRENGTH = { sum: 1, difference: 1, negative: 1, product: 2, quotient: 3, power: 4 };
const strength = (node) =>
  STRENGTH[node.kind]
  ?? (node.fraction ? 3 : node.kind === "call" && !["sqrt", "abs"].includes(node.name) ? 4 : 5);

function typesetName(name) {
  const letters = (part) => (/^[0-9.]+$/.test(part)
    ? mathml("mn", part) : mathml("mi", GREEK.get(part) ?? part));
  const [base, under] = name.split("_");
  return under === undefined ? letters(base) : mathml("msub", letters(base), letters(under));
}

/** The MathML of a tree, in brackets where its place needs more `strength` than it has. */
export function typeset(node, needs = 0) {
  if (strength(node) < needs) return grouped(typeset(node));
  switch (node.kind) {
    case "number":
      return node.fraction
        ? mathml("mfrac", ...node.fraction.map((part) => mathml("mn", String(part))))
        : mathml("mn", node.text);
    case "symbol": return typesetName(node.name);
    case "constant": return mathml("mi", GREEK.get(node.name) ?? node.name);
    case "negative": return row(sign("−"), typeset(node.of, 2));
    case "sum": return row(typeset(node.left), sign("+"), typeset(node.right, 2));
    case "difference": return row(typeset(node.left), sign("−"), typeset(node.right, 2));
    case "quotient": return mathml("mfrac", typeset(node.left), typeset(node.right));
    case "product": {
      const right = typeset(node.right, 2.5);
      const first = right.textContent[0];
      const times = /[0-9]/.test(first) ? "·" : "⁢"; // 2·3, and an invisible sign in 2x
      const gap = times === "·" ? [] : [mathml("mspace")];
      gap.forEach((space) => space.setAttribute("width", "0.12em"));
      return row(typeset(node.left, 2), sign(times), ...gap, right);
    }
    case "power": return mathml("msup", typeset(node.base, 5), typeset(node.exponent));
    default:
      if (node.name === "sqrt") return mathml("msqrt", typeset(node.of));
      if (node.name === "abs") return row(sign("|"), typeset(node.of), sign("|"));
      return row(mathml("mi", node.name), grouped(typeset(node.of)));
  }
}

/** The terms of a sum, each with its sign: formulas of their own, so that a line breaks between. */
function terms(node) {
  if (node.kind !== "sum" && node.kind !== "difference") return [[typeset(node)]];
  const operator = sign(node.kind === "sum" ? "+" : "−");
  operator.setAttribute("form", "infix");
  return [...terms(node.left), [operator, typeset(node.right, 2)]];
}

// The exercise

const INSERTS = ["²", "½", "√(", "ln("]; // what a phone's keyboard hides

function render({ model, el }) {
  const id = `vk-${Math.random().toString(36).slice(2)}`; // a page may hold several widgets
  const parts = ["prompt", "symbols", "settings", "truth", "slips", "hint"];
  const exercise = Object.fromEntries(parts.map((key) => [key, model.get(key)]));
  const { symbols } = exercise;
  const find = frame(el, "Type the formula", "vk-formula", `
    <form class="vk-row" novalidate>
      <label for="${id}"></label>
      <input id="${id}" type="text" maxlength="${LONGEST}" autocomplete="off" autocapitalize="off"
        autocorrect="off" spellcheck="false" enterkeyhint="done"
        aria-describedby="${id}-answer ${id}-usable">
      <button type="submit">Check</button>
    </form>
    <div class="vk-row vk-inserts" role="group" aria-label="Insert"></div>
    <div class="vk-read" hidden><span class="vk-hint">read as</span></div>
    <div class="vk-place" aria-hidden="true" hidden></div>
    <p class="vk-answer" id="${id}-answer" role="status"></p>
    <p class="vk-hint" id="${id}-usable"></p>
    <details hidden><summary>Hint</summary><p></p></details>`);
  const input = find("input");
  const read = find(".vk-read");
  const place = find(".vk-place");
  const answer = find(".vk-answer");
  find("label").textContent = exercise.prompt;
  find(`[id="${id}-usable"]`).textContent = `The formula may use ${listed(symbols)}; `
    + "+ − · / ^ and brackets; ln, exp, sqrt, tanh and |x|; π and e. Enter checks it.";
  find("details").hidden = !exercise.hint;
  find("details p").textContent = exercise.hint;

  let slips = [];
  let broken = "";
  try {
    slips = readSlips(exercise);
  } catch (error) { // the author's mistake, not the reader's
    broken = `This exercise is broken. ${error.message}`;
  }

  function say(verdict, text) {
    el.firstElementChild.dataset.verdict = verdict;
    answer.textContent = text;
    input.toggleAttribute("aria-invalid", false);
    if (verdict === "unreadable") input.setAttribute("aria-invalid", "true");
  }

  /** Show the formula typeset as it was understood, or take that away. */
  function showRead(tree) {
    read.hidden = !tree;
    read.querySelectorAll("math").forEach((math) => math.remove());
    if (!tree) return;
    terms(tree).forEach((parts) => {
      const math = mathml("math", row(...parts));
      math.setAttribute("displaystyle", "true");
      read.append(" ", math);
    });
    read.toggleAttribute("tabindex", false);
    if (read.scrollWidth > read.clientWidth) read.tabIndex = 0; // the keyboard scrolls it
  }

  /** Mark in a copy of the text where the reading stopped, or take the mark away. */
  function showPlace(error) {
    place.hidden = !error;
    place.replaceChildren();
    if (!error) return;
    const mark = document.createElement("mark");
    mark.textContent = input.value.slice(error.start, error.end) || " ";
    place.append(input.value.slice(0, error.start), mark, input.value.slice(error.end));
  }

  function understand() {
    try {
      return { tree: parse(input.value, symbols) };
    } catch (error) {
      if (!(error instanceof FormulaError)) throw error;
      return { error };
    }
  }

  /** While the reader types: the formula as it is understood so far, and no verdict. */
  function follow() {
    say("", broken);
    showPlace(null);
    showRead(input.value.trim() === "" ? null : understand().tree);
  }
  function check() {
    follow();
    if (input.value.trim() === "" || broken) return;
    const { tree, error } = understand();
    if (error) {
      showPlace(error);
      say("unreadable", error.message);
      input.setSelectionRange(error.start, error.end);
      return;
    }
    const { verdict, text } = judge(tree, exercise, slips);
    say(verdict, text);
  }

  function keep() {
    model.set("typed", input.value);
    model.save_changes();
  }
  input.oninput = () => {
    follow();
    keep();
  };
  find("form").onsubmit = (event) => {
    event.preventDefault();
    check();
  };
  input.onkeydown = (event) => { // JupyterLab lets no Enter submit a form
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    check();
  };
  for (const text of [...symbols, ...INSERTS]) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text.replace("(", "");
    button.setAttribute("aria-label", `Insert ${text}`);
    button.onclick = () => {
      // A symbol next to a letter would run into it.
      const before = input.value.slice(0, input.selectionStart);
      const apart = /[\p{L}\p{N}]$/u.test(before) && /^\p{L}/u.test(text) ? " " : "";
      input.setRangeText(apart + text, input.selectionStart, input.selectionEnd, "end");
      input.focus();
      input.oninput();
    };
    find(".vk-inserts").append(button);
  }
  keepKeys(el);
  const forget = remember(model);

  function fromModel() {
    const typed = model.get("typed");
    if (typed === input.value) return;
    input.value = typed;
    follow();
  }
  model.on("change:typed", fromModel);
  follow();
  fromModel();
  return () => {
    forget();
    model.off("change:typed", fromModel);
  };
}

export default { render };
