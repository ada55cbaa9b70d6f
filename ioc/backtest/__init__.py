"""Rules tried on history: what they would have said of stored readings, what that would have cost, and how well it fits
what really happened."""
