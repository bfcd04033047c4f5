"""The generated corpus on which the embedded models are pretrained. It contains no operation of minipy."""
