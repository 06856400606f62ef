"""Training and scoring with torch: batches, the supernet, single networks."""
