"""The fully connected conditional random field: `dense_crf` refines probabilities along a picture's edges."""

from kseg.crf.mean_field import dense_crf

__all__ = ["dense_crf"]
