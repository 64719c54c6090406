"""What models learn from: real clips, decoded once, and procedural scenes whose actions are known."""
