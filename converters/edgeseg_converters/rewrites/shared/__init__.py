"""Share the parts that several rewrite rules are made of."""
