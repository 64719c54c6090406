"""The tab of the latent space, where actions are looked at and played."""
