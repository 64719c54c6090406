"""What models learn from: real clips, decoded once, and scenes whose actions are known."""
