"""Models to be served: `jsmpc serve mnist --launch`."""
