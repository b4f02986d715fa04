"""Answer every question about speed."""

from __future__ import annotations

from page import CONTENTS, main

if __name__ == "__main__":
    main(CONTENTS)
