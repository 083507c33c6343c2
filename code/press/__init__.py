"""The tools that print the book."""

import sys

# jsonschema, which nbformat brings, takes this library if it is there and needs it for nothing that
# a notebook holds; importing it compiles a grammar for two and a half seconds.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
