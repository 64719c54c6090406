"""The tab where a way from one picture to another is searched."""
