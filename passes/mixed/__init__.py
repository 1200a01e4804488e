"""Mixed precision: which ops can have a width of their own, the rules between them, and how widths are chosen."""
