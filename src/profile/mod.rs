//! Profiles: schema, merging with provenance, validation with line and column.

pub mod schema;

pub use schema::Profile;
