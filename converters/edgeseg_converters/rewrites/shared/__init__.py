"""What several rewrite rules are made of."""
