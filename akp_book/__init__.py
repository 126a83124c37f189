"""The press: runs the book's pages with checked parameters, prints them as one self-contained site."""

import sys

# jsonschema would compile a grammar of web addresses: a second in every kernel, to check what no chart has
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
