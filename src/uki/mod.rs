//! Unified kernel images: PE assembly of stub and sections.
