"""Check that every link of the site to itself leads to a file, and every anchor to an element.

python docs/check_links.py docs/_build/html
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """Collects where a page points to, and which anchors it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.anchors: set[str] = {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the attributes that name targets and anchors."""
        values = dict(attrs)
        self.targets.update(value for name in ("href", "src") if (value := values.get(name)))
        self.anchors.update(value for name in ("id", "name") if (value := values.get(name)))


def broken(folder: Path) -> list[str]:
    """Return the links that lead nowhere."""
    paths = [path for path in folder.rglob("*.html") if "_static" not in path.parts]
    pages = {path: Page(path) for path in paths}
    found = []
    for path, page in pages.items():
        for target in page.targets:
            link = urlsplit(target)
            if link.scheme or link.netloc:
                continue
            goal = (path.parent / unquote(link.path)).resolve() if link.path else path
            anchors = pages[goal].anchors if goal in pages else {unquote(link.fragment)}
            if not goal.exists() or unquote(link.fragment) not in anchors:
                found.append(f"{path.relative_to(folder)}: {target}")
    return sorted(found)


def main() -> None:
    """Print the broken links; end with an error if there are any."""
    found = broken(Path(sys.argv[1]).resolve())
    print("\n".join(found) or "all links within the site lead somewhere")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
