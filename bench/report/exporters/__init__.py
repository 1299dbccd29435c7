"""Records for experiment trackers: `facts` prepares what a tracker gets, one module per tracker writes it."""
