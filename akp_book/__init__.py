"""The press: runs the book's pages with checked parameters, prints them as one self-contained site."""
