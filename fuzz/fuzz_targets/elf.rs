//! ELF files as the audit, the initrd and depmod read them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = hullwright::elf::Identity::of(data);
    let _ = hullwright::elf::parse(data);
    let _ = hullwright::kernel::modules::parse("kernel/drivers/a.ko", data);
});
