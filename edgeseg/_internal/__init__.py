"""What any room of the package may use, and no user should: nothing in here keeps its name."""
