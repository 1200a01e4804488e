"""Integer ops, one class each, with their exact arithmetic."""
