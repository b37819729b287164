// What of a page is cut off: formulas beyond their column or box, and boxes that scroll without a
// sign. In statements and proofs nothing may scroll at all.
() => {
  const article = document.querySelector("article");
  const strict = ".vk-proof, .theorem, .proposition, .lemma, .corollary, .definition";
  const wrong = [], more = [];
  const name = (what) => what.textContent.trim().replace(/\s+/g, " ").slice(-60);
  const shown = (what) => what.checkVisibility({ visibilityProperty: true });
  const overflow = (box) => getComputedStyle(box).overflowX;

  const column = article.getBoundingClientRect(), style = getComputedStyle(article);
  const margins = [
    column.left + parseFloat(style.paddingLeft),
    column.right - parseFloat(style.paddingRight),
  ];
  for (const formula of article.querySelectorAll("mjx-container")) {
    const glyphs = [...formula.querySelectorAll("mjx-c, mjx-line")]
      .map((glyph) => glyph.getBoundingClientRect())
      .filter((glyph) => glyph.width);
    if (!glyphs.length || !shown(formula)) continue;
    const left = Math.min(...glyphs.map((glyph) => glyph.left));
    const right = Math.max(...glyphs.map((glyph) => glyph.right));
    let [from, to] = margins;
    for (let box = formula; box !== article; box = box.parentElement) {
      if (overflow(box) === "visible") continue;
      [from, to] = [-Infinity, Infinity];
      const edge = box.getBoundingClientRect();
      const cut = left < edge.left - 2 || right > edge.right + 2;
      const sign = box.matches(".vk-more-left, .vk-more-right");
      if (cut && (!sign || box.closest(strict))) wrong.push(["cut off", name(formula)]);
      break;
    }
    if (left < from - 2 || right > to + 2) wrong.push(["beyond the column", name(formula)]);
  }

  for (const box of article.querySelectorAll("*")) {
    if (box.clientWidth === 0 || box.scrollWidth <= box.clientWidth + 1) continue;
    if (box.closest("mjx-assistive-mml, svg") || !/auto|scroll/.test(overflow(box))) continue;
    if (!shown(box)) continue;
    more.push(name(box));
    const sign = box.matches(".vk-more-left, .vk-more-right");
    if (!sign || box.tabIndex !== 0 || !box.role || !box.ariaLabel) {
      wrong.push(["scrolls without a sign", name(box)]);
    }
    if (box.closest(strict)) wrong.push(["scrolls in a statement or proof", name(box)]);
  }
  return { wrong, more };
};
