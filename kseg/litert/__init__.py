"""A `.tflite` file as data: its graph and what rewrites it, its conversion, description and metadata."""
