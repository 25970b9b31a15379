"""Put an artifact on a page that any browser opens: it runs on the phone's own camera, and proves its answers there."""
