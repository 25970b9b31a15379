"""What a run minimizes and reports, and the schedule by which it gets there."""
