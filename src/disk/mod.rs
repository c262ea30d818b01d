//! GPT layout and the sparse disk image.
