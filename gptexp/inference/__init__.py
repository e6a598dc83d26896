"""What a trained model does: text, losses, a look inside."""
