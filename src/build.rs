//! The recipe: from a profile and its lock to a directory with an image.
