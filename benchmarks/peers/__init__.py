"""What the peers need before they can be imported."""
