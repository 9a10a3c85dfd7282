"""Questions about a trained model, one file each."""
