"""Hold recipes: settings of training runs as TOML files; five that are packaged, those of users, and those of runs."""
