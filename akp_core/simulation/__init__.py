"""Simulated studies with a known truth, on which estimators and tests show what they are worth."""
