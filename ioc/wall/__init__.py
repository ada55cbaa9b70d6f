"""What people look at: the view of everything that was fed, and the server that brings it to their screens."""
