"""A Sphinx extension and a myst-nb plug-in that make the printed book complete without the internet.

Charts become a picture drawn here (read with no JavaScript, printed, indexed) plus their Vega-Lite
specification, from which one script draws the live chart. Vega, MathJax and our own files are copied into the
book; the theme's one script with an address in the world outside is taken out.
"""

from __future__ import annotations

import html
import importlib.util
import json
import re
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import vl_convert
from docutils import nodes
from sphinx.application import Sphinx

from akp_book.parameters import show

VEGA_LITE = tuple(f"application/vnd.vegalite.{form}" for form in ("v6+json", "v6.json", "v5+json"))
ASSETS = Path(__file__).with_name("assets")
CHARTS = ("vega-bundle.js", "akp-config.js", "akp-charts.js")


class VegaLite:
    """Render a Vega-Lite output as a described picture with its specification beside it."""

    mime_priority_overrides = [("*", kind, 5) for kind in VEGA_LITE]  # noqa: RUF012 - myst-nb reads it

    @staticmethod
    def handle_mime(renderer: Any, data: Any, inline: bool) -> list[nodes.Node] | None:  # noqa: ARG004
        """Return the nodes of a chart, or None if the data is something else.

        A chart without a description, or that cannot be drawn, is a warning, hence fatal to a book in print.
        """
        if data.mime_type not in VEGA_LITE:
            return None
        spec = data.content if isinstance(data.content, dict) else json.loads(data.content)
        description = str(spec.get("description") or "").strip()
        if not description:
            renderer.logger.warning(
                "chart without a description: give it .properties(description=...)",
                subtype="chart",
                line=data.line,
            )
        try:
            picture = still(spec)
        except ValueError as error:
            first = str(error).splitlines()[0]
            renderer.logger.warning(f"chart cannot be drawn: {first}", subtype="chart", line=data.line)
            picture = ""
        return [nodes.raw(text=chart_markup(spec, description, picture), format="html", classes=["output"])]


def chart_markup(spec: Mapping[str, Any], description: str, picture: str) -> str:
    """Return the HTML of a chart: its box, its picture, its specification."""
    text = json.dumps(spec, separators=(",", ":"), sort_keys=True).replace("</", "<\\/")
    label = html.escape(description, quote=True)
    return (
        f'<div class="akp-chart" role="group" aria-label="{label}"><div class="akp-controls"></div>'
        f'<div class="akp-view"><div class="akp-still" role="img" aria-label="{label}">{picture}</div></div>'
        f'<script type="application/json" class="akp-spec">{text}</script></div>'
    )


