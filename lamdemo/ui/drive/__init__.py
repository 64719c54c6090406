"""The tab where known actions drive a picture: commands of a car or an arm, through a controller, step by step."""
