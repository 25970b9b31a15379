"""Read and write video with FFmpeg's libraries (PyAV)."""
