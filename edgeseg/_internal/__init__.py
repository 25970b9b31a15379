"""Share helpers between all packages of edgeseg; not for users, as names in here change without notice."""
