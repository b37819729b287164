// The summary of a search result shows the words of the article; Sphinx would take those of the
// page's buttons and menus too, and the blanks between them.
Search.htmlToText = (html, anchor) => {
  const page = new DOMParser().parseFromString(html, "text/html");
  for (const other of page.querySelectorAll(".headerlink, script, style")) other.remove();
  const part = (anchor && page.querySelector(anchor)) || page.querySelector("article");
  return part ? part.textContent.replace(/\s+/g, " ") : "";
};
