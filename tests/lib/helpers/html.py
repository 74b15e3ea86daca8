"""Pages taken apart, without a browser."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"meta", "link", "br", "wbr", "img", "input", "hr", "path"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    text: list[str] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        return self.attributes.get("class", "").split()


class Page(HTMLParser):
    """Every element in its order, and all that is read as text. A tag that is not closed raises ValueError."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(content)
        self.close()
        if self._open:
            raise ValueError(f"never closed: {[element.tag for element in self._open]}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self._open.append(self.elements[-1])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1].tag != tag:
            raise ValueError(f"</{tag}> at {self.getpos()} closes {[element.tag for element in self._open]}")
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text.append(data)

    def all(self, tag: str = "", **attributes: str) -> list[Element]:
        return [
            element
            for element in self.elements
            if tag in ("", element.tag) and all(element.attributes.get(k) == v for k, v in attributes.items())
        ]

    def with_class(self, name: str) -> list[Element]:
        return [element for element in self.elements if name in element.classes]


def text_of(element: Element) -> str:
    return " ".join("".join(element.text).split())
