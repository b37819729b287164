// Formulas that fit their column. MathJax 3 breaks no lines, so a formula wider than its column is
// arranged anew: reasons wrap or move under their line, lines break before relations, then before
// operators; last it shrinks a little. What MathJax made is kept, and comes back when there is room.
const formulas = (() => {
  const RELATIONS = /mjx-c(3D|3C|3E|2248|2260|2261|2264|2265|2208|221D|223C|2192|21A6|21D2|21D4|27F6|27F9|27FA)\b/;
  const OPERATORS = /mjx-c(2B|2212|B1|D7|22C5|2F)\b/;
  const OPENING = /mjx-c(28|5B|7B|27E8)\b/;
  const CLOSING = /mjx-c(29|5D|7D|27E9)\b/;
  const COMMA = /mjx-c(2C|3B)\b/;
  const WRAPPERS = "mjx-texatom, mjx-mrow, mjx-mstyle";

  // How a displayed formula may be arranged, in this order, and how far it may shrink in it. The
  // first that fits is taken. Lines break at RELATION, at OPERATOR too, between any FACTORS, within
  // `depth` pairs of parentheses.
  const [NOWHERE, RELATION, OPERATOR, FACTOR] = [0, 1, 2, 3];
  const WAYS = [
    { shrink: 0.88 },
    { shrink: 0.88, below: true },
    { shrink: 0.92, below: true, columns: true },
    { shrink: 0.92, below: true, breaks: NOWHERE, depth: 0 },
    { shrink: 0.92, below: true, breaks: RELATION, depth: 0 },
    { shrink: 0.88, below: true, breaks: OPERATOR, depth: 0 },
    { shrink: 0.88, below: true, breaks: OPERATOR, depth: 1 },
    { shrink: 0.84, below: true, breaks: OPERATOR, depth: 2 },
    { shrink: 0.75, below: true, breaks: FACTOR, depth: 9 },
  ];

  // The one sign of an operator, fenced or not, as the classes of its glyphs.
  function sign(element) {
    while (element.matches(WRAPPERS) && element.children.length === 1) element = element.firstElementChild;
    if (element.localName !== "mjx-mo") return "";
    return [...element.querySelectorAll("mjx-c, mjx-stretchy-v")].map((c) => c.className).join(" ");
  }

  const content = (element) => [...element.children].filter((e) => e.localName !== "mjx-tstrut");

  // The terms of a formula as they follow each other, without the boxes round groups of them.
  function open(elements, depth) {
    return elements.flatMap((element) => {
      const parts = [...element.children];
      if (element.localName === "mjx-mtext" && parts.length > 12) return words(element);
      if (depth < 1 || !element.matches(WRAPPERS) || parts.length < 3) return [element];
      if (element.hasAttribute("size") || element.hasAttribute("style")) return [element];
      if (element.hasAttribute("space")) parts[0].setAttribute("space", element.getAttribute("space"));
      return open(parts, depth);
    });
  }

  // The words of a text, each with the space after it.
  function words(text) {
    const found = [];
    let word;
    for (const glyph of [...text.children]) {
      if (!word) {
        word = text.cloneNode(false);
        if (found.length) word.removeAttribute("space");
        word.vkWord = found.length > 0;
        found.push(word);
      }
      word.append(glyph);
      if (/mjx-c(A0|20)\b/.test(glyph.className)) word = undefined;
    }
    return found;
  }

  // Wrap elements into spans between which a line may break.
  function terms(elements, { breaks, depth }, into) {
    let within = 0, term, before = "";
    for (const element of open(elements, depth)) {
      const here = sign(element), space = element.getAttribute("space");
      if (CLOSING.test(here)) within -= 1;
      const may =
        within <= depth &&
        ((breaks >= RELATION && space === "4" && RELATIONS.test(here)) ||
          (breaks >= OPERATOR && space === "3" && OPERATORS.test(here)) ||
          (breaks >= OPERATOR && (COMMA.test(before) || before === "space")) ||
          (breaks >= FACTOR && (space || OPENING.test(here)) && before !== "start"));
      if (!term || may || element.vkWord) into.append((term = block("vk-term")));
      term.append(element);
      if (OPENING.test(here)) within += 1;
      before = OPENING.test(here) || RELATIONS.test(here) ? "start" : isWide(element) ? "space" : here;
    }
    return into;
  }

  function isWide(element) {
    while (element.matches(WRAPPERS) && element.children.length === 1) element = element.firstElementChild;
    return element.localName === "mjx-mspace" && parseFloat(element.style.width) >= 0.9;
  }

  // The parts of a line between the wide spaces that separate several formulas.
  function formulasOf(elements) {
    const parts = [[]];
    for (const element of elements) {
      if (!isWide(element)) parts.at(-1).push(element);
      else if (parts.at(-1).length) parts.push([]);
    }
    for (const [first] of parts.slice(1)) first?.removeAttribute("space");
    return parts.filter((part) => part.length);
  }

  // The rows of a formula that is one table, such as `aligned`, also within `split`.
  function rows(node) {
    const inside = content(node);
    if (inside.length !== 1) return undefined;
    const [only] = inside;
    if (only.localName === "mjx-itable") {
      const found = [...only.children];
      const cells = found.length === 1 ? content(found[0]) : [];
      return cells.length === 1 ? rows(cells[0]) ?? found : found;
    }
    return only.matches(`mjx-mtable, mjx-table, ${WRAPPERS}`) ? rows(only) : undefined;
  }

  function block(kind, ...inside) {
    const made = document.createElement("span");
    made.className = kind;
    made.append(...inside);
    return made;
  }

  // A copy of a displayed formula in lines of its own, or nothing if that would change nothing.
  function arranged(math, way) {
    const copy = math.cloneNode(true), table = rows(copy);
    const lines = table
      ? table.map((row) => {
          const [left, right = [], ...more] = content(row).map(content);
          return { left, right, reason: more.flat() };
        })
      : formulasOf(content(copy)).map((part) => ({ left: part, right: [], reason: [] }));
    if (way.columns && !lines.some((line) => line.reason.length)) return undefined;
    if (way.breaks === NOWHERE && !table && lines.length === 1) return undefined;
    const all = block(way.columns ? "vk-columns" : "vk-lines");
    for (const { left, right, reason } of lines) {
      const why = terms(reason, { breaks: OPERATOR, depth: 1 }, block("vk-reason"));
      if (way.columns) {
        const none = { breaks: NOWHERE, depth: 0 };
        all.append(terms(left, none, block("vk-left")), terms(right, none, block("vk-right")), why);
        continue;
      }
      const line = terms(left, way, block("vk-step"));
      if (!left.length) line.classList.add("vk-next");
      terms(right, way, line); // a line may break between the two
      all.append(line);
      if (!reason.length) continue;
      if (why.querySelectorAll("mjx-c").length > 4) all.append(why);
      else why.classList.replace("vk-reason", "vk-mark"), line.append(why);
    }
    copy.replaceChildren(all);
    copy.classList.add("vk-arranged");
    return copy;
  }

  const known = new Map();
  function state(container) {
    if (!known.has(container)) {
      const math = container.querySelector("mjx-math");
      known.set(container, { container, math, shown: math, size: parseFloat(container.style.fontSize) || 100 });
    }
    return known.get(container);
  }

  function show(formula, math, shrink = 1) {
    if (formula.shown !== math) formula.shown.replaceWith(math);
    formula.shown = math;
    formula.container.style.fontSize = `${(formula.size * shrink).toFixed(2)}%`;
  }

  function inside(element) {
    const { paddingLeft, paddingRight } = getComputedStyle(element);
    return element.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight);
  }

  // Formulas whose column has another width than when they were last arranged. Those that are
  // folded away have none; they are arranged when they appear.
  function changed(selector, box) {
    return [...document.querySelectorAll(selector)]
      .map((container) => Object.assign(state(container), { box: box(container) }))
      .map((formula) => [formula, formula.box ? inside(formula.box) : 0])
      .filter(([formula, width]) => width > 0 && width !== formula.width)
      .map(([formula, width]) => Object.assign(formula, { width }));
  }

  function fitDisplayed() {
    let waiting = changed("div.math > mjx-container", (container) => container.parentElement);
    for (const formula of waiting) formula.box.classList.remove("vk-number-below", "vk-scrolls");
    WAYS.forEach((way, i) => {
      const tried = waiting.filter((formula) => {
        const math = "columns" in way || "breaks" in way ? arranged(formula.math, way) : formula.math;
        const numbered = formula.box.querySelector(".eqno");
        if (!math || (way.below && math === formula.math && !numbered)) return false;
        show(formula, math);
        formula.box.classList.toggle("vk-number-below", Boolean(way.below && numbered));
        return true;
      });
      const ratios = tried.map(({ container }) => container.clientWidth / container.scrollWidth);
      tried.forEach((formula, j) => {
        const fits = ratios[j] >= way.shrink;
        if (fits || i === WAYS.length - 1) show(formula, formula.shown, Math.max(way.shrink, Math.min(1, ratios[j] * 0.998)));
        if (fits) waiting = waiting.filter((other) => other !== formula);
      });
    });
    for (const { box } of waiting) box.classList.add("vk-scrolls");
  }

  function fitInline() {
    let waiting = changed("span.math > mjx-container", (container) =>
      container.closest("p, li, dd, dt, td, th, h1, h2, h3, h4, h5, figcaption, div"),
    );
    for (const formula of waiting) show(formula, formula.math);
    for (const way of WAYS.filter(({ breaks }) => breaks > NOWHERE)) {
      const widest = waiting.map(({ container }) => {
        const terms = container.querySelectorAll(".vk-term");
        return Math.max(...[...(terms.length ? terms : [container])].map((e) => e.getBoundingClientRect().width));
      });
      waiting = waiting.filter((formula, i) => widest[i] > formula.width);
      for (const formula of waiting) {
        const copy = formula.math.cloneNode(true);
        const parts = content(copy);
        copy.replaceChildren();
        terms(parts, way, copy);
        copy.classList.add("vk-broken");
        show(formula, copy);
      }
    }
  }

  function fit() {
    fitDisplayed();
    fitInline();
    edges();
  }

  return { fit };
})();

