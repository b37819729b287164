// Search results show a piece of each page, which is fetched; file:// allows no fetching.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// A formula within a line cannot break: one that is wider than its line gets a box that scrolls.
function boxWideFormulas() {
  for (const formula of document.querySelectorAll("span.math > mjx-container")) {
    formula.classList.remove("vk-wide");
    const line = formula.parentElement.closest("p, li, dd, td, th, h1, h2, h3, h4");
    const whole = formula.closest(".vk-together") ?? formula; // with the punctuation after it
    formula.classList.toggle("vk-wide", whole.offsetWidth > line.clientWidth);
  }
}
if (window.MathJax) {
  MathJax.startup = { pageReady: () => MathJax.startup.defaultPageReady().then(boxWideFormulas) };
  addEventListener("resize", boxWideFormulas);
}
