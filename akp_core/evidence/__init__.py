"""What stands beside a verdict on a whole population: controls, witnesses, matched errors, causes, ways."""
