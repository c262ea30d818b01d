//! The rules, one file each.

mod accounts;
mod activation;
mod architecture;
mod capabilities;
mod dbus_policy;
mod dbus_services;
mod dlopen;
mod enablement;
mod firmware;
mod generators;
mod ids;
mod interpreters;
mod kernel_modules;
mod libraries;
mod licences;
mod modprobe;
mod outside_usr;
mod owners;
mod pam;
mod passwords;
mod setuid;
mod shadow;
mod symbol_versions;
mod symlinks;
mod sysusers;
mod tmpfiles;
mod udev;
mod unit_accounts;
mod unit_dependencies;
mod unit_files;
mod unit_programs;
mod ways_in;
mod world_writable;

use anyhow::Result;

use super::{Finding, Subject};

/// One rule of the audit.
#[derive(Debug)]
pub struct Rule {
    /// Its name in findings and in `allow:`, `[a-z-]+`.
    pub name: &'static str,
    /// For the reference: what it finds, and what breaks when that is left so.
    pub about: &'static str,
    /// Looks; fails only where the tree can't be read.
    pub check: fn(&Subject<'_>) -> Result<Vec<Finding>>,
}

/// All rules, in the order of the reference.
pub const RULES: &[Rule] = &[
    libraries::RULE,
    dlopen::RULE,
    symbol_versions::RULE,
    architecture::RULE,
    interpreters::RULE,
    symlinks::RULE,
    unit_programs::RULE,
    unit_accounts::RULE,
    unit_files::RULE,
    unit_dependencies::RULE,
    enablement::RULE,
    activation::RULE,
    dbus_services::RULE,
    dbus_policy::RULE,
    generators::RULE,
    pam::RULE,
    udev::RULE,
    kernel_modules::RULE,
    modprobe::RULE,
    firmware::RULE,
    tmpfiles::RULE,
    sysusers::RULE,
    accounts::RULE,
    ids::RULE,
    owners::RULE,
    setuid::RULE,
    capabilities::RULE,
    world_writable::RULE,
    shadow::RULE,
    passwords::RULE,
    ways_in::RULE,
    outside_usr::RULE,
    licences::RULE,
];
