"""The stages of an analysis, one module each. `analyze_video.pipeline` lists and runs them."""
