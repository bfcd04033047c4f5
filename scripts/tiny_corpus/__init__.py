"""The generated corpus on which the embedded models are pretrained; it shares no operation with minipy."""
