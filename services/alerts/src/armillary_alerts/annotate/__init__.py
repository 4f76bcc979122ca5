"""What is added to alerts: the object's history, light-curve features, cross-matches, users' annotations."""