// What must scroll sideways shows at its cut edge that there is more, and the keyboard reaches it.
function edges() {
  const SCROLLS = "pre, .vk-claim, .pst-scrollable-table-container, .output, div.math.vk-scrolls > mjx-container";
  const all = [...document.querySelectorAll("article")].flatMap((a) => [...a.querySelectorAll(SCROLLS)]);
  const more = all.map((box) => [
    box.scrollLeft > 1,
    box.scrollLeft + box.clientWidth < box.scrollWidth - 1,
    getComputedStyle(box).overflowX !== "visible" && box.clientWidth > 0,
  ]);
  all.forEach((box, i) => {
    const [left, right, scrolls] = more[i];
    box.classList.toggle("vk-more-left", scrolls && left);
    box.classList.toggle("vk-more-right", scrolls && right);
    if (scrolls && (left || right)) {
      if (box.dataset.vkEdge) return;
      box.dataset.vkEdge = "1";
      box.tabIndex = 0;
      box.setAttribute("role", "region");
      const kind = box.matches("pre") ? "Code" : box.matches("mjx-container") ? "Formula" : "Table";
      box.setAttribute("aria-label", `${kind}, scrolls sideways`);
      box.addEventListener("scroll", edges, { passive: true });
    } else if (box.dataset.vkEdge || (scrolls && box.tabIndex === 0)) {
      delete box.dataset.vkEdge;
      for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name);
      box.removeEventListener("scroll", edges);
    }
  });
}

