"""Class maps as images: views, legends and lines of figures."""
