"""``akp links`` asks a real server: what answers passes, what does not is named with its place."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import click.testing
import pytest

from akp_book.cli_links import asked, links
from akp_core.errors import AkpError


class _Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/here" else 404)
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815 - the library's name

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def staged(build: Path, text: str) -> Path:
    """Lay out a book of one page as it is after printing."""
    src = build / "src"
    src.mkdir(parents=True)
    (src / "_config.yml").write_text("title: Tiny\nauthor: A\nonly_build_toc_files: true\n")
    (src / "_toc.yml").write_text("format: jb-book\nroot: page\n")
    (src / "page.md").write_text(f"# Page\n\n{text}\n")
    return build


def test_what_does_not_answer_is_named(tmp_path: Path, address: str) -> None:
    build = staged(tmp_path / "_build", f"[one]({address}/here) and [two]({address}/gone)")
    found = {answer["uri"].rsplit("/", 1)[-1]: answer["status"] for answer in asked(build)}
    assert found == {"here": "working", "gone": "broken"}
    said = click.testing.CliRunner().invoke(links, ["--out", str(build)])
    assert f"page.md:3: {address}/gone is broken: 404" in said.output
    assert str(said.exception) == "1 of 2 links that lead outside do not answer"


def test_without_a_book_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(AkpError, match=r"expected a printed book in .*, got none; run: akp book"):
        asked(tmp_path)
