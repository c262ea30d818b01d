//! `hullwright release list`.
