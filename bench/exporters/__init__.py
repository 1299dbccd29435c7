"""Records for other people's experiment trackers. `facts` says what a tracker is told, one module a tracker says it."""
