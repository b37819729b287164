// What a reader of a notebook would stumble on, in JupyterLab or Notebook, and how much there is.
() => {
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const wrong = [];
  const roles = "prf|admonition|exercise|solution|math|cite|ref|numref|eq";
  const tex = "\\$\\$|\\$[^$\\n]{1,80}\\$|\\\\(frac|ln|begin|mathbb|mathrm)\\b";
  const RAW = new RegExp(`:::|\`\`\`|\\{(${roles})[^}]*\\}|${tex}`);
  const cells = all(".jp-Notebook .jp-Cell");
  const models = jupyterapp.shell.currentWidget.content.widgets.map((cell) => cell.model);
  const shown = (what) => what.checkVisibility({ visibilityProperty: true });
  let [folded, places, missing, solving] = [0, 0, 0, false];

  cells.forEach((cell, i) => {
    const say = (what, detail = "") => wrong.push(`cell ${i}: ${what} ${detail}`.trim());
    const metadata = models[i].metadata ?? {};

    // text, without what stands there as code
    for (const text of all(".jp-RenderedMarkdown", cell)) {
      const words = text.cloneNode(true);
      all("pre, code, mjx-container, script, style", words).forEach((part) => part.remove());
      const raw = words.textContent.match(RAW);
      if (raw) say("raw", raw[0]);
      if (all("details[open]", text).length) say("a solution stands open");
    }
    if (all("code[class*='language-{']", cell).length) say("a directive as code");
    if (all("mjx-merror, mtext[mathcolor=red]", cell).length) say("a formula with an error");

    // what is folded away: code, and below the heading of a solution everything
    if (metadata.jupyter?.source_hidden && all(".jp-InputArea-editor", cell).some(shown)) {
      say("its code is not folded");
    }
    const source = models[i].sharedModel.getSource();
    if (models[i].type === "markdown" && /^#{1,5} /.test(source)) solving = false;
    if (solving) {
      folded++;
      if (shown(cell)) say("a solution shows");
    }
    if (metadata["jp-MarkdownHeadingCollapsed"]) solving = true;

    // outputs
    const lines = [];
    const { outputs } = models[i];
    for (let k = 0; k < (outputs?.length ?? 0); k++) {
      if (outputs.get(k).type === "error") say("an error:", outputs.get(k).toJSON().evalue);
    }
    for (const output of all(".jp-OutputArea-output", cell)) {
      const typed = output.closest("[data-mime-type]") ?? output.querySelector("[data-mime-type]");
      const type = typed?.dataset.mimeType ?? "";
      const text = output.textContent;
      if (/stderr/.test(type) && /[Ww]arning/.test(text)) say("a warning:", text.slice(0, 200));
      if (/stdout/.test(type)) {
        const piece = text.split("\n").filter((line) => line.trim().length > 12);
        const twice = piece.find((line, at) => lines.includes(line) || line === piece[at - 1]);
        if (twice) say("printed twice:", twice);
        lines.push(...piece);
      }
      const naked = text.match(/<[\w.]+ (object )?at 0x|<Axes|<Figure|\[<matplotlib|Text\(0|^tensor\(.*/m);
      if (naked) say("a naked", naked[0].slice(0, 80));
      if (/model not found|Error displaying widget|Loading widget/.test(text)) {
        missing++;
        say("says", text.trim());
      }
      if (output.querySelector(".vk-widget")) places++;
      else if (/run this cell in Jupyter or Colab/.test(text)) {
        places++;
        missing++;
      }
    }
  });

  for (const font of document.fonts) {
    if (font.status === "error") wrong.push(`the font ${font.family} is not served`);
  }

  // claims: everything at the left, as on the page
  for (const claim of all(".vk-claim").filter(shown)) {
    for (const cell of all("td, th", claim)) {
      const align = getComputedStyle(cell).textAlign;
      if (!/left|start/.test(align)) wrong.push(`a claim's table: ${align}: ${cell.textContent}`);
    }
    if (!/✓|✗/.test(claim.textContent)) wrong.push("a claim without ✓ or ✗");
    // what a client leaves of a drawing that it takes out
    if (!claim.querySelector("svg") && /too small/.test(claim.textContent)) {
      wrong.push(`words of a drawing: ${claim.textContent.slice(0, 100)}`);
    }
  }
  return {
    wrong, cells: cells.length, formulas: all("mjx-container").length,
    claims: all(".vk-claim").length, folded, details: all("details:not(.vk-widget details)").length,
    widgets: all(".vk-widget").length, places, missing,
  };
};
