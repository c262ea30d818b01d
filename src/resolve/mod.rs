//! Package selection and the lock.

pub mod lock;

pub use lock::Lock;
