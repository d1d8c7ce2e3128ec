"""Results that leave the program: tables, a report of one file, the commands that made them, and the way back in."""
