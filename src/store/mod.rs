//! The content-addressed cache: downloads, indices, locks between processes.