{
  let due = 0;
  const soon = () => {
    cancelAnimationFrame(due);
    due = requestAnimationFrame(window.MathJax?.startup?.document ? formulas.fit : edges);
  };
  if (window.MathJax) {
    MathJax.startup = { pageReady: () => MathJax.startup.defaultPageReady().then(formulas.fit) };
  }
  addEventListener("load", soon);
  // the column: it may glide to its new width after the window has changed
  let width;
  const column = new ResizeObserver(([{ contentRect }]) => {
    if (contentRect.width !== width) soon();
    width = contentRect.width;
  });
  for (const article of document.querySelectorAll("article")) column.observe(article);
  document.addEventListener("toggle", soon, true); // a <details>
  document.addEventListener("click", (event) => event.target.closest("article") && soon());

  // On paper nothing scrolls and nothing is dark.
  let theme;
  addEventListener("beforeprint", () => {
    const { dataset, classList } = document.documentElement;
    theme ??= dataset.theme;
    dataset.theme = "light";
    classList.add("vk-printing");
    if (window.MathJax?.startup?.document) formulas.fit();
  });
  addEventListener("afterprint", () => {
    document.documentElement.dataset.theme = theme;
    document.documentElement.classList.remove("vk-printing");
    theme = undefined;
    soon();
  });
}
