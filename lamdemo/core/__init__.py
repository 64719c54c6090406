"""What everything stands on: errors, actions known and latent, configurations, files written safely."""
