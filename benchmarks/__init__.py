"""Speed and memory of a verdict, as ratios to the bare forwards it judges, measured side by side in one process."""
