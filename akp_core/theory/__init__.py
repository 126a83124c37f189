"""The statements that the book proves, as functions: one module a statement."""
