"""The Anna Karenina principle for deep learning: populations under stress, and lenses to compare them."""
