"""What people look at: tables, panels, and what reaches the terminal."""
