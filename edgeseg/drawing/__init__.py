"""Draw class maps as images: views, legends and captions."""