def still(spec: dict[str, Any]) -> str:
    """Draw a chart as SVG in the colours of the light theme, with identifiers of its own.

    Vega counts its clip paths through the life of a process; here they follow from the chart alone, so that
    the same book is the same bytes and two pictures on a page share none.
    """
    ours = json.loads((ASSETS / "chart-config.json").read_text("utf8"))
    config = merged(merged(ours["lightRange"], spec.get("config", {})), ours["light"])
    drawn = vl_convert.vegalite_to_svg({**spec, "config": config})
    # one picture with one description (`chart_markup`): words on its parts would be read by nobody
    drawn = re.sub(r' (?:aria-[a-z]+|role)="[^"]*"', "", drawn)
    own = f"s{zlib.crc32(json.dumps(spec, sort_keys=True).encode()):x}"
    for number, name in enumerate(dict.fromkeys(re.findall(r'\bid="([^"]+)"', drawn))):
        drawn = drawn.replace(f'id="{name}"', f'id="{own}-{number}"').replace(
            f"url(#{name})", f"url(#{own}-{number})"
        )
    return drawn


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested tables, the second winning."""
    result = dict(under)
    for key, value in over.items():
        below = result.get(key)
        nested = isinstance(value, dict) and isinstance(below, dict)
        result[key] = merged(dict(below or {}), value) if nested else value
    return result


def _copy_assets(app: Sphinx) -> None:
    if app.builder.format != "html":
        return
    out = Path(app.outdir, "_static", "offline")
    out.mkdir(parents=True, exist_ok=True)
    # wrapped: its top-level constants would meet those of other scripts, and file:// refuses modules
    bundle = "(function(){" + vl_convert.javascript_bundle() + "})();\n"  # type: ignore[call-arg]
    (out / "vega-bundle.js").write_text(bundle, "utf8")
    config = (ASSETS / "chart-config.json").read_text("utf8")
    (out / "akp-config.js").write_text(f"window.akpChartConfig = {config.strip()};\n", "utf8")
    for name in ("akp-charts.js", "akp-scroll.js", "akp.css"):
        shutil.copy(ASSETS / name, out)
    card = vl_convert.svg_to_png((ASSETS / "social-card.svg").read_text("utf8"))
    (out / "social-card.png").write_bytes(card)
    found = importlib.util.find_spec("sphinx-mathjax-offline")
    if found is None or not found.submodule_search_locations:
        raise RuntimeError("sphinx-mathjax-offline is not installed; install the pinned requirements.txt")
    shutil.copy(Path(found.submodule_search_locations[0], "static", "mathjax", "tex-svg-full.js"), out)


def _page_context(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:  # noqa: ARG001
    scripts = context.get("script_files", [])
    scripts[:] = [script for script in scripts if not _reaches_out(script)]
    if "akp-chart" in context.get("body", ""):
        for name in CHARTS:
            app.add_js_file(f"offline/{name}", loading_method="defer")
    context["body"] = repaired(context.get("body", ""))
    record = Path(app.srcdir, "run.json")
    if doctree is not None and record.is_file():
        link = context["pathto"]("run.json", 1)
        context["body"] += footer(json.loads(record.read_text("utf8")), page, link)


def repaired(body: str) -> str:
    """Take out lists that Sphinx marks up as such but that a screen reader cannot read as lists.

    The sources are called a list, with anchors in it that are no items; a signature of many lines is a list
    of definitions without terms.
    """
    body = body.replace('<div role="list" class="citation-list">', '<div class="citation-list">')
    lines = r"<dl>\s*((?:<dd>(?:(?!</?d[dlt]\b).)*</dd>\s*)+)</dl>"

    def plain(match: re.Match[str]) -> str:
        inner = match[1].replace("<dd>", '<span class="akp-line">').replace("</dd>", "</span>")
        return f'<span class="akp-lines">{inner}</span>'

    return re.sub(lines, plain, body, flags=re.DOTALL)


def _reaches_out(script: Any) -> bool:
    attributes = getattr(script, "attributes", {}) or {}
    return "sphinx-thebe" in str(getattr(script, "filename", script)) or "THEBE_JS_URL" in str(
        attributes.get("body")
    )


def footer(record: Mapping[str, Any], page: str, link: str) -> str:
    """Return the line below a page that says where its numbers come from."""
    run = next((one for one in record["pages"] if one["page"] == page), None)
    parts = [f"Profile {record['profile']}"]
    if record["commit"]:
        parts.append(f"commit {record['commit'][:10]}{', changed since' if record['changed'] else ''}")
    if run:
        changed = [
            f"{n} = {show(p['value'])}" for n, p in run["parameters"].items() if p["value"] != p["default"]
        ]
        parts += [", ".join(changed)] if changed else []
        parts.append(f"run {run['key'][:8]} on {run['run_at'][:10]} in {run['seconds']:.0f} s")
    machine, versions = record["machine"], record["versions"]
    named = [f"{name} {versions[name]}" for name in ("python", "torch") if name in versions]
    parts += [f"{machine['device']}, {machine['cores']} cores", ", ".join(named)]
    line = " · ".join(html.escape(part) for part in parts)
    return f'<p class="akp-provenance">{line} · <a href="{html.escape(link)}">full record</a></p>'


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", _copy_assets)
    app.connect("html-page-context", _page_context, priority=900)
    app.add_css_file("offline/akp.css")
    app.add_js_file("offline/akp-scroll.js", loading_method="defer")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
