"""Tests that read the printed book in a browser; a package, so that the browser is closed after them."""
