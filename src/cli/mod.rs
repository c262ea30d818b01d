//! One file a subcommand: arguments and a thin call into the library.
