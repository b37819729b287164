"""Take the README's picture anew from the built pages: ``python -m tests.picture``.

It shows one claim of chapter 3, from its statement to what its check prints, light and sharp.
"""

import io
import shutil

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.test_pages import ROOT

CLAIM = "kl-standard-normal"
WIDTH = 790  # of the column, in pixels of the page; the picture has twice as many
MARGIN = 12

# From the claim's box to the first check after it; everything before them is out of the way.
PLACE = """claim => {
  document.documentElement.style.scrollBehavior = "auto";
  const first = document.getElementById(claim).closest(".admonition");
  let last = first;
  while (!last.querySelector(".vk-claim")) last = last.nextElementSibling;
  first.scrollIntoView();
  const [from, to] = [first.getBoundingClientRect(), last.getBoundingClientRect()];
  const { x, y, width } = from;
  return { x: x + scrollX, y: y + scrollY, width, height: to.bottom - y };
}"""


def main() -> None:
    """Open the page, and store the picture beside the other results."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)))
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        size = {"width": WIDTH + 200, "height": 2400}
        page = chromium.new_page(viewport=size, device_scale_factor=2, color_scheme="light")
        page.goto((ROOT / "_build/html/chapters/03_kl_divergence.html").as_uri())
        page.wait_for_function("window.MathJax?.startup?.promise")
        page.evaluate("MathJax.startup.promise")
        page.add_style_tag(
            content=f".bd-article {{ width: {WIDTH}px }}"
            " .bd-header-article, .copybtn, .headerlink { display: none !important }"
        )
        page.wait_for_timeout(1500)  # formulas follow the width of their column
        place = page.evaluate(PLACE, CLAIM)
        for side, more in (("x", -1), ("y", -1), ("width", 2), ("height", 2)):
            place[side] += more * MARGIN
        target = ROOT / "chapters" / "results" / "page.png"
        picture = Image.open(io.BytesIO(page.screenshot(clip=place, full_page=True)))
        picture.convert("RGB").quantize(128).save(target, optimize=True)
        chromium.close()
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
