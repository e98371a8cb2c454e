"""Check that every link inside the built documentation leads somewhere: files and anchors."""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page links to, and the anchors that it has."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = set(), {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        """Collect the anchors and links of a tag."""
        found = dict(attributes)
        self.anchors |= {found[key] for key in ("id", "name") if found.get(key)}
        self.links |= {found[key] for key in ("href", "src") if found.get(key)}


def broken_links(folder):
    """Yield a page and a link of it that leads nowhere."""
    # Templates of the theme lie among the static files.
    paths = [path for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts]
    pages = {path.resolve(): Page(path) for path in paths}
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            there = pages.get(target)
            anchored = there is None or unquote(parts.fragment) in there.anchors
            if not (target.exists() and anchored):
                yield path.relative_to(folder.resolve()), link


if __name__ == "__main__":
    broken = list(broken_links(Path(sys.argv[1])))
    for page, link in broken:
        print(f"{page}: {link} leads nowhere")
    sys.exit(bool(broken))
